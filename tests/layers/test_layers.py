"""The small modules and functions, by hand."""

import math

import pytest
import torch
from torchvision.ops import nms

from fcos.layers import IOULoss, Scale, class_aware_nms, ltrb_iou_loss, normal_init


@pytest.mark.parametrize(
    "kind, want",
    [
        # (1, 1, 3, 3) against (1, 1, 1, 3): areas 16 and 8, intersection 8, union 16.
        ("iou", -math.log(9 / 17)),
        ("linear_iou", 1 - 9 / 17),
        ("giou", 1 - 9 / 17),  # the smallest box around both is the union
    ],
)
def test_iou_losses_by_hand(kind, want):
    loss = ltrb_iou_loss(torch.tensor([1.0, 1, 3, 3]), torch.tensor([1.0, 1, 1, 3]), kind)
    assert loss.item() == pytest.approx(want)


def test_giou_counts_the_empty_part_of_the_enclosing_box():
    # (1, 3, 1, 3) and (3, 1, 3, 1): areas 12 and 12, intersection 4, union 20, around both 36.
    loss = ltrb_iou_loss(torch.tensor([1.0, 3, 1, 3]), torch.tensor([3.0, 1, 3, 1]), "giou")
    assert loss.item() == pytest.approx(1 - (5 / 21 - 16 / 36))


@pytest.mark.parametrize("kind", ["iou", "linear_iou", "giou"])
def test_iou_losses_at_their_limits(kind):
    boxes = torch.rand(20, 4, generator=torch.Generator().manual_seed(0)) * 100
    torch.testing.assert_close(ltrb_iou_loss(boxes, boxes, kind), torch.zeros(20))
    a = torch.tensor([[0.0, 0, 0, 0], [0, 0, 0, 0], [1e7, 1e7, 1e7, 1e7]], requires_grad=True)
    b = torch.tensor([[0.0, 0, 0, 0], [9, 9, 9, 9], [0, 0, 0, 0]])
    loss = ltrb_iou_loss(a, b, kind)
    assert loss.isfinite().all()
    loss.sum().backward()
    assert a.grad.isfinite().all()
    assert ltrb_iou_loss(torch.zeros(0, 4), torch.zeros(0, 4), kind).shape == (0,)


def test_iou_loss_widens_half_precision():
    loss = ltrb_iou_loss(torch.full((4,), 300.0).half(), torch.full((4,), 300.0).half())
    assert loss.dtype == torch.float32  # the area, 360,000, is infinite in half precision
    assert loss.item() == 0


def test_weighted_sum():
    pred, target = torch.tensor([[1.0, 1, 3, 3]] * 2), torch.tensor([[1.0, 1, 1, 3]] * 2)
    module = IOULoss("linear_iou")
    assert module(pred, target).item() == pytest.approx(2 * 8 / 17)
    weight = torch.tensor([0.5, 0.25])
    assert module(pred, target, weight).item() == pytest.approx(0.75 * 8 / 17)


def test_iou_loss_errors():
    with pytest.raises(ValueError, match="kind: expected one of .*, got 'diou'"):
        ltrb_iou_loss(torch.zeros(4), torch.zeros(4), "diou")
    with pytest.raises(ValueError, match=r"got \(2, 4\) and \(4,\)"):
        ltrb_iou_loss(torch.zeros(2, 4), torch.zeros(4))


BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]])
SCORES = torch.tensor([0.9, 0.8, 0.7, 0.95])
CLASSES = torch.tensor([0, 0, 1, 0])


def test_nms_of_equal_scores_keeps_the_first():
    assert class_aware_nms(BOXES, torch.full((4,), 0.5), CLASSES * 0, 0.4).tolist() == [0, 3]


def test_nms_of_the_last_class_is_as_exact_as_of_the_first():
    """A box of 1/64 pixel: beyond 99 classes of 10,000 pixels, float32 moves in 1/16 of one."""
    boxes = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1 / 64], [0, 0, 1 / 64, 1]])
    far = torch.tensor([[0.0, 0, 1e4, 1e4]])
    scores = torch.tensor([0.9, 0.8, 0.7, 0.6])
    classes = torch.tensor([99, 99, 99, 0])
    assert class_aware_nms(torch.cat((boxes, far)), scores, classes, 0.01).tolist() == [0, 3]
    assert class_aware_nms(torch.cat((boxes, far)), scores, classes, 0.02).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("most", [1, 3, 20, None])
@pytest.mark.parametrize("side", [5.0, 60.0])
def test_nms_is_that_of_each_class_by_itself(most, side):
    """With boxes of 60 pixels in 100, few stay of the first that are looked at, so all are."""
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(300, 2, generator=generator) * 100 - 50
    boxes = torch.cat((corner, corner + side), dim=1)
    scores = torch.rand(300, generator=generator)
    classes = torch.randint(0, 3, (300,), generator=generator)
    kept = []
    for c in range(3):
        of_class = (classes == c).nonzero()[:, 0]
        kept += of_class[nms(boxes[of_class], scores[of_class], 0.3)].tolist()
    kept.sort(key=lambda i: -scores[i].item())
    assert class_aware_nms(boxes, scores, classes, 0.3, most).tolist() == kept[:most]


def test_nms_by_hand():
    # The second overlaps the first with IoU 0.5 exactly; the third is of another class.
    assert class_aware_nms(BOXES, SCORES, CLASSES, 0.5).tolist() == [3, 0, 1, 2]
    assert class_aware_nms(BOXES, SCORES, CLASSES, 0.49).tolist() == [3, 0, 2]
    assert class_aware_nms(BOXES, SCORES, CLASSES, 0.49, 2).tolist() == [3, 0]
    # Counting the right and bottom pixel: 6 * 11 / (11 * 11) = 0.545.
    assert class_aware_nms(BOXES, SCORES, CLASSES, 0.52, None, True).tolist() == [3, 0, 2]
    none = class_aware_nms(BOXES[:0], SCORES[:0], CLASSES[:0], 0.6)
    assert none.shape == (0,)


def test_nms_errors():
    with pytest.raises(ValueError, match=r"boxes: expected \(K, 4\), got \(4,\)"):
        class_aware_nms(torch.zeros(4), SCORES, CLASSES, 0.6)
    with pytest.raises(ValueError, match=r"scores and classes: expected \(4,\) each"):
        class_aware_nms(BOXES, SCORES[:2], CLASSES, 0.6)


def test_scale():
    scale = Scale(2.0)
    x = torch.tensor([1.0, -3.0])
    assert scale(x).tolist() == [2.0, -6.0]
    scale(x).sum().backward()
    assert scale.scale.grad.item() == -2.0
    assert dict(scale.named_parameters())["scale"].shape == (1,)


def test_normal_init():
    torch.manual_seed(0)
    layer = torch.nn.Linear(200, 200)
    normal_init(layer, mean=1.0, std=0.5, bias=3.0)
    assert layer.weight.mean().item() == pytest.approx(1.0, abs=0.02)
    assert layer.weight.std().item() == pytest.approx(0.5, rel=0.02)
    assert (layer.bias == 3.0).all()
    normal_init(torch.nn.Linear(2, 2, bias=False))
    with pytest.raises(ValueError, match="std: expected a value of at least 0, got -1"):
        normal_init(layer, std=-1)
