"""PolygonMasks, BitMasks, ROIMasks: detectron2's own values, by hand, and the limits."""

import numpy as np
import pytest
import torch
from golden_values import golden_npz

import detectron2
from detectron2.structures import (
    BitMasks,
    Boxes,
    Instances,
    PolygonMasks,
    ROIMasks,
    masks,
    polygons_to_bitmask,
)

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

TRIANGLE = np.array([1, 1, 5, 1, 5, 5.0])
SQUARE = np.array([1, 1, 4, 1, 4, 4, 1, 4.0])


@pytest.fixture(scope="module")
def golden():
    return golden_npz("host_masks.npz")


@pytest.fixture(scope="module")
def polygon_masks(golden):
    objects = [[] for _ in golden["boxes"]]
    for name in golden.files:
        number = name.removeprefix("polygon/").partition("_")[0]
        if number.isdigit():
            objects[int(number)].append(golden[name])
    return PolygonMasks(objects)


def same(actual, expected):
    torch.testing.assert_close(actual, torch.from_numpy(expected), rtol=0, atol=0)


def test_polygons_equal_detectron2(golden, polygon_masks):
    same(polygon_masks.get_bounding_boxes().tensor, golden["polygon/bounding_boxes"])
    torch.testing.assert_close(
        polygon_masks.area(), torch.from_numpy(golden["polygon/area"]), rtol=1e-12, atol=0
    )
    same(polygon_masks.nonempty(), golden["polygon/nonempty"])


def test_bits_equal_detectron2(golden, polygon_masks):
    bits = BitMasks.from_polygon_masks(polygon_masks, 96, 128)
    same(bits.tensor, golden["bitmask/from_polygons"])
    same(bits.get_bounding_boxes().tensor, golden["bitmask/bounding_boxes"])
    same(bits.nonempty(), golden["bitmask/nonempty"])
    assert bits.image_size == (96, 128)


@pytest.mark.parametrize("size", [14, 28])
@pytest.mark.parametrize("kind", ["polygon", "bitmask"])
def test_crops_equal_detectron2(golden, polygon_masks, kind, size):
    objects = polygon_masks
    if kind == "bitmask":
        objects = BitMasks.from_polygon_masks(polygon_masks, 96, 128)
    crops = objects.crop_and_resize(torch.from_numpy(golden["boxes"]), size)
    same(crops, golden[f"{kind}/crop_and_resize_{size}"])


def test_crops_of_bits_do_not_depend_on_how_many_are_done_at_a_time(
    golden, polygon_masks, monkeypatch
):
    monkeypatch.setattr(masks, "_PIXELS_AT_A_TIME", 2 * 96 * 128, raising=False)
    bits = BitMasks.from_polygon_masks(polygon_masks, 96, 128)
    crops = bits.crop_and_resize(torch.from_numpy(golden["boxes"]), 14)
    same(crops, golden["bitmask/crop_and_resize_14"])


def test_by_hand():
    # The triangle is half of a 4 x 4 square, the other one 3 x 3.
    objects = PolygonMasks([[TRIANGLE], [SQUARE, TRIANGLE], []])
    assert objects.area().tolist() == [8.0, 17.0, 0.0]
    assert objects.nonempty().tolist() == [True, True, False]
    assert objects.get_bounding_boxes().tensor.tolist()[:2] == [[1, 1, 5, 5], [1, 1, 5, 5]]
    assert objects.get_bounding_boxes().nonempty().tolist() == [True, True, False]
    bits = BitMasks.from_polygon_masks([[SQUARE], []], 5, 6)
    expected = torch.zeros(2, 5, 6, dtype=torch.bool)
    expected[0, 1:4, 1:4] = True
    assert torch.equal(bits.tensor, expected)
    assert bits.get_bounding_boxes().tensor.tolist() == [[1, 1, 4, 4], [0, 0, 0, 0]]
    # A box of 6 x 6 pixels in 3 x 3 cells of 2 x 2 pixels, the object in cells 0.5 to 2.
    boxes = torch.tensor([[0, 0, 6, 6.0], [0, 0, 6, 6]])
    # The corner cell holds one pixel of four, its neighbours two: half is inside.
    assert bits.crop_and_resize(boxes, 3)[0].int().tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert not bits.crop_and_resize(boxes, 3)[1].any()


