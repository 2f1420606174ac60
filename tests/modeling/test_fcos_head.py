"""Step 1: shapes, outputs and initialisation of the head."""

import math

import pytest
import torch

from detectron2.layers import ShapeSpec
from fcos.config import get_cfg
from fcos.modeling.fcos import FCOSHead

SIZES = [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]


def features(channels=32, images=2):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, channels, *size, generator=generator) for size in SIZES]


def small_head(**options):
    torch.manual_seed(0)
    return FCOSHead(in_channels=32, num_classes=3, num_convs=1, **options)


def test_three_lists_over_levels():
    cls_scores, bbox_preds, centernesses = small_head()(features())
    assert [tuple(x.shape) for x in cls_scores] == [(2, 3, *size) for size in SIZES]
    assert [tuple(x.shape) for x in bbox_preds] == [(2, 4, *size) for size in SIZES]
    assert [tuple(x.shape) for x in centernesses] == [(2, 1, *size) for size in SIZES]


def test_an_untrained_head_scores_the_prior_and_predicts_one_pixel():
    head = small_head(prior_prob=0.01)
    cls_scores, bbox_preds, _ = head([torch.zeros(1, 32, *size) for size in SIZES])
    for scores, boxes in zip(cls_scores, bbox_preds, strict=True):
        torch.testing.assert_close(scores.sigmoid(), torch.full_like(scores, 0.01))
        torch.testing.assert_close(boxes, torch.ones_like(boxes))  # exp(0)
    for module in head.modules():
        if isinstance(module, torch.nn.Conv2d):
            # Of n draws, the standard deviation is within 10 % of 0.01 for these sizes.
            assert module.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_each_level_has_its_own_factor_inside_the_exponential():
    head = small_head()
    with torch.no_grad():
        for level, scale in enumerate(head.scales):
            scale.scale.fill_(level + 1)
        head.bbox_pred.weight.zero_()
        head.bbox_pred.bias.fill_(0.5)
    _, bbox_preds, _ = head(features())
    for level, boxes in enumerate(bbox_preds):
        want = math.exp(0.5 * (level + 1))
        torch.testing.assert_close(boxes, torch.full_like(boxes, want))


def test_normalised_targets_use_relu():
    head = small_head(normalize_reg_targets=True)
    with torch.no_grad():
        head.bbox_pred.weight.zero_()
        head.bbox_pred.bias.copy_(torch.tensor([-1.0, 0.0, 0.5, 2.0]))
        head.scales[0].scale.fill_(3.0)
    _, bbox_preds, _ = head(features())
    assert bbox_preds[0][0, :, 0, 0].tolist() == [0.0, 0.0, 1.5, 6.0]
    assert bbox_preds[1][0, :, 0, 0].tolist() == [0.0, 0.0, 0.5, 2.0]


@pytest.mark.parametrize("on_reg", [False, True])
def test_the_branch_of_centerness(on_reg):
    head = small_head(ctr_on_reg=on_reg)
    _, _, before = head(features())
    with torch.no_grad():
        for layer in (head.bbox_tower if on_reg else head.cls_tower).parameters():
            layer.add_(1.0)
    _, _, after = head(features())
    assert not torch.allclose(before[0], after[0])
    with torch.no_grad():
        for layer in (head.cls_tower if on_reg else head.bbox_tower).parameters():
            layer.add_(1.0)
    _, _, unchanged = head(features())
    torch.testing.assert_close(after, unchanged, atol=0, rtol=0)


def test_shared_convolutions_come_before_both_towers():
    head = FCOSHead(in_channels=32, num_classes=3, num_shared_convs=2, num_convs=0)
    assert [type(m).__name__ for m in head.share_tower] == ["Conv2d", "ReLU"] * 2
    assert len(head.cls_tower) == len(head.bbox_tower) == 0
    assert head(features())[0][0].shape == (2, 3, 8, 12)


def test_group_norm_has_32_groups_and_one_module_per_layer():
    head = FCOSHead(in_channels=64, num_convs=3, norm="GN")
    norms = [m for m in head.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms) == 6
    assert all(norm.num_groups == 32 for norm in norms)


def test_large_outputs_stay_finite_also_in_half_precision():
    head = small_head().bfloat16()
    with torch.no_grad():
        head.bbox_pred.bias.fill_(1e30)
    _, bbox_preds, _ = head([x.bfloat16() for x in features()])
    assert bbox_preds[0].dtype == torch.float32
    assert bbox_preds[0].isfinite().all()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"norm": "IN"}, "MODEL.FCOS.NORM: expected one of .*'none', 'GN'.*, got 'IN'"),
        ({"in_channels": 48, "norm": "GN"}, "GN has 32 groups, which do not divide 48 channels"),
        ({"prior_prob": 1.0}, r"MODEL.FCOS.PRIOR_PROB: expected within \(0, 1\), got 1.0"),
    ],
)
def test_settings_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        FCOSHead(**{"in_channels": 32, **options})


def test_wrong_number_of_features():
    with pytest.raises(ValueError, match="features: expected 5 levels, got 2"):
        small_head()(features()[:2])


def test_from_config():
    cfg = get_cfg()
    cfg.MODEL.FCOS.NUM_CLASSES = 7
    cfg.MODEL.FCOS.NUM_STACKED_CONVS = 2
    head = FCOSHead(cfg, [ShapeSpec(channels=16, stride=s) for s in (8, 16)])
    assert head.cls_logits.weight.shape == (7, 16, 3, 3)
    assert len(head.scales) == 2
    with pytest.raises(ValueError, match=r"the same number of channels, got \[16, 32\]"):
        FCOSHead(cfg, [ShapeSpec(channels=16, stride=8), ShapeSpec(channels=32, stride=16)])
    cfg.MODEL.FCOS.USE_DEFORMABLE = True
    with pytest.raises(NotImplementedError, match="MODEL.FCOS.USE_DEFORMABLE"):
        FCOSHead(cfg, [ShapeSpec(channels=16, stride=8)])
