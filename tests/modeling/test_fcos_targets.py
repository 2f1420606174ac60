"""Step 2 against the paper, by hand, against the reference values and against plain loops."""

import math

import pytest
import torch

from fcos.modeling.fcos import FCOSTargets, feature_sizes
from fcos.modeling.fcos.fcos_targets import centerness, level_points, ltrb_distances
from tests.helpers import DEVICE, STRIDES, golden, ground_truth

TARGETS = golden("targets.npz")
CASES = sorted({key.split("/")[0] for key in TARGETS.files if not key.startswith("points/")})
PEERS = {
    # implementation: center radius, whether it counts the right and bottom pixel
    "tianzhi_all": (None, True),
    "tianzhi_r1.5": (1.5, True),
    "adet_all": (None, False),
    "adet_r1.5": (1.5, False),
    "mmdet_r1.5": (1.5, False),
}


def feature_sizes_of(case):
    return [tuple(int(n) for n in size) for size in TARGETS[f"{case}/feat_hw"]]


def feature_sizes_for(height, width):
    return [(math.ceil(height / s), math.ceil(width / s)) for s in STRIDES]


# --- locations -----------------------------------------------------------------------------------


def test_points_by_hand():
    # floor(s/2) + x*s: stride 8 starts at 4, an odd stride 5 at 2.
    want = torch.tensor([[4.0, 4.0], [12.0, 4.0], [4.0, 12.0], [12.0, 12.0]])
    torch.testing.assert_close(level_points((2, 2), 8, device=DEVICE), want)
    want = torch.tensor([[2.0, 2.0], [7.0, 2.0], [12.0, 2.0]])
    torch.testing.assert_close(level_points((1, 3), 5, device=DEVICE), want)


@pytest.mark.parametrize("size", ["800x1088", "512x640", "128x1344", "480x640"])
def test_points_equal_the_reference(size):
    height, width = map(int, size.split("x"))
    points = torch.cat(FCOSTargets().get_points(feature_sizes_for(height, width), device=DEVICE))
    torch.testing.assert_close(
        points, torch.tensor(TARGETS[f"points/tianzhi/{size}"]), atol=0, rtol=0
    )


def test_points_at_corners_by_hand():
    # An image padded to 64x96: p7 has 1 row and 1 column, so its step is the whole side.
    sizes = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    points = FCOSTargets(location="corner").get_points(sizes)
    assert points[0][:2].tolist() == [[0, 0], [8, 0]]
    assert points[3].tolist() == [[0, 0], [48, 0]]  # 96 / 2, not the stride of 64
    assert points[4].tolist() == [[0, 0]]


def test_points_at_corners_equal_the_reference():
    sizes = feature_sizes_for(480, 640)
    points = torch.cat(FCOSTargets(location="corner").get_points(sizes, device=DEVICE))
    want = torch.tensor(TARGETS["points/torchvision/480x640"]).float()
    torch.testing.assert_close(points, want, atol=0, rtol=0)


def test_targets_at_corners_by_hand():
    # The location (8, 16) of the finest level, column 1 and row 2; the box is 6 to its left, 3
    # above it, 4 to its right and 5 below.
    sizes = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
    truth = ground_truth([[2.0, 13, 12, 21]], [7])
    labels, ltrb = FCOSTargets(location="corner").fcos_target_single_image(sizes, truth)
    assert (labels != 80).nonzero().flatten().tolist() == [2 * 12 + 1]
    assert labels[2 * 12 + 1] == 7
    assert ltrb[2 * 12 + 1].tolist() == [6, 3, 4, 5]


def test_points_errors():
    with pytest.raises(ValueError, match="location: expected one of .*got 'edge'"):
        FCOSTargets(location="edge")
    with pytest.raises(ValueError, match="stride: expected at least 1, got 0"):
        level_points((1, 1), 0)
    with pytest.raises(ValueError, match="feature_sizes: expected 5 levels, got 1"):
        FCOSTargets().get_points([(1, 1)])


# --- equations -----------------------------------------------------------------------------------


def test_eq1_by_hand():
    # The point (5, 7) in the box from (1, 2) to (11, 10): 5-1, 7-2, 11-5, 10-7.
    ltrb = ltrb_distances(torch.tensor([5.0, 7.0]), torch.tensor([1.0, 2.0, 11.0, 10.0]))
    torch.testing.assert_close(ltrb, torch.tensor([4.0, 5.0, 6.0, 3.0]))
    with pytest.raises(ValueError, match=r"points and boxes: expected \(..., 2\) and \(..., 4\)"):
        ltrb_distances(torch.zeros(4), torch.zeros(4))


@pytest.mark.parametrize(
    "ltrb, want",
    [
        ([2, 3, 2, 3], 1.0),  # the middle
        ([1, 2, 4, 2], 0.5),  # sqrt(1/4 * 2/2)
        ([1, 9, 9, 1], 1 / 9),  # sqrt(1/9 * 1/9)
        ([0, 2, 4, 2], 0.0),  # on a side
        ([-1, 2, 4, 2], 0.0),  # outside
        ([-1, -1, -1, -1], 0.0),  # an inverted box
        ([0, 0, 0, 0], 0.0),  # no size: 0/0 in the formula
    ],
)
def test_eq3_by_hand(ltrb, want):
    torch.testing.assert_close(centerness(torch.tensor(ltrb).float()), torch.tensor(want))


