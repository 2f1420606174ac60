"""Deformable convolutions, alone and in a ResNet; names and first weights from detectron2 0.6."""

import hashlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import Conv2d, DeformConv, ModulatedDeformConv, ShapeSpec
from detectron2.modeling import ResNet, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BottleneckBlock, DeformBottleneckBlock

IS_LITE = detectron2.__version__.endswith("+lite")
lite_only = pytest.mark.skipif(not IS_LITE, reason="detectron2 runs this on a GPU only")


def offsets(dy, dx, *, groups=1, size=(6, 7), batch=2):
    """The same offset for all places of the kernel, (dy, dx) per group."""
    pairs = torch.tensor([dy, dx], dtype=torch.float32).repeat(9 * groups)
    return pairs.view(1, -1, 1, 1).expand(batch, -1, *size).contiguous()


@pytest.fixture
def x():
    return torch.randn(2, 4, 6, 7, generator=torch.Generator().manual_seed(0))


def test_without_offsets_it_is_a_convolution(x):
    conv = DeformConv(4, 6, 3, padding=1, groups=2)
    expected = F.conv2d(x, conv.weight, padding=1, groups=2)
    torch.testing.assert_close(conv(x, offsets(0, 0)), expected, rtol=1e-5, atol=1e-5)


def test_offsets_are_dy_then_dx(x):
    conv = DeformConv(4, 6, 3, padding=1)
    moved = torch.zeros_like(x)
    moved[..., :-1, :-2] = x[..., 1:, 2:]  # what lies one row further down, two columns right
    expected = F.conv2d(moved, conv.weight, padding=1)
    out = conv(x, offsets(1, 2))
    # The border apart: there the offset looks where the moved copy has its padding.
    torch.testing.assert_close(
        out[..., 1:-2, 1:-3], expected[..., 1:-2, 1:-3], rtol=1e-5, atol=1e-5
    )


def test_fractions_are_interpolated(x):
    conv = DeformConv(4, 6, 3, padding=1)
    between = 0.75 * conv(x, offsets(0, 0)) + 0.25 * conv(x, offsets(1, 0))
    torch.testing.assert_close(conv(x, offsets(0.25, 0)), between, rtol=1e-4, atol=1e-5)


@lite_only
def test_groups_have_offsets_of_their_own(x):
    conv = DeformConv(4, 6, 3, padding=1, deformable_groups=2)
    mixed = torch.cat([offsets(0, 0), offsets(1, 0)], dim=1)
    parts = [conv.weight.clone(), conv.weight.clone()]
    parts[0][:, 2:], parts[1][:, :2] = 0, 0
    single = DeformConv(4, 6, 3, padding=1)
    expected = 0
    for part, dy in zip(parts, (0, 1), strict=True):
        single.weight.data = part
        expected = expected + single(x, offsets(dy, 0))
    torch.testing.assert_close(conv(x, mixed), expected, rtol=1e-4, atol=1e-5)


@lite_only
def test_modulated(x):
    conv = ModulatedDeformConv(4, 6, 3, padding=1, deformable_groups=2)
    conv.bias.data.normal_()
    mask = torch.full((2, 18, 6, 7), 0.5)
    mask[:, 9:] = 0.0  # nothing of channels 2 and 3
    expected = F.conv2d(0.5 * x[:, :2], conv.weight[:, :2], conv.bias, padding=1)
    out = conv(x, offsets(0, 0, groups=2), mask)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [DeformConv, ModulatedDeformConv])
def test_names_and_shapes(kind):
    layer = kind(4, 6, (3, 1), groups=2, norm=nn.BatchNorm2d(6), bias=kind is ModulatedDeformConv)
    names = {name: tuple(p.shape) for name, p in layer.named_parameters()}
    expected = {"weight": (6, 2, 3, 1), "norm.weight": (6,), "norm.bias": (6,)}
    if kind is ModulatedDeformConv:
        expected["bias"] = (6,)
        assert not layer.bias.any()
    assert names == expected
    assert (layer.in_channels, layer.out_channels, layer.kernel_size) == (4, 6, (3, 1))
    assert "deformable_groups=1, bias=" in repr(layer)


def test_first_weights():
    # He's initialisation, uniform: up to sqrt(6 / (256 * 9)).
    for layer in (DeformConv(256, 8, 3), ModulatedDeformConv(256, 8, 3)):
        assert layer.weight.abs().max().item() == pytest.approx(0.051031, rel=1e-3)


def test_norm_then_activation(x):
    norm = nn.BatchNorm2d(6).eval()
    norm.running_mean += 0.5
    conv = DeformConv(4, 6, 3, padding=1, norm=norm, activation=F.relu)
    plain = F.conv2d(x, conv.weight, padding=1)
    torch.testing.assert_close(conv(x, offsets(0, 0)), F.relu(norm(plain)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"padding": 1}, (6, 7)),
        ({"stride": 2}, (2, 3)),
        ({"padding": 2, "dilation": 2}, (6, 7)),
        ({"stride": (1, 2), "padding": (1, 0)}, (6, 3)),
    ],
)
def test_sizes(x, options, shape):
    conv = DeformConv(4, 6, 3, **options)
    assert conv(x, offsets(0, 0, size=shape)).shape == (2, 6, *shape)
    assert conv(x[:0], offsets(0, 0, size=shape, batch=0)).shape == (0, 6, *shape)


