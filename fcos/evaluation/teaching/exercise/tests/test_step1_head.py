"""Step 1: layers, initialisation and outputs of the head (Fig. 2 and Sec. 3.1)."""

import math

import pytest
import torch
from torch import nn

from fcos.layers import DeformConvLayer
from fcos.modeling.fcos import FCOSHead

SIZES = [(4, 6), (2, 3)]


def small_head(**options):
    """Two channels, three classes, two levels, one convolution in each tower."""
    torch.manual_seed(0)
    settings = {"in_channels": 2, "num_levels": 2, "num_classes": 3, "num_convs": 1}
    return FCOSHead(**{**settings, **options})


def head_by_hand(**options):
    """Weights that only look at their own cell.

    The shared tower multiplies by 5, the class tower by 2, the box tower by 3.
    """
    head = small_head(**options)
    with torch.no_grad():
        for module in head.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.zero_()
                module.bias.zero_()
        for tower, factor in ((head.share_tower, 5), (head.cls_tower, 2), (head.bbox_tower, 3)):
            if len(tower):
                tower[0].weight[:, :, 1, 1] = factor * torch.eye(2)
        head.cls_logits.weight[:, :, 1, 1] = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
        head.bbox_pred.weight[:, :, 1, 1] = torch.tensor([[0.1, 0], [0, 0.1], [-0.1, 0], [0, 0]])
        head.ctrness.weight[:, :, 1, 1] = torch.tensor([[1.0, -1.0]])
        for level, scale in enumerate(head.scales):
            for factor in scale.parameters():  # none without scales
                factor.fill_(level + 1)
    return head


def outputs_of(head):
    """Of features of 1 and 2 everywhere."""
    value = torch.tensor([1.0, 2.0]).view(1, 2, 1, 1)
    return head([value.expand(1, 2, *size) for size in SIZES])


def by_hand(**options):
    return outputs_of(head_by_hand(**options))


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


def test_without_scales_all_levels_predict_alike():
    _, bbox_preds, _ = by_hand(use_scale=False)
    for level in range(2):
        want = torch.tensor([0.3, 0.6, -0.3, 0.0]).exp()
        torch.testing.assert_close(bbox_preds[level][0, :, 0, 0], want)
    assert not any("scales" in name for name in small_head(use_scale=False).state_dict())


def test_shared_convolutions_come_before_both_towers():
    cls_scores, bbox_preds, centernesses = by_hand(num_shared_convs=1)
    assert cls_scores[0][0, :, 0, 0].tolist() == [10, 20, 30]
    assert centernesses[0][0, :, 0, 0].tolist() == [-10]
    want = torch.tensor([1.5, 3.0, -1.5, 0.0]).exp()
    torch.testing.assert_close(bbox_preds[0][0, :, 0, 0], want)


def test_relu_follows_each_convolution():
    head = head_by_hand()
    with torch.no_grad():
        head.cls_tower[0].bias.copy_(torch.tensor([-3.0, 0]))  # 2 - 3 is below 0
    assert outputs_of(head)[0][0][0, :, 0, 0].tolist() == [0, 4, 4]


@pytest.mark.parametrize("norm, kind", [("BN", nn.BatchNorm2d), ("SyncBN", nn.SyncBatchNorm)])
def test_batch_normalisation_is_one_layer_for_each_level(norm, kind):
    head = small_head(num_shared_convs=1, norm=norm)
    for name in ("share_tower", "cls_tower", "bbox_tower"):
        layers = [type(module) for module in getattr(head, name).modules()]
        assert layers.count(kind) == 2, name
        assert {f"{name}.1.{level}.running_mean" for level in range(2)} <= set(head.state_dict())


def test_batch_normalisation_by_hand():
    head = head_by_hand(norm="BN").eval()  # the mean is 0 and the variance 1
    with torch.no_grad():
        head.get_parameter("cls_tower.1.1.bias").fill_(1.0)  # of the second level
    cls_scores, _, _ = outputs_of(head)
    for level, want in enumerate(([2.0, 4, 6], [3.0, 5, 8])):
        got = cls_scores[level][0, :, 0, 0]
        torch.testing.assert_close(got, torch.tensor(want), atol=1e-4, rtol=0)


@pytest.mark.parametrize("modulated", [False, True])
def test_the_last_convolution_of_both_towers_is_deformable(modulated):
    options = {"use_deformable": True, "deform_modulated": modulated}
    head = small_head(in_channels=64, num_shared_convs=1, num_convs=2, **options)
    for tower in (head.cls_tower, head.bbox_tower):
        assert isinstance(tower[0], nn.Conv2d)
        last = tower[2]
        assert isinstance(last, DeformConvLayer) and last.modulated == modulated
        # It begins as a convolution without offsets, with weights like those of the others.
        assert not last.offset.weight.any() and not last.offset.bias.any()
        assert last.conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not last.conv.bias.any()
    assert isinstance(head.share_tower[0], nn.Conv2d)


def test_the_first_distances_in_strides():
    """relu has no gradient below 0, so they begin above."""
    head = small_head(normalize_reg_targets=True, prior_distance=2.5)
    assert head.bbox_pred.bias.tolist() == [2.5] * 4
    assert small_head(prior_distance=2.5).bbox_pred.bias.tolist() == [0] * 4  # pixels: exp


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
