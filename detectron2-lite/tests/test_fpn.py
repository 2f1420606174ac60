"""FPN: numbers of ResNet-50 with FPN recorded from detectron2 0.6; shapes and errors."""

import numpy as np
import pytest
import torch
from golden_values import fill, golden_json, golden_npz
from torch import nn
from torch.nn import functional as F

from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import FPN, Backbone, ResNet, build_backbone
from detectron2.modeling.backbone.fpn import LastLevelMaxPool, LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem


class Bottom(Backbone):
    """Features that are handed over, of strides 4, 8 and 16."""

    def __init__(self, channels=(3, 4, 5)):
        super().__init__()
        self._out_features = ["res2", "res3", "res4"]
        self._out_feature_channels = dict(zip(self._out_features, channels, strict=True))
        self._out_feature_strides = {"res2": 4, "res3": 8, "res4": 16}

    def forward(self, x):
        return x


def config(name, features, *options):
    cfg = get_cfg()
    cfg.merge_from_list(
        ["MODEL.BACKBONE.NAME", name, "MODEL.FPN.IN_FEATURES", features]
        + ["MODEL.RESNETS.OUT_FEATURES", features, *options]
    )
    return cfg


def resnet_fpn(stride_in_1x1=True):
    features = ["res2", "res3", "res4", "res5"]
    options = ["MODEL.RESNETS.STRIDE_IN_1X1", stride_in_1x1]
    return build_backbone(config("build_resnet_fpn_backbone", features, *options))


def retinanet_fpn():
    return build_backbone(config("build_retinanet_resnet_fpn_backbone", ["res3", "res4", "res5"]))


def p6p7_from_p5(**kwargs):
    bottom_up = retinanet_fpn().bottom_up
    top_block = LastLevelP6P7(256, 256, "p5")
    return FPN(bottom_up, ["res3", "res4", "res5"], 256, top_block=top_block, **kwargs)


CASES = {
    "resnet_fpn_stride1x1_True": resnet_fpn,
    "resnet_fpn_stride1x1_False": lambda: resnet_fpn(False),
    "fpn_p6p7_from_c5": retinanet_fpn,
    "fpn_p6p7_from_p5": p6p7_from_p5,
    "fpn_p6p7_from_p5_avg_gn": lambda: p6p7_from_p5(norm="GN", fuse_type="avg"),
}


def photo(pixel_mean):
    """The picture, BGR, mean taken off, padded with zeros to a multiple of 32."""
    bgr = golden_npz("photo.npz")["rgb"][:, :, ::-1].astype(np.float32)
    image = torch.as_tensor(bgr - np.asarray(pixel_mean, dtype=np.float32)).permute(2, 0, 1)
    height, width = image.shape[1:]
    return F.pad(image, (0, -width % 32, 0, -height % 32))[None]


@pytest.mark.parametrize("case", CASES)
def test_features_of_the_picture(case):
    golden, arrays = golden_json("host_backbone.json"), golden_npz("host_backbone.npz")
    expected = golden["cases"][case]
    model = fill(CASES[case]()).eval()
    image = photo(golden["pixel_mean"])
    with torch.no_grad():
        features = {**model.bottom_up(image), **model(image)}

    assert model.size_divisibility == expected["size_divisibility"]
    assert {name: vars(shape) for name, shape in model.output_shape().items()} == {
        name: {"height": None, "width": None, **shape}
        for name, shape in expected["output_shape"].items()
    }
    assert set(features) == set(expected["statistics"])
    for name, statistics in expected["statistics"].items():
        feature = features[name].double()
        within = 1e-5 * statistics["max"]
        assert list(feature.shape) == statistics["shape"]
        assert feature.mean().item() == pytest.approx(statistics["mean"], abs=within)
        assert feature.abs().mean().item() == pytest.approx(statistics["abs_mean"], abs=within)
        assert feature.max().item() == pytest.approx(statistics["max"], abs=within)
        corner = feature[0, :8, :6, :6].numpy()
        np.testing.assert_allclose(corner, arrays[f"{case}/{name}_slice"], rtol=0, atol=within)
        if f"{case}/{name}" in arrays:
            np.testing.assert_allclose(feature, arrays[f"{case}/{name}"], rtol=0, atol=within)


@pytest.mark.parametrize(
    ("golden", "build"), [("mask_rcnn_R_50_FPN", resnet_fpn), ("retinanet_R_50_FPN", retinanet_fpn)]
)
def test_names_shapes_and_order_of_published_models(golden, build):
    names = [
        [f"backbone.{name}", list(value.shape), str(value.dtype).removeprefix("torch.")]
        for name, value in build().state_dict().items()
    ]
    expected = golden_json("host_names.json")[golden]
    assert names == [entry for entry in expected if entry[0].startswith("backbone.")]