def test_eq3_equals_the_reference():
    values = golden("centerness.npz")
    ltrb = torch.tensor(values["ltrb"])
    for peer in ("tianzhi", "adet"):
        want = torch.tensor(values[peer])
        assert want[4:6].isnan().all()  # no value there: ours is 0
        want[4:6] = 0
        torch.testing.assert_close(centerness(ltrb), want, atol=1e-7, rtol=1e-6)


def test_eq3_has_no_unit_and_leaves_its_argument_alone():
    ltrb = torch.rand(100, 4, generator=torch.Generator().manual_seed(0)) * 50
    before = ltrb.clone()
    torch.testing.assert_close(centerness(ltrb), centerness(ltrb / 8))
    torch.testing.assert_close(ltrb, before, atol=0, rtol=0)
    with pytest.raises(ValueError, match=r"ltrb: expected \(..., 4\), got \(3,\)"):
        centerness(torch.zeros(3))


# --- assignment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("case", CASES)
def test_targets_equal_the_reference(case, peer):
    if f"{case}/{peer}/labels" not in TARGETS.files:
        pytest.skip("the implementation does not run on this case")
    if case.startswith("border_first_centre_x0") and peer in ("tianzhi_r1.5", "adet_r1.5"):
        pytest.skip("they take a first box centred at x = 0 for no box; mmdet_r1.5 does not")
    radius, inclusive = PEERS[peer]
    targets = FCOSTargets(center_radius=radius, inclusive_pixels=inclusive)
    labels, ltrb = targets.fcos_target_single_image(
        feature_sizes_of(case),
        ground_truth(TARGETS[f"{case}/boxes"], TARGETS[f"{case}/classes"]),
    )
    want = torch.tensor(TARGETS[f"{case}/{peer}/labels"]).long()
    torch.testing.assert_close(labels, want, atol=0, rtol=0)
    positive = torch.tensor(TARGETS[f"{case}/{peer}/pos"]).long()
    assert ((labels < 80).nonzero().squeeze(1) == positive).all()
    torch.testing.assert_close(
        ltrb[positive], torch.tensor(TARGETS[f"{case}/{peer}/ltrb"]), atol=0, rtol=0
    )
    assert (ltrb[labels == 80] == 0).all()


def loop_targets(feature_sizes, boxes, classes, radius=None):
    """Sec. 3.2 of the paper in plain loops: labels, and the index of the box of each location."""
    limits = [0, 64, 128, 256, 512, math.inf]
    labels, assigned = [], []
    for level, (rows, columns) in enumerate(feature_sizes):
        stride = STRIDES[level]
        for row in range(rows):
            for column in range(columns):
                x, y = stride // 2 + column * stride, stride // 2 + row * stride
                best = None
                for index, (x1, y1, x2, y2) in enumerate(boxes):
                    ltrb = (x - x1, y - y1, x2 - x, y2 - y)
                    is_inside = min(ltrb) > 0
                    if radius is not None:
                        off_x, off_y = abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)
                        is_inside = is_inside and max(off_x, off_y) < radius * stride
                    area = (x2 - x1) * (y2 - y1)
                    if is_inside and limits[level] <= max(ltrb) <= limits[level + 1]:
                        if best is None or area < best[0]:
                            best = (area, index)
                labels.append(80 if best is None else classes[best[1]])
                assigned.append(None if best is None else best[1])
    return labels, assigned


