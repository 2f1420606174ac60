"""Step 1: shapes, outputs and initialisation of the head."""

import math

import pytest
import torch

from detectron2.layers import ShapeSpec
from fcos.config import get_cfg
from fcos.layers import ltrb_iou_loss
from fcos.modeling.fcos import FCOSHead
from fcos.utils.errors import UserError

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


@pytest.mark.parametrize("distance", [0.0, 1.0])
def test_an_untrained_head_predicts_the_prior_distance_in_strides(distance):
    head = small_head(normalize_reg_targets=True, prior_distance=distance)
    _, bbox_preds, _ = head([torch.zeros(1, 32, *size) for size in SIZES])
    for boxes in bbox_preds:
        torch.testing.assert_close(boxes, torch.full_like(boxes, distance))


def test_the_prior_distance_changes_the_bias_of_the_boxes_alone():
    """0 is the published initialisation, which a seed gives as before."""
    published = small_head(normalize_reg_targets=True, prior_distance=0.0).state_dict()
    ours = small_head(normalize_reg_targets=True, prior_distance=4.0).state_dict()
    changed = {name for name in ours if not torch.equal(ours[name], published[name])}
    assert changed == {"bbox_pred.bias"}
    in_pixels = small_head(prior_distance=4.0).state_dict()
    assert all(torch.equal(in_pixels[name], published[name]) for name in published)


def learnt(prior_distance, rate, target):
    """Learn boxes of ``target`` strides in 60 steps: the loss, and the share of sides above 0."""
    head = small_head(normalize_reg_targets=True, prior_distance=prior_distance)
    optimizer = torch.optim.SGD(head.parameters(), lr=rate, momentum=0.9)
    inputs = features(images=1)
    for _ in range(60):
        ltrb = torch.cat([x.flatten(2).transpose(1, 2) for x in head(inputs)[1]], dim=1)
        loss = ltrb_iou_loss(ltrb, torch.full_like(ltrb, target), "giou").mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item(), (ltrb > 0).float().mean().item()


def test_boxes_without_a_size_are_not_learnt_but_those_of_one_stride_are():
    published, _ = learnt(0.0, rate=0.02, target=3.0)
    assert published == pytest.approx(36 / 37, abs=1e-3)  # 1 - (0 + 1) / (36 + 1): as at the start
    ours, alive = learnt(1.0, rate=0.02, target=3.0)
    assert ours < 0.1 and alive == 1


def test_a_large_step_kills_boxes_but_not_those_of_one_stride():
    loss, alive = learnt(4.0, rate=0.1, target=1.0)
    assert loss > 0.6 and alive < 0.3
    loss, alive = learnt(1.0, rate=0.1, target=1.0)
    assert loss < 0.2 and alive == 1


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
    head = small_head(centerness_on_reg=on_reg)
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
    assert [type(m).__name__ for m in head.share_tower] == ["Conv3x3", "ReLU"] * 2
    assert len(head.cls_tower) == len(head.bbox_tower) == 0
    assert head(features())[0][0].shape == (2, 3, 8, 12)


def test_group_norm_has_32_groups_and_one_module_per_layer():
    head = FCOSHead(in_channels=64, num_convs=3, norm="GN")
    norms = [m for m in head.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms) == 6
    assert all(norm.num_groups == 32 for norm in norms)


@pytest.mark.parametrize("norm", ["BN", "SyncBN"])
def test_batch_norm_has_one_layer_per_level_and_shares_the_convolutions(norm):
    head = FCOSHead(in_channels=32, num_classes=3, num_shared_convs=1, num_convs=2, norm=norm)
    names = {name for name in head.state_dict() if "tower" in name}
    parameters = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert names == {
        f"{tower}.{3 * index}.{name}"
        for tower, number in (("share_tower", 1), ("cls_tower", 2), ("bbox_tower", 2))
        for index in range(number)
        for name in ("weight", "bias")
    } | {
        f"{tower}.{3 * index + 1}.{level}.{name}"
        for tower, number in (("share_tower", 1), ("cls_tower", 2), ("bbox_tower", 2))
        for index in range(number)
        for level in range(5)
        for name in parameters
    }


def test_batch_norm_normalises_each_level_by_itself():
    """The levels together give what each of them gives alone, in the place of its level."""
    head = small_head(norm="BN", num_shared_convs=1)
    maps = features()
    _ = head(maps)
    before = head.cls_tower[1][2].running_mean.clone()
    _ = head([maps[0] + 5, *maps[1:]])
    after = head.cls_tower[1]
    torch.testing.assert_close(before * 1.9, after[2].running_mean)  # the same batch twice
    assert not torch.allclose(before * 1.9, after[0].running_mean)
    with torch.no_grad():
        alone = head.eval()(maps)[0][3]
        head.cls_tower[1][2].weight.zero_()
        torch.testing.assert_close(head(maps)[0][3], alone, atol=0, rtol=0)
        assert not torch.equal(head(maps)[0][2], alone)