def test_a_seed_gives_the_weights_that_it_gives_in_detectron2():
    torch.manual_seed(0)
    stem = BasicStem(3, 4, norm="")
    stage = ResNet.make_stage(BasicBlock, 1, in_channels=4, out_channels=4, norm="")
    model = FPN(ResNet(stem, [stage]), ["res2"], 2, top_block=LastLevelP6P7(4, 2, "res2"))
    expected = {
        "fpn_lateral2.weight": [0.331832796, -0.461183012, 0.570660174],
        "fpn_lateral2.bias": [0.0, 0.0],
        "fpn_output2.weight": [0.198649794, 0.071436331, 0.266436845],
        "fpn_output2.bias": [0.0, 0.0],
        "top_block.p6.weight": [0.253047794, -0.259857744, -0.170441017],
        "top_block.p6.bias": [0.0, 0.0],
        "top_block.p7.weight": [0.356400162, -0.126524732, -0.160442457],
        "top_block.p7.bias": [0.0, 0.0],
        "bottom_up.stem.conv1.weight": [0.196636245, 0.205769733, 0.104846485],
        "bottom_up.res2.0.conv1.weight": [0.526608884, -0.457316250, 0.136048049],
        "bottom_up.res2.0.conv2.weight": [0.297607422, -0.408389330, 0.207997888],
    }
    made = {name: p.flatten()[:3].tolist() for name, p in model.named_parameters()}
    assert list(made) == list(expected)
    for name, values in expected.items():
        assert made[name] == pytest.approx(values, abs=1e-6), name


@pytest.mark.parametrize(("fuse_type", "divisor"), [("sum", 1), ("avg", 2)])
def test_fusing_by_hand(fuse_type, divisor):
    model = FPN(Bottom((1, 1, 1)), ["res3", "res4"], 1, fuse_type=fuse_type)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
            if weight.dim() == 4:  # each convolution gives back its input
                middle = weight.shape[-1] // 2
                weight[..., middle, middle] = 1.0
    res3 = torch.tensor([[[[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]]])
    res4 = torch.tensor([[[[10.0, 20.0]]]])
    out = model({"res3": res3, "res4": res4})
    sums = torch.tensor([[[[11.0, 12.0, 23.0, 24.0], [15.0, 16.0, 27.0, 28.0]]]])
    torch.testing.assert_close(out["p4"], res4)
    torch.testing.assert_close(out["p3"], sums / divisor)


def test_levels_names_and_strides():
    model = FPN(Bottom(), ["res2", "res3", "res4"], 8, top_block=LastLevelP6P7(5, 8, "res4"))
    features = {
        "res2": torch.rand(2, 3, 16, 12),
        "res3": torch.rand(2, 4, 8, 6),
        "res4": torch.rand(2, 5, 4, 3),
    }
    out = model(features)
    assert {name: tuple(level.shape) for name, level in out.items()} == {
        "p2": (2, 8, 16, 12),
        "p3": (2, 8, 8, 6),
        "p4": (2, 8, 4, 3),
        "p5": (2, 8, 2, 2),
        "p6": (2, 8, 1, 1),
    }
    assert model.output_shape() == {
        f"p{level}": ShapeSpec(channels=8, stride=2**level) for level in range(2, 7)
    }
    # Only the levels that need the top-down path ask for divisibility.
    assert model.size_divisibility == 16


def test_convolutions_have_a_bias_or_a_norm():
    plain = FPN(Bottom(), ["res3", "res4"], 32)
    assert plain.fpn_lateral3.bias is not None
    assert plain.fpn_lateral3.norm is None
    normed = FPN(Bottom(), ["res3", "res4"], 32, norm="GN")
    assert normed.fpn_output4.bias is None
    assert isinstance(normed.fpn_output4.norm, nn.GroupNorm)


def test_square_padding_is_announced():
    assert FPN(Bottom(), ["res3", "res4"], 8).padding_constraints.get("square_size", 0) == 0
    square = FPN(Bottom(), ["res3", "res4"], 8, square_pad=64)
    assert square.padding_constraints["square_size"] == 64


def test_p6_by_max_pooling_takes_every_second_pixel():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    (p6,) = LastLevelMaxPool()(x)
    torch.testing.assert_close(p6, torch.tensor([[[[0.0, 2.0], [8.0, 10.0]]]]))
    assert (LastLevelMaxPool().num_levels, LastLevelMaxPool().in_feature) == (1, "p5")


def test_p7_is_made_of_the_positive_part_of_p6():
    block = LastLevelP6P7(1, 1)
    assert (block.num_levels, block.in_feature) == (2, "res5")
    with torch.no_grad():
        for conv in (block.p6, block.p7):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = 1.0
            conv.bias.zero_()
    p6, p7 = block(torch.tensor([[[[-1.0, 5.0, 2.0]]]]))
    torch.testing.assert_close(p6, torch.tensor([[[[-1.0, 2.0]]]]))
    torch.testing.assert_close(p7, torch.tensor([[[[0.0]]]]))


def test_gradient_reaches_every_level_and_the_input():
    model = FPN(Bottom(), ["res3", "res4"], 8, top_block=LastLevelP6P7(8, 8, "p4"))
    features = {
        "res3": torch.rand(1, 4, 8, 8, requires_grad=True),
        "res4": torch.rand(1, 5, 4, 4, requires_grad=True),
    }
    sum(level.square().sum() for level in model(features).values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert features["res3"].grad.abs().sum() > 0
    assert features["res4"].grad.abs().sum() > 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: FPN(Bottom(), [], 8),
        lambda: FPN(Bottom(), ["res2", "res4"], 8),
        lambda: FPN(Bottom(), ["res4", "res3"], 8),
        lambda: FPN(Bottom(), ["res3", "res7"], 8),
        lambda: FPN(Bottom(), ["res3", "res4"], 8, fuse_type="product"),
        lambda: FPN(nn.Identity(), ["res3", "res4"], 8),
        lambda: build_backbone(config("build_retinanet_resnet_fpn_backbone", ["res3", "res4"])),
    ],
)
def test_what_is_refused(build):
    with pytest.raises((AssertionError, KeyError, TypeError, ValueError, AttributeError)):
        build()
