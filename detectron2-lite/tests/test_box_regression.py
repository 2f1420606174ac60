"""Boxes relative to others, by hand, and there and back."""

import math

import pytest
import torch

import detectron2
from detectron2.modeling.box_regression import Box2BoxTransform, Box2BoxTransformLinear

IS_LITE = detectron2.__version__.endswith("+lite")

# Centre (20, 30), 20 wide and 40 high.
SOURCE = torch.tensor([[10.0, 10, 30, 50]])
# Centre (25, 20), 40 wide and 10 high.
TARGET = torch.tensor([[5.0, 15, 45, 25]])


def boxes(number=50, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(number, 2, generator=generator) * 100
    return torch.cat([corner, corner + 1 + torch.rand(number, 2, generator=generator) * 50], dim=1)


def test_deltas_by_hand():
    deltas = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)).get_deltas(SOURCE, TARGET)
    expected = [[5 / 20, -10 / 40, math.log(40 / 20), math.log(10 / 40)]]
    torch.testing.assert_close(deltas, torch.tensor(expected))
    weighted = Box2BoxTransform(weights=(10.0, 20.0, 5.0, 3.0)).get_deltas(SOURCE, TARGET)
    torch.testing.assert_close(weighted, deltas * torch.tensor([10, 20, 5, 3]))


def test_there_and_back():
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    source, target = boxes(seed=0), boxes(seed=1)
    back = transform.apply_deltas(transform.get_deltas(source, target), source)
    torch.testing.assert_close(back, target, rtol=0, atol=1e-4)
    assert torch.equal(transform.apply_deltas(torch.zeros(50, 4), source).round(), source.round())


def test_deltas_of_several_classes():
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    deltas = torch.randn(50, 12, generator=torch.Generator().manual_seed(0))
    together = transform.apply_deltas(deltas, boxes())
    each = [transform.apply_deltas(part.contiguous(), boxes()) for part in deltas.split(4, dim=1)]
    assert torch.equal(together, torch.cat(each, dim=1))


def test_sides_grow_to_1000_pixels_at_most():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    deltas = torch.tensor([[0.0, 0, 1000, -1000]])
    (box,) = transform.apply_deltas(deltas, torch.tensor([[-8.0, -8, 8, 8]]))
    torch.testing.assert_close(box, torch.tensor([-500.0, 0, 500, 0]), rtol=1e-5, atol=1e-5)
    tight = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0), scale_clamp=math.log(2))
    (box,) = tight.apply_deltas(deltas, torch.tensor([[-8.0, -8, 8, 8]]))
    torch.testing.assert_close(box, torch.tensor([-16.0, 0, 16, 0]))


def test_half_precision_is_decoded_in_float32():
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    moved = transform.apply_deltas(torch.zeros(1, 4).half(), torch.tensor([[1000.25, 0, 1001, 9]]))
    assert moved.dtype == torch.float32 and moved[0, 0] == 1000.25


@pytest.mark.parametrize("side", [0, 1])
def test_a_source_box_without_a_side(side):
    flat = SOURCE.clone()
    flat[0, side + 2] = flat[0, side]
    if side == 1 and not IS_LITE:
        pytest.skip("detectron2 looks at widths only")
    with pytest.raises(Exception, match="Box2BoxTransform"):
        Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)).get_deltas(flat, TARGET)


def test_distances_by_hand():
    # From (20, 30) to the sides at x = 5, y = 15, x = 45, y = 45.
    target = torch.tensor([[5.0, 15, 45, 45]])
    transform = Box2BoxTransformLinear(normalize_by_size=False)
    assert transform.get_deltas(SOURCE, target).tolist() == [[15, 15, 25, 15]]
    in_sides = Box2BoxTransformLinear().get_deltas(SOURCE, target)
    torch.testing.assert_close(in_sides, torch.tensor([[15 / 20, 15 / 40, 25 / 20, 15 / 40]]))
    for each in (transform, Box2BoxTransformLinear()):
        assert each.apply_deltas(each.get_deltas(SOURCE, target), SOURCE).tolist() == [
            [5, 15, 45, 45]
        ]


def test_negative_distances_count_as_zero():
    deltas = torch.tensor([[-1.0, 2, -3, 4, 1, 1, 1, 1]])
    moved = Box2BoxTransformLinear(normalize_by_size=False).apply_deltas(deltas, SOURCE)
    assert moved.tolist() == [[20, 28, 20, 34, 19, 29, 21, 31]]


@pytest.mark.parametrize(
    "transform", [Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)), Box2BoxTransformLinear()]
)
def test_no_boxes(transform):
    if isinstance(transform, Box2BoxTransformLinear) and not IS_LITE:
        pytest.skip("detectron2 cannot do it")
    nothing = torch.zeros(0, 4)
    assert transform.get_deltas(nothing, nothing).shape == (0, 4)
    assert transform.apply_deltas(torch.zeros(0, 12), nothing).shape == (0, 12)