@pytest.mark.parametrize("modulated, numbers", [(True, 27), (False, 18)])
def test_deformable_convolution_in_the_last_layer_of_both_towers(modulated, numbers):
    head = FCOSHead(
        in_channels=32,
        num_shared_convs=1,
        num_convs=2,
        norm="GN",
        use_deformable=True,
        deform_modulated=modulated,
    )
    shapes = {name: list(value.shape) for name, value in head.state_dict().items()}
    for tower in ("cls_tower", "bbox_tower"):
        assert shapes[f"{tower}.0.weight"] == [32, 32, 3, 3]
        assert shapes[f"{tower}.3.offset.weight"] == [numbers, 32, 3, 3]
        assert shapes[f"{tower}.3.conv.weight"] == [32, 32, 3, 3]
        assert not getattr(head, tower)[3].offset.weight.any()
        assert getattr(head, tower)[3].conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert not getattr(head, tower)[3].conv.bias.any()
    assert not any("offset" in name for name in shapes if name.startswith("share_tower"))
    losses = [level.sum() for outputs in head(features()) for level in outputs]
    sum(losses).backward()
    assert all(p.grad is not None for p in head.parameters())


def test_without_scales_there_are_no_such_parameters_and_the_factor_is_one():
    head, plain = small_head(), small_head(use_scale=False)
    assert set(head.state_dict()) - set(plain.state_dict()) == {
        f"scales.{level}.scale" for level in range(5)
    }
    torch.testing.assert_close(plain(features())[1], head(features())[1], atol=0, rtol=0)


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
        ({"norm": "IN"}, "norm: expected one of .*'none', 'GN'.*, got 'IN'"),
        ({"in_channels": 48, "norm": "GN"}, "GN has 32 groups, which do not divide 48 channels"),
        ({"norm": "gn"}, "expected one of .*'none', 'GN', 'BN', 'SyncBN'.*, got 'gn'"),
        ({"num_shared_convs": -1}, "num_shared_convs: expected at least 0, got -1"),
        ({"num_convs": -2}, "num_convs: expected at least 0, got -2"),
        (
            {"use_deformable": True, "num_convs": 0, "num_shared_convs": 4},
            "use_deformable: needs a convolution in each tower, but num_convs is 0",
        ),
        ({"in_channels": 0}, "in_channels: expected at least 1, got 0"),
        ({"num_levels": 0}, "num_levels: expected at least 1, got 0"),
        ({"num_classes": 0}, "num_classes: expected at least 1, got 0"),
        ({"num_classes": -1}, "num_classes: expected at least 1, got -1"),
        ({"prior_prob": 1.0}, r"prior_prob: expected within \(0, 1\), got 1.0"),
        ({"prior_distance": -1.0}, "prior_distance: expected at least 0, got -1.0"),
        ({"prior_distance": math.inf}, "prior_distance: expected at least 0, got inf"),
    ],
)
def test_settings_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        FCOSHead(**{"in_channels": 32, **options})


def test_groups_of_a_single_value():
    small = [torch.randn(1, 32, side, side) for side in (4, 2, 1)]
    head = FCOSHead(in_channels=32, num_levels=3, norm="GN")
    message = (
        r"^MODEL\.FCOS\.NORM: GN has 32 groups, each of a single channel with MODEL\.FPN\."
        r"OUT_CHANNELS 32, and a feature of this one image is a single cell, .*: set MODEL\.FPN\."
        r"OUT_CHANNELS to 64 or more, or use larger images\.$"
    )
    for is_training in (True, False):
        with pytest.raises(UserError, match=message):
            head.train(is_training)(small)
    for fits in ([x.expand(2, -1, -1, -1) for x in small], [x[..., :2, :] for x in small[:2]] * 2):
        head(fits[:3])
    for options in ({"norm": "GN", "in_channels": 64}, {"norm": "none", "in_channels": 32}):
        wide = [x.repeat(1, options["in_channels"] // 32, 1, 1) for x in small]
        FCOSHead(num_levels=3, **options)(wide)


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
    cfg.merge_from_list(
        "MODEL.FCOS.USE_DEFORMABLE True MODEL.FCOS.DEFORM_MODULATED False "
        "MODEL.FCOS.USE_SCALE False MODEL.FCOS.NORM BN MODEL.FCOS.NUM_SHARED_CONVS 1".split()
    )
    head = FCOSHead(cfg, [ShapeSpec(channels=16, stride=8)])
    assert head.bbox_tower[3].offset.out_channels == 18
    assert len(head.share_tower) == 3
    assert "scales.0.scale" not in head.state_dict()
    assert isinstance(head.cls_tower[1][0], torch.nn.BatchNorm2d)