@lite_only
def test_half_precision_under_autocast(x):
    conv = ModulatedDeformConv(4, 6, 3, padding=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = conv(x.bfloat16(), offsets(0, 0).bfloat16(), torch.ones(2, 9, 6, 7).bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(
        out.float(), F.conv2d(x, conv.weight, padding=1), rtol=0.05, atol=0.05
    )


@pytest.mark.parametrize(
    ("arguments", "options"),
    [((4, 6, 3), {"groups": 4}), ((5, 6, 3), {"groups": 2}), ((4, 6, 3), {"bias": True})],
)
def test_refusals(arguments, options):
    with pytest.raises(AssertionError):
        DeformConv(*arguments, **options)


@lite_only
def test_messages():
    with pytest.raises(AssertionError, match="DeformConv: out_channels, 6, must be a multiple of"):
        DeformConv(4, 6, 3, groups=4)
    with pytest.raises(AssertionError, match="in_channels, 4, must be a multiple of groups, 3"):
        ModulatedDeformConv(4, 6, 3, groups=3)
    with pytest.raises(AssertionError, match="DeformConv has no bias"):
        DeformConv(4, 6, 3, bias=True)


BLOCK = {"bottleneck_channels": 4, "stride": 2, "norm": ""}


@pytest.mark.parametrize("stride_in_1x1", [False, True])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_new_block_does_what_a_bottleneck_does(stride_in_1x1, dilation):
    options = {**BLOCK, "stride_in_1x1": stride_in_1x1, "dilation": dilation}
    plain, deformable = BottleneckBlock(8, 16, **options), DeformBottleneckBlock(8, 16, **options)
    missing, unexpected = deformable.load_state_dict(plain.state_dict(), strict=False)
    assert missing == ["conv2_offset.weight", "conv2_offset.bias"] and not unexpected
    x = torch.randn(2, 8, 9, 10)
    torch.testing.assert_close(deformable(x), plain(x), rtol=1e-4, atol=1e-5)


@lite_only
def test_a_new_modulated_block_has_half_the_values():
    plain = BottleneckBlock(8, 16, **BLOCK)
    block = DeformBottleneckBlock(8, 16, **BLOCK, deform_modulated=True, deform_num_groups=2)
    block.load_state_dict(plain.state_dict(), strict=False)
    plain.conv2.weight.data /= 2
    x = torch.randn(2, 8, 9, 10)
    torch.testing.assert_close(block(x), plain(x), rtol=1e-4, atol=1e-5)


@lite_only
def test_the_last_third_of_the_numbers_are_weights():
    block = DeformBottleneckBlock(8, 16, **BLOCK, deform_modulated=True)
    # No offset; weights of sigmoid(-100) = 0 but for the middle of the kernel, which has 1.
    block.conv2_offset.bias.data[18:] = -100
    block.conv2_offset.bias.data[18 + 4] = 100
    expected = BottleneckBlock(8, 16, **BLOCK)
    expected.load_state_dict(block.state_dict(), strict=False)
    middle = torch.zeros(3, 3)
    middle[1, 1] = 1
    expected.conv2.weight.data *= middle
    x = torch.randn(1, 8, 7, 7)
    torch.testing.assert_close(block(x), expected(x), rtol=1e-4, atol=1e-5)


@lite_only
def test_gradients_reach_the_offsets():
    block = DeformBottleneckBlock(8, 16, **BLOCK)
    block(torch.randn(1, 8, 7, 7)).sum().backward()
    assert block.conv2_offset.weight.grad.any()


def deformable_resnet(modulated, *options):
    cfg = get_cfg()
    cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False, False, True, True]
    cfg.MODEL.RESNETS.DEFORM_MODULATED = modulated
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4", "res5"]
    cfg.merge_from_list(list(options))
    return build_resnet_backbone(cfg, ShapeSpec(channels=3))


@pytest.mark.parametrize(
    ("modulated", "golden"),
    [(False, "788ba254956c22db16b47349c3de6e47"), (True, "fde6fd084f49d2c2d07b1d15904a67ad")],
)
def test_names_and_shapes_of_a_resnet(modulated, golden):
    model = deformable_resnet(modulated, "MODEL.RESNETS.DEFORM_NUM_GROUPS", 2)
    names = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
    assert len(names) == 283
    assert hashlib.md5(repr(names).encode()).hexdigest() == golden


def test_a_resnet_by_config():
    model = deformable_resnet(False)
    kinds = [
        {type(block) for block in getattr(model, stage)}
        for stage in ("res2", "res3", "res4", "res5")
    ]
    assert kinds == [{BottleneckBlock}] * 2 + [{DeformBottleneckBlock}] * 2
    assert type(model.res3[0].conv2) is Conv2d
    out = model.eval()(torch.zeros(1, 3, 32, 32))
    assert {name: tuple(value.shape) for name, value in out.items()} == {
        "res4": (1, 1024, 2, 2),
        "res5": (1, 2048, 1, 1),
    }
    stages = ResNet.make_default_stages(50, DeformBottleneckBlock, deform_num_groups=2)
    assert stages[0][0].conv2.deformable_groups == 2
