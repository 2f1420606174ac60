"""ResNet: shapes, freezing, names; names and first weights recorded from detectron2 0.6."""

import pytest
import torch
from golden_values import golden_json
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import (
    Backbone,
    ResNet,
    ResNetBlockBase,
    build_backbone,
    build_resnet_backbone,
    make_stage,
)
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock

ALL_STAGES = ["res2", "res3", "res4", "res5"]
SMALL = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


def resnet(*options):
    return build_resnet_backbone(config(*options), ShapeSpec(channels=3))


def tiny(**kwargs):
    """A stem and two stages of one block each, 4 and 8 channels."""
    stages = [
        ResNet.make_stage(BasicBlock, 1, in_channels=4, out_channels=4, norm="BN"),
        ResNet.make_stage(BasicBlock, 1, in_channels=4, out_channels=8, stride=2, norm="BN"),
    ]
    return ResNet(BasicStem(3, 4), stages, **kwargs)


def list_names(model):
    return [
        [name, list(value.shape), str(value.dtype).removeprefix("torch.")]
        for name, value in model.state_dict().items()
    ]


@pytest.mark.parametrize(
    ("golden", "options"),
    [
        ("R-50", []),
        ("R-101", ["MODEL.RESNETS.DEPTH", 101]),
        (
            "X-101-32x8d",
            [
                *("MODEL.RESNETS.DEPTH", 101, "MODEL.RESNETS.STRIDE_IN_1X1", False),
                *("MODEL.RESNETS.NUM_GROUPS", 32, "MODEL.RESNETS.WIDTH_PER_GROUP", 8),
            ],
        ),
    ],
)
def test_names_shapes_and_order_of_published_backbones(golden, options):
    model = resnet("MODEL.RESNETS.OUT_FEATURES", ALL_STAGES, *options)
    assert list_names(model) == golden_json("host_names.json")[golden]


@pytest.mark.parametrize(
    ("depth", "parameters"),
    # Those of torchvision's ImageNet classifiers resnet18 ... resnet152.
    [(18, 11689512), (34, 21797672), (50, 25557032), (101, 44549160), (152, 60192808)],
)
def test_number_of_parameters(depth, parameters):
    model = ResNet(BasicStem(), ResNet.make_default_stages(depth), num_classes=1000)
    assert sum(p.numel() for p in model.parameters()) == parameters


# Made with torch.manual_seed(0): the same seed starts the same training on either detectron2.
@pytest.mark.parametrize(
    ("build", "first_weights"),
    [
        (
            lambda: BottleneckBlock(4, 8, bottleneck_channels=4, norm=""),
            {
                "shortcut.weight": [-0.005920113, 0.489833564, -0.533025742],
                "conv1.weight": [-0.242775068, 1.111052036, 0.135492176],
                "conv2.weight": [-0.348307312, -0.413815647, 0.017952520],
                "conv3.weight": [0.147100657, 0.398661196, 0.632107675],
            },
        ),
        (
            lambda: BasicBlock(2, 4, norm=""),
            {
                "shortcut.weight": [0.273808539, 1.224148750, 1.265980363],
                "conv1.weight": [-0.080925025, 0.370350689, 0.045164060],
                "conv2.weight": [-0.340658754, -0.190392047, 0.282260388],
            },
        ),
        (
            lambda: ResNet(
                BasicStem(3, 4, norm=""),
                [ResNet.make_stage(BasicBlock, 1, in_channels=4, out_channels=4, norm="")],
                num_classes=2,
            ),
            {
                "stem.conv1.weight": [0.196636245, 0.205769733, 0.104846485],
                "res2.0.conv1.weight": [0.526608884, -0.457316250, 0.136048049],
                "res2.0.conv2.weight": [0.297607422, -0.408389330, 0.207997888],
                "linear.weight": [-0.018012494, 0.005071324, 0.003798638],
                "linear.bias": [-0.274340808, -0.156351864],
            },
        ),
    ],
)
def test_a_seed_gives_the_weights_that_it_gives_in_detectron2(build, first_weights):
    torch.manual_seed(0)
    made = {name: p.flatten()[:3].tolist() for name, p in build().named_parameters()}
    assert list(made) == list(first_weights)
    for name, values in first_weights.items():
        assert made[name] == pytest.approx(values, abs=1e-6), name


