"""Step 3: the three terms of the loss (Sec. 3.1 and 3.2, Eq. 2)."""

import math

import pytest
import torch
from reference import value

from fcos.modeling.fcos import FCOSLosses

NAMES = ["loss_fcos_cls", "loss_fcos_loc", "loss_fcos_ctr"]


def stored(name, in_strides=True):
    """Outputs of a head for two images, and what they should be."""
    stride = value("losses/strides")[:, None]
    ltrb, targets = value("losses/reg").relu(), value(f"losses/{name}/ltrb")  # in strides; pixels
    ltrb, targets = (ltrb, targets / stride) if in_strides else (ltrb * stride, targets)
    labels = value(f"losses/{name}/labels").long()
    return [value("losses/cls").clone(), ltrb, value("losses/ctr").clone(), labels, targets]


# One positive location off the middle, one of background, one class.
# Target (1, 2, 4, 2): centerness 0.5. Prediction (2, 2, 4, 2): areas 20 and 24, IoU 21/25.
BY_HAND = (
    torch.zeros(1, 2, 1),
    torch.tensor([[[2.0, 2, 4, 2], [9, 9, 9, 9]]]),
    torch.zeros(1, 2),
    torch.tensor([[0, 1]]),
    torch.tensor([[[1.0, 2, 4, 2], [0, 0, 0, 0]]]),
)
CLASS_LOSS = 0.25 * (0.25 + 0.75) * math.log(2)


def test_by_hand():
    losses = FCOSLosses()(*BY_HAND)
    assert list(losses) == NAMES
    want = [CLASS_LOSS, -math.log(21 / 25), math.log(2)]
    assert [loss.item() for loss in losses.values()] == pytest.approx(want, rel=1e-6)


def test_options_by_hand():
    losses = FCOSLosses(focal_alpha=0.4, focal_gamma=1.0, loc_loss_type="linear_iou")(*BY_HAND)
    want = [0.5 * (0.4 + 0.6) * math.log(2), 1 - 21 / 25, math.log(2)]
    assert [loss.item() for loss in losses.values()] == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize(
    "normalizer, divisors",
    [
        ("fg", [1, 1]),  # one positive location
        ("all", [2, 2]),  # two locations
        # From 100 on, each step of a training keeps 0.9 of it and adds 0.1 of the positive ones.
        ("moving_fg", [90.1, 81.19]),
    ],
)
def test_what_the_class_loss_is_divided_by(normalizer, divisors):
    module = FCOSLosses(normalizer=normalizer)
    for divisor in divisors:
        losses = module(*BY_HAND)
        want = [CLASS_LOSS / divisor, -math.log(21 / 25), math.log(2)]
        assert [loss.item() for loss in losses.values()] == pytest.approx(want, rel=1e-5)


def test_the_iou_instead_of_centerness_by_hand():
    """It is learnt without a gradient of its own, and all positive locations weigh the same."""
    # Targets (1, 2, 4, 2) and (1, 1, 1, 1), predictions (2, 2, 4, 2) and (1, 1, 1, 1): IoU 21/25
    # and 1.
    ltrb = torch.tensor([[[2.0, 2, 4, 2], [1, 1, 1, 1], [9, 9, 9, 9]]], requires_grad=True)
    losses = FCOSLosses(box_quality="iou")(
        torch.zeros(1, 3, 1),
        ltrb,
        torch.full((1, 3), math.log(3.0)),  # sigmoid: 3/4
        torch.tensor([[0, 0, 1]]),
        torch.tensor([[[1.0, 2, 4, 2], [1, 1, 1, 1], [0, 0, 0, 0]]]),
    )
    assert list(losses) == ["loss_fcos_cls", "loss_fcos_loc", "loss_fcos_iou"]
    assert losses["loss_fcos_loc"].item() == pytest.approx(-math.log(21 / 25) / 2, rel=1e-6)
    entropies = [-iou * math.log(0.75) - (1 - iou) * math.log(0.25) for iou in (21 / 25, 1)]
    assert losses["loss_fcos_iou"].item() == pytest.approx(sum(entropies) / 2, rel=1e-6)
    assert not torch.autograd.grad(losses["loss_fcos_iou"] + 0 * ltrb.sum(), ltrb)[0].any()


@pytest.mark.parametrize("name", ["original/iou", "adet/giou", "adet/iou", "one_empty/giou"])
def test_losses_equal_the_reference(name):
    """The original implementation with distances in pixels, AdelaiDet with distances in strides."""
    targets, kind = name.split("/")
    arguments = stored(targets, in_strides=targets != "original")
    losses = FCOSLosses(loc_loss_type=kind)(*arguments)
    got = torch.stack([losses[key] for key in NAMES])
    torch.testing.assert_close(got, value(f"losses/{name}"), rtol=1e-5, atol=1e-7)


def test_gradients_equal_adelaidet():
    cls, _, ctr, *targets = stored("adet")
    reg = value("losses/reg").requires_grad_()
    cls.requires_grad_()
    ctr.requires_grad_()
    losses = FCOSLosses(loc_loss_type="giou")(cls, reg.relu(), ctr, *targets)
    sum(losses.values()).backward()
    for name, got in (("cls", cls), ("reg", reg), ("ctr", ctr)):
        sums = torch.stack([got.grad.sum(), got.grad.abs().sum()])
        torch.testing.assert_close(sums, value(f"losses/gradients/{name}"), rtol=1e-4, atol=1e-5)


def test_without_objects_two_terms_are_0_and_can_be_differentiated():
    cls, ltrb, ctr = torch.zeros(1, 6, 3), torch.ones(1, 6, 4), torch.zeros(1, 6)
    for tensor in (cls, ltrb, ctr):
        tensor.requires_grad_()
    losses = FCOSLosses()(cls, ltrb, ctr, torch.full((1, 6), 3), torch.zeros(1, 6, 4))
    assert losses["loss_fcos_loc"].item() == losses["loss_fcos_ctr"].item() == 0
    sum(losses.values()).backward()
    assert not torch.cat((ltrb.grad.ravel(), ctr.grad.ravel())).any()
    assert cls.grad.isfinite().all()