@pytest.mark.parametrize("radius", [None, 1.5, 0.7, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_targets_equal_plain_loops_on_random_scenes(seed, radius):
    generator = torch.Generator().manual_seed(seed)
    height, width = 320, 416
    corner = torch.rand(12, 2, generator=generator) * torch.tensor([width, height]) - 40
    size = torch.exp(torch.rand(12, 2, generator=generator) * 6)  # 1 to 400 px
    # Quarters of a pixel are exact in float32 and in the loops' float64 alike.
    boxes = (torch.cat((corner, corner + size), dim=1) * 4).round() / 4
    classes = torch.randint(0, 80, (12,), generator=generator)
    sizes = feature_sizes_for(height, width)
    labels, _ = FCOSTargets(center_radius=radius).fcos_target_single_image(
        sizes, ground_truth(boxes, classes)
    )
    want, _ = loop_targets(sizes, boxes.tolist(), classes.tolist(), radius)
    assert (labels < 80).any()
    assert labels.tolist() == want


def test_both_ends_of_a_level_belong_to_it():
    # Around (36, 36) the farthest side of this box is exactly 64 px away: P3 and P4 both take it.
    box = [[36 - 30, 36 - 30, 36 + 64, 36 + 30]]
    sizes = feature_sizes_for(128, 128)
    labels, ltrb = FCOSTargets().fcos_target_single_image(sizes, ground_truth(box, [7]))
    on_p3 = 4 * 16 + 4  # row 4, column 4 of 16 x 16 cells
    assert labels[on_p3] == 7
    assert ltrb[on_p3].max() == 64
    box = [[24 - 20, 24 - 20, 24 + 64, 24 + 20]]
    labels, ltrb = FCOSTargets().fcos_target_single_image(sizes, ground_truth(box, [7]))
    on_p4 = 16 * 16 + 1 * 8 + 1  # row 1, column 1 of P4
    assert labels[on_p4] == 7
    assert ltrb[on_p4].max() == 64


def test_the_smallest_box_wins_even_by_a_hair():
    # Areas 17 and 19 px^2 tie in float32 as 1e8 - area; the second box must win all the same.
    boxes = [[0, 0, 19, 1.0], [0, 0, 17, 1.0]]
    boxes = [[x1, y1 + 3.5, x2, y2 + 3.5] for x1, y1, x2, y2 in boxes]  # around (4, 4)
    labels, _ = FCOSTargets().fcos_target_single_image(
        feature_sizes_for(128, 128), ground_truth(boxes, [1, 2])
    )
    assert labels[0] == 2


def test_the_order_of_the_boxes_moves_no_assignment():
    boxes, classes = TARGETS["overlap40_800x1088/boxes"], TARGETS["overlap40_800x1088/classes"]
    sizes = feature_sizes_of("overlap40_800x1088")
    order = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(1)).tolist()
    first = FCOSTargets().fcos_target_single_image(sizes, ground_truth(boxes, classes))
    second = FCOSTargets().fcos_target_single_image(
        sizes, ground_truth(boxes[order], classes[order])
    )
    torch.testing.assert_close(first, second, atol=0, rtol=0)


def test_a_batch_is_its_images_one_by_one():
    names = ("overlap40_800x1088", "empty_800x1088", "huge_800x1088")
    images = [ground_truth(TARGETS[f"{n}/boxes"], TARGETS[f"{n}/classes"]) for n in names]
    sizes = feature_sizes_of(names[0])
    labels, ltrb = FCOSTargets().fcos_target(sizes, images)
    for index, image in enumerate(images):
        want = FCOSTargets().fcos_target_single_image(sizes, image)
        torch.testing.assert_close((labels[index], ltrb[index]), want, atol=0, rtol=0)


@pytest.mark.parametrize("center_radius", [None, 1.5])
@pytest.mark.parametrize(
    "box",
    [
        [math.nan] * 4,
        [20, math.nan, 60, 70],
        [-math.inf, 20, 60, 70],
        [20, 20, 60, math.inf],
        [-math.inf, 20, math.inf, 70],
        [-math.inf, -math.inf, math.inf, math.inf],
    ],
)
def test_no_location_learns_a_box_that_is_not_finite(box, center_radius):
    sizes, other = feature_sizes_for(128, 128), [10, 10, 50, 50]
    targets = FCOSTargets(center_radius=center_radius)
    found = targets.fcos_target_single_image(sizes, ground_truth([box, other], [1, 2]))
    want = targets.fcos_target_single_image(sizes, ground_truth([other], [2]))
    torch.testing.assert_close(found, want, atol=0, rtol=0)


def test_memory_of_a_crowd_is_bounded():
    """1,000 boxes at 800x1333: no tensor of (locations x boxes), 22,000,000 entries, is made."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(1000, 2, generator=generator) * torch.tensor([1300.0, 780.0])
    boxes = torch.cat((corner, corner + torch.rand(1000, 2, generator=generator) * 400), dim=1)
    image = ground_truth(boxes, torch.zeros(1000))
    with torch.profiler.profile(profile_memory=True) as profile:
        FCOSTargets().fcos_target(feature_sizes_for(800, 1344), [image])
    largest = max(event.cpu_memory_usage for event in profile.events())
    assert 0 < largest < 22_000_000  # bytes; (L, G) in bool alone would be 22.4 MB


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"sizes_of_interest": [64]}, "sizes_of_interest: expected one limit fewer"),
        ({"sizes_of_interest": [64, 64, 9, 512]}, "sizes_of_interest: expected increasing limits"),
        ({"center_radius": 0}, "center_radius: expected more than 0, got 0"),
        ({"center_radius": math.nan}, "center_radius: expected more than 0, got nan"),
        ({"num_classes": 0}, "num_classes: expected more than 0, got 0"),
        ({"strides": ()}, r"strides: expected one or more of at least 1, got \[\]"),
    ],
)
def test_settings_that_do_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FCOSTargets(**kwargs)


def test_a_batch_without_images():
    with pytest.raises(ValueError, match="gt_instances: expected at least one image"):
        FCOSTargets().fcos_target(feature_sizes_for(128, 128), [])


def test_fixed_method_names():
    ltrb = torch.tensor([[1.0, 2, 4, 2]])
    torch.testing.assert_close(FCOSTargets().compute_centerness_targets(ltrb), torch.tensor([0.5]))
    points = FCOSTargets().get_points_single((1, 1), 16, device=DEVICE)
    torch.testing.assert_close(points, torch.tensor([[8.0, 8.0]]))


def test_levels_round_up():
    assert feature_sizes((800, 1056), (8, 64)) == [(100, 132), (13, 17)]
