"""Step 2: locations, and what each of them has to predict (Sec. 3.1 and 3.2, Eq. 1 and 3)."""

import pytest
import torch
from reference import VALUES, ground_truth, sizes, value

from fcos.modeling.fcos import FCOSTargets

CASES = sorted({name.split("/")[1] for name in VALUES.files if name.startswith("targets/")})


def one_level(**options):
    """Stride 8, and every size."""
    return FCOSTargets(strides=(8,), sizes_of_interest=(), num_classes=3, **options)


def test_locations_by_hand():
    """floor(s/2) + x * s, x before y, row by row."""
    points = one_level().get_points_single((2, 3), 8)
    assert points.tolist() == [[4, 4], [12, 4], [20, 4], [4, 12], [12, 12], [20, 12]]
    assert one_level().get_points_single((1, 2), 5).tolist() == [[2, 2], [7, 2]]


def test_locations_of_all_levels_equal_the_original_implementation():
    levels = FCOSTargets().get_points(sizes("points/feature_sizes"))
    assert len(levels) == 5
    torch.testing.assert_close(torch.cat(levels), value("points/tianzhi"), atol=0, rtol=0)


@pytest.mark.parametrize(
    "ltrb, want",
    [
        ([2, 3, 2, 3], 1.0),  # the middle
        ([1, 2, 4, 2], 0.5),  # sqrt(1/4 * 2/2)
        ([1, 9, 9, 1], 1 / 9),
        ([0, 2, 4, 2], 0.0),  # on a side
    ],
)
def test_centerness_by_hand(ltrb, want):
    got = FCOSTargets().compute_centerness_targets(torch.tensor([ltrb]).float())
    torch.testing.assert_close(got, torch.tensor([want]))


def test_centerness_equals_the_original_implementation():
    got = FCOSTargets().compute_centerness_targets(value("centerness/ltrb"))
    torch.testing.assert_close(got, value("centerness/tianzhi"), atol=1e-7, rtol=1e-6)


def test_the_smaller_of_two_boxes_by_hand():
    # Around (4, 4) lies the first box alone, around (12, 4) both, around (20, 4) the second.
    truth = ground_truth([[0, 0, 16, 16], [8, 0, 24, 8]], [2, 1])
    labels, ltrb = one_level().fcos_target_single_image([(2, 3)], truth)
    assert labels.tolist() == [2, 1, 1, 2, 2, 3]  # 3 is background
    assert ltrb.tolist() == [
        [4, 4, 12, 12],
        [4, 4, 12, 4],
        [12, 4, 4, 4],
        [4, 12, 12, 4],
        [12, 12, 4, 4],
        [0, 0, 0, 0],
    ]


def test_center_sampling_by_hand():
    # The middle of the box is (12, 12): (12, 12) is 0 px from it, (4, 4) and (20, 4) are 8 px.
    truth = ground_truth([[0, 0, 24, 24]], [0])
    for radius, number in ((0.5, 1), (1.0, 1), (1.5, 6)):
        labels, _ = one_level(center_radius=radius).fcos_target_single_image([(2, 3)], truth)
        assert (labels < 3).sum() == number


def test_areas_with_inclusive_pixels_by_hand():
    # 4 x 60 = 240 is less than 16 x 16 = 256, but 5 x 61 = 305 is more than 17 x 17 = 289.
    truth = ground_truth([[2, 0, 6, 60], [0, 0, 16, 16]], [0, 1])
    for inclusive, label in ((False, 0), (True, 1)):
        targets = one_level(inclusive_pixels=inclusive)
        labels, _ = targets.fcos_target_single_image([(1, 1)], truth)
        assert labels.tolist() == [label]


def test_locations_in_the_corner_by_hand():
    """The step is the side of the image over the number of cells: 40 // 3 in the second level."""
    targets = FCOSTargets(
        strides=(8, 16), sizes_of_interest=(16,), num_classes=3, location="corner"
    )
    first, second = targets.get_points([(1, 5), (1, 3)])
    assert first.tolist() == [[0, 0], [8, 0], [16, 0], [24, 0], [32, 0]]
    assert second.tolist() == [[0, 0], [13, 0], [26, 0]]
    truth = ground_truth([[4, -4, 20, 4], [20, -1, 36, 39]], [1, 2])
    labels, ltrb = targets.fcos_target_single_image([(1, 5), (1, 3)], truth)
    assert labels.tolist() == [3, 1, 1, 3, 3, 3, 3, 2]  # the second box reaches 39 px down
    assert ltrb[1].tolist() == [4, 4, 12, 4] and ltrb[7].tolist() == [6, 1, 10, 39]


@pytest.mark.parametrize("radius", [None, 1.5])
@pytest.mark.parametrize("case", CASES)
def test_targets_equal_adelaidet(case, radius):
    name = f"targets/{case}"
    truth = ground_truth(value(f"{name}/boxes"), value(f"{name}/classes"))
    targets = FCOSTargets(center_radius=radius)
    labels, ltrb = targets.fcos_target_single_image(sizes(f"{name}/feature_sizes"), truth)
    kind = "adet_all" if radius is None else "adet_r1.5"
    torch.testing.assert_close(labels, value(f"{name}/{kind}/labels").long(), atol=0, rtol=0)
    is_positive = labels < 80
    torch.testing.assert_close(ltrb[is_positive], value(f"{name}/{kind}/ltrb"), atol=0, rtol=0)
    assert not ltrb[~is_positive].any()


def test_a_batch_is_its_images():
    """One of them without objects."""
    images = [ground_truth([[0, 0, 16, 16]], [2]), ground_truth([], [])]
    labels, ltrb = one_level().fcos_target([(2, 3)], images)
    assert labels.shape == (2, 6) and ltrb.shape == (2, 6, 4)
    assert labels[0].tolist() == [2, 2, 3, 2, 2, 3] and labels[1].tolist() == [3] * 6
