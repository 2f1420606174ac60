"""Losses of boxes, by hand; private, but RPN, box heads and RetinaNet all use them."""

import pytest
import torch

import detectron2
from detectron2.modeling.box_regression import Box2BoxTransform

if not detectron2.__version__.endswith("+lite"):
    pytest.skip("a module of detectron2-lite's own", allow_module_level=True)

from detectron2.modeling._box_losses import box_regression_loss

TRANSFORM = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
SOURCE = torch.tensor([[0.0, 0, 10, 10], [0, 0, 20, 20]])
# Moved by 2 of 10 and by 10 of 20 pixels to the right.
TARGET = torch.tensor([[2.0, 0, 12, 10], [10, 0, 30, 20]])


def loss(kind="smooth_l1", beta=0.0, number=2):
    deltas = torch.zeros(number, 4, requires_grad=True)
    value = box_regression_loss(deltas, SOURCE[:number], TARGET[:number], TRANSFORM, kind, beta)
    value.backward()
    return value.item(), deltas.grad


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (0.0, 0.2 + 0.5),
        (0.4, 0.5 * 0.2**2 / 0.4 + 0.5 - 0.5 * 0.4),
    ],
)
def test_differences_of_deltas(beta, expected):
    assert loss(beta=beta)[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # Overlaps 80 of 120 and 200 of 600; hulls 12 x 10 and 30 x 20 without a gap.
        ("giou", 2 - 80 / 120 - 200 / 600),
        # Centres 2 and 10 apart; squared diagonals of the hulls.
        ("diou", 2 - 80 / 120 - 200 / 600 + 4 / (144 + 100) + 100 / (900 + 400)),
        # As above: the shapes are equal.
        ("ciou", 2 - 80 / 120 - 200 / 600 + 4 / (144 + 100) + 100 / (900 + 400)),
    ],
)
def test_overlaps_of_boxes(kind, expected):
    value, gradient = loss(kind)
    assert value == pytest.approx(expected, abs=1e-5)
    assert (gradient[:, 0] < 0).all()  # further to the right


@pytest.mark.parametrize("kind", ["smooth_l1", "giou", "diou", "ciou"])
def test_no_boxes(kind):
    value, gradient = loss(kind, number=0)
    assert value == 0 and gradient.shape == (0, 4)


def test_another_kind():
    with pytest.raises(ValueError, match="BBOX_REG_LOSS_TYPE: expected one of smooth_l1, giou"):
        loss("iou")