def test_features_and_shapes():
    model = tiny(out_features=["stem", "res3"])
    assert isinstance(model, Backbone)
    assert model.output_shape() == {
        "stem": ShapeSpec(channels=4, stride=4),
        "res3": ShapeSpec(channels=8, stride=8),
    }
    features = model(torch.rand(2, 3, 33, 64))
    assert {name: tuple(f.shape) for name, f in features.items()} == {
        "stem": (2, 4, 9, 16),
        "res3": (2, 8, 5, 8),
    }
    assert model.size_divisibility == 0
    assert model.padding_constraints == {}


def test_by_default_the_last_feature_comes_out():
    assert list(tiny().output_shape()) == ["res3"]
    logits = tiny(num_classes=5)(torch.rand(2, 3, 32, 32))
    assert list(logits) == ["linear"]
    assert logits["linear"].shape == (2, 5)


def test_linear_is_a_layer_on_the_mean_over_pixels():
    model = tiny(num_classes=5, out_features=["res3", "linear"]).eval()
    out = model(torch.rand(2, 3, 64, 32))
    want = out["res3"].mean(dim=(2, 3)) @ model.linear.weight.T + model.linear.bias
    torch.testing.assert_close(out["linear"], want)


def test_stages_that_no_feature_needs_are_left_out():
    model = tiny(out_features=["res2"])
    assert model.stage_names == ("res2",)
    assert not any(name.startswith("res3") for name in model.state_dict())


def test_stages_take_any_order_of_features():
    assert list(tiny(out_features=["res3", "res2"])(torch.rand(1, 3, 32, 32))) == ["res2", "res3"]


@pytest.mark.parametrize(
    ("freeze_at", "trained"),
    [(0, ["stem", "res2", "res3"]), (1, ["res2", "res3"]), (2, ["res3"]), (3, []), (9, [])],
)
def test_freezing(freeze_at, trained):
    model = tiny(freeze_at=freeze_at)
    parts = [name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad]
    assert list(dict.fromkeys(parts)) == trained
    for name, module in model.named_modules():
        if name.endswith("norm"):
            is_trained = name.split(".")[0] in trained
            assert isinstance(module, nn.BatchNorm2d if is_trained else FrozenBatchNorm2d), name


def test_freeze_returns_the_network():
    model = tiny()
    assert model.freeze(1) is model


def test_freezing_keeps_the_names_of_the_state_dict():
    assert list(tiny(freeze_at=3).state_dict()) == list(tiny().state_dict())


@pytest.mark.parametrize(
    ("stride_in_1x1", "strides"), [(True, [(2, 2), (1, 1)]), (False, [(1, 1), (2, 2)])]
)
def test_where_the_bottleneck_has_its_stride(stride_in_1x1, strides):
    block = BottleneckBlock(8, 16, bottleneck_channels=4, stride=2, stride_in_1x1=stride_in_1x1)
    assert [block.conv1.stride, block.conv2.stride] == strides
    assert block.conv3.stride == (1, 1)
    assert block.shortcut.stride == (2, 2)
    assert (block.in_channels, block.out_channels, block.stride) == (8, 16, 2)


def test_blocks_without_a_change_have_no_convolution_in_the_shortcut():
    assert BottleneckBlock(8, 8, bottleneck_channels=4).shortcut is None
    assert BasicBlock(8, 8).shortcut is None


def test_basic_block_by_hand():
    block = BasicBlock(1, 1, norm="")
    with torch.no_grad():
        for conv, middle in ((block.conv1, 2.0), (block.conv2, -3.0)):
            conv.weight.zero_()
            conv.weight[0, 0, 1, 1] = middle
    x = torch.tensor([[[[1.0, -1.0]]]])
    # 1 -> relu(2) * -3 + 1 = -5 -> 0;  -1 -> relu(-2) * -3 - 1 = -1 -> 0
    torch.testing.assert_close(block(x), torch.zeros(1, 1, 1, 2))
    with torch.no_grad():
        block.conv2.weight[0, 0, 1, 1] = 0.25
    # 1 -> 2 * 0.25 + 1 = 1.5
    torch.testing.assert_close(block(x), torch.tensor([[[[1.5, 0.0]]]]))


