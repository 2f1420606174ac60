"""What detectron2-lite says about wrong settings of models and solvers, and about what it lacks."""

import importlib

import pytest
import torch
from torch import nn

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    FPN,
    META_ARCH_REGISTRY,
    ResNet,
    build_backbone,
    build_model,
    build_proposal_generator,
    build_resnet_backbone,
    build_roi_heads,
    detector_postprocess,
)
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem
from detectron2.solver import build_lr_scheduler, build_optimizer, get_default_optimizer_params
from detectron2.structures import Boxes, Instances

pytestmark = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="the messages are detectron2-lite's own"
)
LEFT_OUT = "is not part of detectron2-lite"


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


def resnet(*options):
    return build_resnet_backbone(config(*options), ShapeSpec(channels=3))


def small(**kwargs):
    return ResNet(BasicStem(), ResNet.make_default_stages(18), **kwargs)


def fpn(in_features, **kwargs):
    return FPN(small(out_features=["res2", "res3", "res4"]), in_features, 8, **kwargs)


def schedule(*options):
    return build_lr_scheduler(
        config(*options), torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.001)
    )


R18 = ["MODEL.RESNETS.DEPTH", 18, "MODEL.RESNETS.RES2_OUT_CHANNELS", 64]
STAGE = {"in_channels": 4, "out_channels": 4}


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: resnet("MODEL.RESNETS.DEPTH", 42),
            r"depth must be one of \[18, 34, 50, 101, 152\], not 42",
        ),
        (
            lambda: resnet("MODEL.RESNETS.DEPTH", 18),
            "MODEL.RESNETS.RES2_OUT_CHANNELS: must be 64 for a ResNet-18, not 256",
        ),
        (
            lambda: resnet(*R18, "MODEL.RESNETS.NUM_GROUPS", 2),
            "MODEL.RESNETS.NUM_GROUPS: must be 1 for a ResNet-18, not 2",
        ),
        (
            lambda: resnet(*R18, "MODEL.RESNETS.RES5_DILATION", 2),
            "MODEL.RESNETS.RES5_DILATION: must be 1 for a ResNet-18, not 2",
        ),
        (
            lambda: resnet(*R18, "MODEL.RESNETS.DEFORM_ON_PER_STAGE", [False] * 3 + [True]),
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: must be False for all stages of a ResNet-18, which",
        ),
        (
            lambda: resnet("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True] * 3),
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: must have 4 values, for res2 to res5, not 3",
        ),
        (
            lambda: resnet("MODEL.RESNETS.RES5_DILATION", 3),
            "MODEL.RESNETS.RES5_DILATION: must be 1 or 2, not 3",
        ),
        (
            lambda: resnet("MODEL.RESNETS.OUT_FEATURES", ["res9"]),
            r"must be some of \['stem', 'res2', 'res3', 'res4', 'res5'\], not \['res9'\]",
        ),
        (lambda: small(out_features=[]), "must be some of"),
        (lambda: ResNet(BasicStem(), [[]]), "stage res2 has no blocks"),
        (
            lambda: small()(torch.zeros(3, 8, 8)),
            r"expected images \(N, C, H, W\), got \(3, 8, 8\)",
        ),
        (
            lambda: ResNet.make_stage(BasicBlock, 2, stride_per_block=[1], **STAGE),
            "stride_per_block must have 2 values, one for each block, it has 1",
        ),
        (
            lambda: ResNet.make_stage(BasicBlock, 1, stride=1, stride_per_block=[1], **STAGE),
            "give stride or stride_per_block, not both",
        ),
        (lambda: fpn([]), r"must be some of \['res2', 'res3', 'res4'\], not \[\]"),
        (lambda: fpn(["res3", "res7"]), r"not \['res3', 'res7'\]"),
        (lambda: fpn(["res2", "res4"]), r"twice the stride .* the strides are \[4, 16\]"),
        (lambda: fpn(["res2"], fuse_type="max"), "fuse_type must be 'sum' or 'avg', not 'max'"),
        (
            lambda: fpn(["res3", "res4"], top_block=LastLevelP6P7(8, 8, "p5")),
            r"starts from 'p5', there are only \['res2', 'res3', 'res4', 'p3', 'p4'\]",
        ),
        (
            lambda: build_backbone(
                config(
                    *("MODEL.BACKBONE.NAME", "build_retinanet_resnet_fpn_backbone"),
                    *("MODEL.RESNETS.OUT_FEATURES", ["res3", "res4"]),
                )
            ),
            r"made from res5, add it to \['res3', 'res4'\]",
        ),
        (
            lambda: detector_postprocess(Instances((4, 4), scores=torch.zeros(1)), 4, 4),
            r"pred_boxes or proposal_boxes, they have \['scores'\]",
        ),
        (
            lambda: detector_postprocess(
                Instances(
                    (4, 4),
                    pred_boxes=Boxes(torch.tensor([[0, 0, 2.0, 2]])),
                    pred_masks=torch.zeros(1, 28, 28),
                ),
                *(4, 4),
            ),
            r"pred_masks must be \(N, 1, M, M\) or ROIMasks, they are \(1, 28, 28\)",
        ),
        (
            lambda: schedule("SOLVER.LR_SCHEDULER_NAME", "Cosine"),
            "SOLVER.LR_SCHEDULER_NAME: expected one of .*WarmupMultiStepLR.*, got 'Cosine'",
        ),
        (
            lambda: schedule("SOLVER.WARMUP_METHOD", "sudden"),
            "SOLVER.WARMUP_METHOD.: expected 'linear' or 'constant', got 'sudden'",
        ),
        (
            lambda: schedule("SOLVER.STEPS", (80, 60)),
            r"SOLVER.STEPS: expected increasing iterations, got \(80, 60\)",
        ),
        (
            lambda: schedule(
                "SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.5
            ),
            "SOLVER.BASE_LR_END: expected 0 to SOLVER.BASE_LR, 0.001, got 0.5",
        ),
        (
            lambda: build_optimizer(
                config(
                    *("SOLVER.CLIP_GRADIENTS.ENABLED", True),
                    *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "full_model"),
                ),
                nn.Linear(1, 1),
            ),
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE: expected 'value' or 'norm' .*, got 'full_model'",
        ),
        (
            lambda: get_default_optimizer_params(nn.Linear(1, 1), bias_lr_factor=2.0),
            "bias_lr_factor is a factor of base_lr",
        ),
        (
            lambda: get_default_optimizer_params(nn.Linear(1, 1), lr_factor_func=len),
            "lr_factor_func is a factor of base_lr",
        ),
        (
            lambda: get_default_optimizer_params(
                nn.Linear(1, 1), weight_decay_bias=0.0, overrides={"bias": {"lr": 1.0}}
            ),
            "overrides has settings of 'bias'",
        ),
    ],
)
def test_wrong_values(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FPN(nn.Identity(), ["res3"], 8), "bottom_up must be a Backbone, not a Identity"),
        (
            lambda: ResNet(BasicStem(), [[nn.Conv2d(64, 64, 1)]]),
            "blocks must be CNNBlockBase, res2 has a Conv2d",
        ),
    ],
)
def test_wrong_types(build, message):
    with pytest.raises(TypeError, match=message):
        build()


