"""Stages of a ResNet with deformable convolution, on torchvision's operator."""

import pytest
import torch

from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_backbone
from fcos.config import get_cfg
from fcos.modeling.backbone.deformable import build_resnet

SMALL = """
MODEL.RESNETS.DEPTH 50
MODEL.RESNETS.STEM_OUT_CHANNELS 8
MODEL.RESNETS.RES2_OUT_CHANNELS 16
MODEL.RESNETS.WIDTH_PER_GROUP 4
MODEL.RESNETS.OUT_FEATURES ['res3','res5']
MODEL.BACKBONE.FREEZE_AT 0
"""


def resnet(stages, modulated=True, **options):
    torch.manual_seed(0)
    cfg = get_cfg()
    cfg.merge_from_list(SMALL.split())
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = stages
    cfg.MODEL.RESNETS.DEFORM_MODULATED = modulated
    cfg.merge_from_list([x for pair in options.items() for x in pair])
    return build_resnet(cfg, ShapeSpec(channels=3))


ALL = [True] * 4
X = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("modulated, numbers", [(False, 18), (True, 27)])
def test_only_the_offsets_are_new_in_the_stages_that_have_them(modulated, numbers):
    plain = {n: v.shape for n, v in resnet([False] * 4).state_dict().items()}
    network = resnet([False, False, True, True], modulated)
    got = {n: v.shape for n, v in network.state_dict().items()}
    new = {name: tuple(shape) for name, shape in got.items() if name not in plain}
    assert {name: shape for name, shape in got.items() if name in plain} == plain
    assert new == {
        f"res{stage}.{block}.conv2_offset.{name}": (numbers, width, 3, 3)[: 4 if weight else 1]
        for stage, blocks, width in ((4, 6, 16), (5, 3, 32))
        for block in range(blocks)
        for name, weight in (("weight", True), ("bias", False))
    }
    assert network.output_shape() == resnet([False] * 4).output_shape()


def test_untrained_v1_equals_the_plain_network():
    plain, network = resnet([False] * 4), resnet(ALL, modulated=False)
    assert not network.load_state_dict(plain.state_dict(), strict=False).unexpected_keys
    with torch.no_grad():
        for name, want in plain.eval()(X).items():
            torch.testing.assert_close(network.eval()(X)[name], want)


@pytest.mark.parametrize("in_1x1", [True, False])
def test_strides_dilation_and_groups_are_taken_over(in_1x1):
    network = resnet(
        ALL,
        **{
            "MODEL.RESNETS.STRIDE_IN_1X1": in_1x1,
            "MODEL.RESNETS.RES5_DILATION": 2,
            "MODEL.RESNETS.NUM_GROUPS": 2,
            "MODEL.RESNETS.WIDTH_PER_GROUP": 2,
            "MODEL.RESNETS.DEFORM_NUM_GROUPS": 2,
        },
    )
    assert network.res4[0].conv2_offset.weight.shape == (54, 16, 3, 3)
    assert network.res4[0].conv2.weight.shape == (16, 8, 3, 3)
    got = {name: tuple(value.shape[-2:]) for name, value in network(X).items()}
    assert got == {"res3": (8, 12), "res5": (4, 6)}


def test_every_parameter_gets_a_gradient():
    network = resnet(ALL, **{"MODEL.RESNETS.NORM": "BN"})
    sum(value.square().sum() for value in network.train()(X).values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name


def test_mixed_precision():
    """Offsets and sampling are in float32, the convolutions around them in bfloat16."""
    network = resnet(ALL).eval()
    torch.nn.init.normal_(network.res5[0].conv2_offset.weight, std=0.01)
    with torch.no_grad():
        want = network(X)["res5"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = network(X)["res5"]
    got.float().square().sum().backward()
    assert (got - want).abs().max() < 0.05 * want.abs().max()
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


def test_frozen_stages_freeze_their_offsets_too():
    network = resnet(ALL, **{"MODEL.BACKBONE.FREEZE_AT": 3, "MODEL.RESNETS.NORM": "BN"})
    frozen = {name.split(".")[0] for name, p in network.named_parameters() if not p.requires_grad}
    free = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert (frozen, free) == ({"stem", "res2", "res3"}, {"res4", "res5"})
    assert isinstance(network.res3[0].conv2.norm, FrozenBatchNorm2d)
    assert not isinstance(network.res4[0].conv2.norm, FrozenBatchNorm2d)


def test_a_stage_that_is_not_built():
    network = resnet(ALL, **{"MODEL.RESNETS.OUT_FEATURES": "['res3']"})
    assert not hasattr(network, "res5")


def test_groups_that_do_not_fit():
    message = "MODEL.RESNETS.DEFORM_NUM_GROUPS is 3, which does not divide the 4 channels"
    with pytest.raises(ValueError, match=message):
        resnet(ALL, **{"MODEL.RESNETS.DEFORM_NUM_GROUPS": 3})


def test_the_registered_backbone_has_them_and_the_config_stays_as_it_was():
    cfg = get_cfg()
    cfg.merge_from_file("configs/R_50_1x.yaml")
    cfg.merge_from_list(SMALL.replace("['res3','res5']", "['res3','res4','res5']").split())
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = ALL
    cfg.freeze()
    before = cfg.dump()
    assert "bottom_up.res2.0.conv2_offset.weight" in build_backbone(cfg).state_dict()
    assert cfg.dump() == before
