"""Frozen normalisation joined with the convolution in front of it: the same numbers."""

import copy

import pytest
import torch
from torch import nn

from detectron2.layers import Conv2d, FrozenBatchNorm2d
from fcos.modeling.backbone.frozen_norm import join_frozen_norms
from tests.helpers import tiny_cfg


def layer(bias=False, activation=None):
    torch.manual_seed(0)
    made = Conv2d(
        4, 6, 3, stride=2, padding=1, bias=bias, norm=FrozenBatchNorm2d(6), activation=activation
    )
    for name, value in made.norm.named_buffers():
        value.copy_(torch.rand(6) + 0.5 if name != "bias" else torch.randn(6))
    return made


def test_by_hand():
    made = Conv2d(1, 1, 1, bias=True, norm=FrozenBatchNorm2d(1, eps=0.0))
    made.weight.data.fill_(3.0)
    made.bias.data.fill_(1.0)
    made.norm.running_mean.fill_(2.0)
    made.norm.running_var.fill_(4.0)
    made.norm.weight.fill_(5.0)
    made.norm.bias.fill_(7.0)
    join_frozen_norms(made)
    # (3 * 2 + 1 - 2) / sqrt(4) * 5 + 7
    torch.testing.assert_close(made(torch.full((1, 1, 1, 1), 2.0)).item(), 19.5)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("activation", [None, nn.functional.relu])
def test_results_and_gradients_are_those_of_one_after_the_other(bias, activation):
    apart, joined = layer(bias, activation).double(), layer(bias, activation).double()
    join_frozen_norms(joined)
    assert type(joined) is not type(apart)
    found = []
    for made in (apart, joined):
        random = torch.Generator().manual_seed(1)
        x = torch.randn(2, 4, 9, 7, generator=random, dtype=torch.float64).requires_grad_()
        result = made(x)
        result.square().sum().backward()
        found.append([result, x.grad, *(p.grad for p in made.parameters())])
    torch.testing.assert_close(*found)


def test_names_and_weights_stay_and_a_copy_has_its_own():
    made, plain = layer(), layer()
    join_frozen_norms(made)
    assert made.state_dict().keys() == plain.state_dict().keys()
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.weight.zero_()
        other.norm.running_mean.zero_()
        other.norm.bias.fill_(3.0)
    x = torch.ones(1, 4, 5, 5)
    assert (other(x) == 3).all()
    torch.testing.assert_close(made(x), plain(x))


def test_other_layers_and_a_norm_that_was_replaced_are_left_alone():
    others = nn.Sequential(
        nn.Conv2d(4, 4, 1), Conv2d(4, 4, 1), Conv2d(4, 4, 1, norm=nn.BatchNorm2d(4))
    )
    before = [type(other) for other in others]
    join_frozen_norms(others)
    assert [type(other) for other in others] == before
    made = layer()
    join_frozen_norms(made)
    made.norm = None
    x = torch.randn(1, 4, 5, 5)
    torch.testing.assert_close(made(x), nn.functional.conv2d(x, made.weight, None, 2, 1))


def test_a_backbone_has_no_pass_for_it_left(monkeypatch):
    from detectron2.modeling import build_backbone

    cfg = tiny_cfg()
    cfg.MODEL.RESNETS.NORM = "FrozenBN"
    backbone = build_backbone(cfg)
    layers = [m for m in backbone.modules() if isinstance(m, FrozenBatchNorm2d)]
    assert len(layers) > 10

    def fails(self, x):
        raise AssertionError("a pass over the features")

    monkeypatch.setattr(FrozenBatchNorm2d, "forward", fails)
    assert backbone(torch.rand(1, 3, 64, 64))["p3"].isfinite().all()