def test_something_else_than_a_backbone_is_registered():
    @BACKBONE_REGISTRY.register()
    def _builds_a_layer(cfg, input_shape):
        return nn.Identity()

    with pytest.raises(TypeError, match="'_builds_a_layer' must build a .*Backbone.* a Identity"):
        build_backbone(config("MODEL.BACKBONE.NAME", "_builds_a_layer"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu():
    @META_ARCH_REGISTRY.register()
    def _never_built(cfg):
        raise AssertionError("the device is looked at first")

    cfg = config("MODEL.META_ARCHITECTURE", "_never_built", "MODEL.DEVICE", "cuda:0")
    with pytest.raises(RuntimeError, match=r"MODEL.DEVICE is 'cuda:0', .* set MODEL.DEVICE to cpu"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("detectron2.modeling", "PanopticFPN"),
        ("detectron2.modeling.backbone", "RegNet"),
        ("detectron2.modeling.meta_arch", "SemanticSegmentor"),
        ("detectron2.modeling.roi_heads", "CascadeROIHeads"),
        ("detectron2.modeling.roi_heads.roi_heads", "Res5ROIHeads"),
        ("detectron2.modeling.postprocessing", "sem_seg_postprocess"),
        ("detectron2.solver.build", "GradientClipType"),
    ],
)
def test_names_that_are_left_out(module, name):
    with pytest.raises(NotImplementedError, match=rf"{module}.{name} {LEFT_OUT}"):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "name", ["proposal_generator.rrpn", "meta_arch.panoptic_fpn", "backbone.swin"]
)
def test_modules_that_are_left_out(name):
    with pytest.raises(NotImplementedError, match=rf"detectron2.modeling.{name} {LEFT_OUT}"):
        importlib.import_module(f"detectron2.modeling.{name}")


def test_names_that_detectron2_does_not_have_either():
    with pytest.raises(AttributeError):
        detectron2.modeling.NoSuchThing  # noqa: B018
    assert not hasattr(importlib.import_module("detectron2.solver"), "NoSuchThing")


@pytest.mark.parametrize(
    "build",
    [
        lambda: build_model(config("MODEL.META_ARCHITECTURE", "PanopticFPN")),
        lambda: build_proposal_generator(config("MODEL.PROPOSAL_GENERATOR.NAME", "RRPN"), {}),
        lambda: build_roi_heads(config(), {}),  # Res5ROIHeads
    ],
)
def test_features_that_are_left_out(build):
    with pytest.raises(NotImplementedError, match=LEFT_OUT):
        build()


def test_postprocess_of_keypoints():
    found = Instances((4, 4), pred_boxes=Boxes(torch.ones(1, 4)))
    found.pred_keypoints = torch.ones(1, 2, 3)
    with pytest.raises(NotImplementedError, match=f"pred_keypoints {LEFT_OUT}"):
        detector_postprocess(found, 8, 8)


def test_postprocess_does_not_change_its_input():
    found = Instances((4, 4), pred_boxes=Boxes(torch.tensor([[1.0, 1, 9, 9]])))
    detector_postprocess(found, 8, 8)
    assert found.image_size == (4, 4)
    assert found.pred_boxes.tensor.tolist() == [[1.0, 1, 9, 9]]


def test_groups_do_not_change_the_overrides():
    overrides = {"weight": {"lr": 1.0}}
    get_default_optimizer_params(nn.Linear(1, 1), weight_decay_bias=0.5, overrides=overrides)
    assert overrides == {"weight": {"lr": 1.0}}


def test_clipping_skips_parameters_without_a_gradient():
    net = nn.ModuleDict({"used": nn.Linear(1, 1), "unused": nn.Linear(1, 1)})
    cfg = config(
        *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")
    )
    optimizer = build_optimizer(cfg, net)
    before = net["unused"].weight.item()
    net["used"](torch.ones(1, 1)).sum().backward()
    optimizer.step()
    assert net["unused"].weight.item() == before
