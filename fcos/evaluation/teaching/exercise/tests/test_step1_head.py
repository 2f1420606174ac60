"""Step 1: layers, initialisation and outputs of the head (Fig. 2 and Sec. 3.1)."""

import math

import pytest
import torch
from torch import nn

from fcos.modeling.fcos import FCOSHead

SIZES = [(4, 6), (2, 3)]


def small_head(**options):
    """Two channels, three classes, two levels, one convolution in each tower."""
    torch.manual_seed(0)
    settings = {"in_channels": 2, "num_levels": 2, "num_classes": 3, "num_convs": 1}
    return FCOSHead(**{**settings, **options})


def by_hand(**options):
    """Features of 1 and 2 everywhere, and weights that only look at their own cell.

    The class tower multiplies by 2, the box tower by 3.
    """
    head = small_head(**options)
    with torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.bias.zero_()
        for tower, factor in ((head.cls_tower, 2.0), (head.bbox_tower, 3.0)):
            tower[0].weight[:, :, 1, 1] = factor * torch.eye(2)
        head.cls_logits.weight[:, :, 1, 1] = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
        head.bbox_pred.weight[:, :, 1, 1] = torch.tensor([[0.1, 0], [0, 0.1], [-0.1, 0], [0, 0]])
        head.ctrness.weight[:, :, 1, 1] = torch.tensor([[1.0, -1.0]])
        for level, scale in enumerate(head.scales):
            scale.scale.fill_(level + 1)
    features = [torch.tensor([1.0, 2.0]).view(1, 2, 1, 1).expand(1, 2, *size) for size in SIZES]
    return head(features)


def test_three_lists_over_levels():
    features = [torch.randn(2, 2, *size) for size in SIZES]
    outputs = small_head()(features)
    for levels, channels in zip(outputs, (3, 4, 1), strict=True):
        assert [tuple(level.shape) for level in levels] == [(2, channels, *s) for s in SIZES]


def test_outputs_by_hand():
    cls_scores, bbox_preds, centernesses = by_hand()
    for level in range(2):
        # The towers give (2, 4) and (3, 6); relu changes nothing. No sigmoid.
        assert cls_scores[level][0, :, 0, 0].tolist() == [2, 4, 6]
        assert centernesses[level][0, :, 0, 0].tolist() == [-2]
        # exp(scale * x), with the scale of the level: distances in pixels.
        want = torch.tensor([0.3, 0.6, -0.3, 0.0]).mul(level + 1).exp()
        torch.testing.assert_close(bbox_preds[level][0, :, 0, 0], want)


def test_centerness_from_the_box_tower():
    _, _, centernesses = by_hand(centerness_on_reg=True)
    assert centernesses[0][0, :, 0, 0].tolist() == [-3]


def test_distances_in_strides_are_relu_instead_of_exp():
    _, bbox_preds, _ = by_hand(normalize_reg_targets=True)
    torch.testing.assert_close(bbox_preds[1][0, :, 0, 0], torch.tensor([0.6, 1.2, 0.0, 0.0]))


def test_layers_have_the_names_and_shapes_of_published_weights():
    """Those of AdelaiDet, which the checkpoints of this package have too."""
    head = FCOSHead(in_channels=32, num_classes=7, num_shared_convs=1, num_convs=2, norm="GN")
    shapes = {name: tuple(tensor.shape) for name, tensor in head.state_dict().items()}
    convolution, norm = {"weight": (32, 32, 3, 3), "bias": (32,)}, {"weight": (32,), "bias": (32,)}
    want = {}
    for tower, number in (("share_tower", 1), ("cls_tower", 2), ("bbox_tower", 2)):
        for index in range(number):  # convolution, norm, relu, convolution, norm, relu
            want.update({f"{tower}.{3 * index}.{k}": shape for k, shape in convolution.items()})
            want.update({f"{tower}.{3 * index + 1}.{k}": shape for k, shape in norm.items()})
    for name, channels in (("cls_logits", 7), ("bbox_pred", 4), ("ctrness", 1)):
        want.update({f"{name}.weight": (channels, 32, 3, 3), f"{name}.bias": (channels,)})
    scales = {name: shape for name, shape in shapes.items() if name.startswith("scales.")}
    assert len(scales) == 5  # one number for each level
    assert {name: shape for name, shape in shapes.items() if name not in scales} == want
    assert all(m.num_groups == 32 for m in head.modules() if isinstance(m, nn.GroupNorm))


def test_initialisation():
    """Normal with 0.01, biases of 0, and every class begins with the prior as its score."""
    head = FCOSHead(in_channels=64, num_convs=2, prior_prob=0.02)
    for name, module in head.named_modules():
        if isinstance(module, nn.Conv2d):
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.1), name
            assert abs(module.weight.mean().item()) < 0.001, name
            if name != "cls_logits":
                assert not module.bias.any(), name
    logit = math.log(0.02 / 0.98)
    torch.testing.assert_close(head.cls_logits.bias, torch.full((80,), logit))
    assert all(scale.scale.item() == 1 for scale in head.scales)