def test_a_polygon_that_leaves_the_image_has_no_box_there():
    objects = PolygonMasks([[np.array([-5, -6, -3, -6, -3, -2.0])]])
    assert objects.get_bounding_boxes().tensor.tolist() == [[-5, -6, 0, 0]]


def test_a_box_without_size_shows_nothing_and_fails_nowhere():
    objects = PolygonMasks([[TRIANGLE]])
    for crops in (
        objects.crop_and_resize(torch.zeros(1, 4), 2),
        BitMasks.from_polygon_masks(objects, 8, 8).crop_and_resize(torch.zeros(1, 4), 2),
    ):
        assert crops.shape == (1, 2, 2) and not crops.any()


def test_polygons_to_bitmask():
    mask = polygons_to_bitmask([SQUARE, SQUARE + 1], 6, 7)
    assert mask.dtype == bool and mask.shape == (6, 7)
    assert mask.sum() == 9 + 9 - 4  # what two share counts once
    assert not polygons_to_bitmask([], 2, 3).any()
    assert masks.polygon_area(np.array([0, 4, 4]), np.array([0, 0, 4])) == 8


SELECTIONS = [
    (1, [1]),
    (-1, [2]),
    (slice(0, 2), [0, 1]),
    ([2, 0], [2, 0]),
    ([], []),
    (torch.tensor([True, False, True]), [0, 2]),
    (torch.tensor([2, 2, 1]), [2, 2, 1]),
]


@pytest.mark.parametrize(("index", "expected"), SELECTIONS)
def test_indexing(index, expected):
    objects = PolygonMasks([[SQUARE + i] for i in range(3)])
    bits = BitMasks.from_polygon_masks(objects, 8, 8)
    picked = objects[index]
    assert isinstance(picked, PolygonMasks)
    assert [one[0][0] for one in picked] == [1.0 + i for i in expected]
    picked = bits[index]
    assert isinstance(picked, BitMasks)
    assert torch.equal(picked.tensor, bits.tensor[expected])
    if not isinstance(index, int):
        assert ROIMasks(torch.rand(3, 4, 4))[index].tensor.shape == (len(expected), 4, 4)


def test_wrong_indices():
    objects = PolygonMasks([[SQUARE]])
    bits = BitMasks.from_polygon_masks(objects, 8, 8)
    for one in (objects, bits):
        with pytest.raises(IndexError):
            one[1]
        with pytest.raises((ValueError, IndexError)):
            one[torch.tensor([0.0])]
    with pytest.raises(AssertionError):
        bits[torch.tensor(0)]
    with pytest.raises(ValueError):
        ROIMasks(torch.rand(3, 4, 4))[0]


@lite_only
def test_a_mask_of_another_length_is_no_index():
    with pytest.raises(IndexError):
        PolygonMasks([[SQUARE]] * 3)[torch.tensor([True, False])]
    with pytest.raises(IndexError, match="expected one dimension, got 2"):
        PolygonMasks([[SQUARE]] * 3)[torch.tensor([[0]])]


def test_cat_and_iteration():
    first, second = PolygonMasks([[SQUARE], [TRIANGLE]]), PolygonMasks([[]])
    joined = PolygonMasks.cat([first, second])
    assert [len(one) for one in joined] == [1, 1, 0] and len(joined) == 3
    bits = BitMasks.cat([BitMasks.from_polygon_masks(one, 8, 8) for one in (first, second)])
    assert [mask.sum().item() > 0 for mask in bits] == [True, True, False]
    for kind in (PolygonMasks, BitMasks):
        with pytest.raises(AssertionError):
            kind.cat([])
        with pytest.raises(AssertionError):
            kind.cat([torch.zeros(1)])
    assert str(joined) == "PolygonMasks(num_instances=3)"
    assert str(bits) == "BitMasks(num_instances=3)"