@pytest.mark.parametrize("stride_in_1x1", [True, False])
def test_dilated_res5_keeps_the_stride_of_res4(stride_in_1x1):
    model = resnet(
        *("MODEL.RESNETS.RES5_DILATION", 2, "MODEL.RESNETS.STRIDE_IN_1X1", stride_in_1x1),
        *("MODEL.RESNETS.OUT_FEATURES", ["res4", "res5"]),
    )
    assert {name: shape.stride for name, shape in model.output_shape().items()} == {
        "res4": 16,
        "res5": 16,
    }
    for block in model.res5:
        assert (block.conv2.dilation, block.conv2.padding) == ((2, 2), (2, 2))
        assert block.conv1.stride == block.conv2.stride == (1, 1)


@pytest.mark.parametrize(
    ("norm", "kind"),
    [
        ("FrozenBN", FrozenBatchNorm2d),
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("GN", nn.GroupNorm),
        ("", type(None)),
    ],
)
def test_norms(norm, kind):
    model = resnet(*SMALL, "MODEL.RESNETS.NORM", norm, "MODEL.BACKBONE.FREEZE_AT", 0)
    assert type(model.stem.conv1.norm) is kind
    assert type(model.res3[0].shortcut.norm) is kind


def test_config_decides_channels_of_the_stem_and_of_the_images():
    cfg = config("MODEL.RESNETS.STEM_OUT_CHANNELS", 32, "MODEL.PIXEL_MEAN", [1.0, 2.0, 3.0, 4.0])
    assert build_backbone(cfg).stem.conv1.weight.shape == (32, 4, 7, 7)
    assert build_backbone(cfg, ShapeSpec(channels=1)).stem.conv1.weight.shape == (32, 1, 7, 7)


def test_make_stage_with_a_value_for_each_block():
    stage = make_stage(
        BottleneckBlock,
        3,
        in_channels=16,
        out_channels=32,
        bottleneck_channels=8,
        stride_per_block=[2, 1, 1],
        dilation_per_block=[1, 1, 2],
    )
    assert [(block.in_channels, block.stride) for block in stage] == [(16, 2), (32, 1), (32, 1)]
    assert [block.conv2.dilation[0] for block in stage] == [1, 1, 2]
    assert all(isinstance(block, ResNetBlockBase) for block in stage)


def test_default_stages_have_the_depth_in_their_name():
    # Every block of two (three) convolutions, plus the stem and the linear layer.
    for depth, convs in ((18, 2), (34, 2), (50, 3), (101, 3), (152, 3)):
        stages = ResNet.make_default_stages(depth, norm="")
        assert 2 + convs * sum(len(stage) for stage in stages) == depth
        assert [stage[0].stride for stage in stages] == [1, 2, 2, 2]


def test_gradient_reaches_what_is_not_frozen_only():
    model = tiny(freeze_at=2)
    model(torch.rand(2, 3, 32, 32))["res3"].sum().backward()
    assert model.res2[0].conv1.weight.grad is None
    assert model.res3[0].conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "build",
    [
        lambda: tiny(out_features=["res9"]),
        lambda: tiny(out_features=["linear"]),
        lambda: ResNet(BasicStem(), [[]]),
        lambda: tiny()(torch.rand(3, 32, 32)),
        lambda: make_stage(BasicBlock, 2, in_channels=4, out_channels=4, stride_per_block=[1]),
        lambda: make_stage(
            BasicBlock, 1, in_channels=4, out_channels=4, stride=1, stride_per_block=[1]
        ),
        lambda: resnet("MODEL.RESNETS.RES5_DILATION", 3),
        lambda: resnet("MODEL.RESNETS.DEPTH", 42),
        lambda: resnet("MODEL.RESNETS.DEPTH", 18),
        lambda: resnet(*SMALL, "MODEL.RESNETS.NUM_GROUPS", 2),
        lambda: resnet(*SMALL, "MODEL.RESNETS.RES5_DILATION", 2),
    ],
)
def test_what_is_refused(build):
    with pytest.raises((AssertionError, KeyError, ValueError)):
        build()