def test_masks_are_fields_of_instances():
    instances = Instances((8, 8), gt_masks=PolygonMasks([[SQUARE], [TRIANGLE]]))
    assert len(instances[torch.tensor([False, True])].gt_masks) == 1
    assert len(Instances.cat([instances, instances]).gt_masks) == 4
    assert instances.to("cpu").gt_masks is instances.gt_masks


def test_devices_and_types():
    objects = PolygonMasks([[torch.tensor(SQUARE, dtype=torch.float32)], [list(SQUARE)]])
    assert [one[0].dtype for one in objects] == [np.float64] * 2
    assert objects.device == torch.device("cpu")
    bits = BitMasks(np.full((1, 2, 3), 7, dtype=np.uint8))
    assert bits.tensor.dtype == torch.bool and bits.tensor.all()
    assert bits.to(torch.float32).tensor.dtype == torch.bool
    assert bits.to("meta").device == torch.device("meta")
    assert ROIMasks(torch.rand(2, 4, 4)).to("meta").device == torch.device("meta")


def test_polygons_are_copied():
    mine = SQUARE.copy()
    objects = PolygonMasks([[mine]])
    mine += 100
    assert objects.polygons[0][0].tolist() == SQUARE.tolist()
    objects.crop_and_resize(torch.tensor([[1, 1, 3, 3.0]]), 4)
    assert objects.polygons[0][0].tolist() == SQUARE.tolist()


def test_no_masks():
    objects = PolygonMasks([])
    bits = BitMasks.from_polygon_masks(objects, 6, 7)
    assert bits.tensor.shape == (0, 6, 7)
    for none in (objects, bits):
        assert len(none) == 0 and none.nonempty().shape == (0,)
        assert none.nonempty().dtype == torch.bool
        assert none.get_bounding_boxes().tensor.shape == (0, 4)
        crops = none.crop_and_resize(torch.zeros(0, 4), 14)
        assert crops.shape == (0, 14, 14) and crops.dtype == torch.bool


@pytest.mark.parametrize(
    "polygons",
    [
        SQUARE,
        [SQUARE],
        ((SQUARE,),),
        [[np.ones(7)]],
        [[np.ones(4)]],
        [[np.ones((3, 2))]],
    ],
)
def test_what_is_no_polygon(polygons):
    with pytest.raises(ValueError):
        PolygonMasks(polygons)


@lite_only
@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PolygonMasks([SQUARE]), "expected a list of polygons per object, got a ndarray"),
        (lambda: PolygonMasks(SQUARE), "a list with a list of polygons per object, got a ndarray"),
        (
            lambda: PolygonMasks([[np.ones(4)]]),
            r"three corners or more, but one is an array of shape \(4,\)",
        ),
        (
            lambda: polygons_to_bitmask([[1, 2, 3, 4]], 8, 8),
            r"three corners or more, but one is an array of shape \(4,\)",
        ),
        (lambda: ROIMasks(torch.rand(2, 1, 4, 4)), r"expected an \(N, M, M\) tensor"),
    ],
)
def test_messages(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_numbers_must_match():
    objects = PolygonMasks([[SQUARE]])
    for one in (objects, BitMasks.from_polygon_masks(objects, 8, 8)):
        with pytest.raises(AssertionError):
            one.crop_and_resize(torch.zeros(2, 4), 14)
    with pytest.raises(AssertionError):
        BitMasks(torch.zeros(3, 4))


def test_roi_masks_become_bit_masks():
    boxes = Boxes(torch.tensor([[1, 2, 5, 6.0], [0, 0, 8, 8]]))
    inside = torch.stack([torch.ones(4, 4), torch.full((4, 4), 0.4)])
    bits = ROIMasks(inside).to_bitmasks(boxes, 8, 9)
    expected = torch.zeros(2, 8, 9, dtype=torch.bool)
    expected[0, 2:6, 1:5] = True
    assert torch.equal(bits.tensor, expected)
    assert ROIMasks(inside).to_bitmasks(boxes, 8, 9, threshold=0.3).tensor[1].any()
    assert str(ROIMasks(inside)) == "ROIMasks(num_instances=2)"
    with pytest.raises(TypeError):
        BitMasks.from_roi_masks(ROIMasks(inside), 8, 9)
