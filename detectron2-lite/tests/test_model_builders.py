"""Registries, the functions that build from them, and the step back to the original image."""

import pytest
import torch
from torch import nn

from detectron2 import modeling
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    META_ARCH_REGISTRY,
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    ROI_MASK_HEAD_REGISTRY,
    Backbone,
    build_backbone,
    build_model,
    build_proposal_generator,
    build_roi_heads,
    detector_postprocess,
)
from detectron2.modeling.roi_heads import build_mask_head
from detectron2.structures import Boxes, Instances


@META_ARCH_REGISTRY.register()
class _Model(nn.Module):
    def __init__(self, cfg):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(len(cfg.MODEL.PIXEL_MEAN)))


@BACKBONE_REGISTRY.register()
class _Backbone(Backbone):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self._out_features = ["a"]
        self._out_feature_channels = {"a": input_shape.channels}
        self._out_feature_strides = {"a": 4}

    def forward(self, images):
        return {"a": images}


@BACKBONE_REGISTRY.register()
def _not_a_backbone(cfg, input_shape):
    return nn.Identity()


@PROPOSAL_GENERATOR_REGISTRY.register()
@ROI_HEADS_REGISTRY.register()
@ROI_MASK_HEAD_REGISTRY.register()
class _Part(nn.Module):
    def __init__(self, cfg, input_shape):
        super().__init__()
        self.input_shape = input_shape


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *options])
    return cfg


def test_build_model_moves_the_model_to_the_device():
    model = build_model(config("MODEL.META_ARCHITECTURE", "_Model"))
    assert model.weight.device.type == "cpu"
    assert model.training
    on_meta = build_model(config("MODEL.META_ARCHITECTURE", "_Model", "MODEL.DEVICE", "meta"))
    assert on_meta.weight.device.type == "meta"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_build_model_without_the_gpu_that_the_config_asks_for():
    with pytest.raises((AssertionError, RuntimeError)):
        build_model(config("MODEL.META_ARCHITECTURE", "_Model", "MODEL.DEVICE", "cuda"))


def test_build_backbone_derives_the_channels_of_the_images():
    cfg = config("MODEL.BACKBONE.NAME", "_Backbone")
    assert build_backbone(cfg).output_shape() == {"a": ShapeSpec(channels=3, stride=4)}
    assert build_backbone(cfg, ShapeSpec(channels=7)).output_shape()["a"].channels == 7


def test_backbone_asks_for_no_padding_by_default():
    backbone = build_backbone(config("MODEL.BACKBONE.NAME", "_Backbone"))
    assert (backbone.size_divisibility, backbone.padding_constraints) == (0, {})


def test_backbone_must_have_a_forward():
    with pytest.raises(TypeError):
        Backbone()


def test_what_is_no_backbone_is_refused():
    with pytest.raises((AssertionError, TypeError)):
        build_backbone(config("MODEL.BACKBONE.NAME", "_not_a_backbone"))


@pytest.mark.parametrize(
    ("key", "build"),
    [
        ("MODEL.PROPOSAL_GENERATOR.NAME", build_proposal_generator),
        ("MODEL.ROI_HEADS.NAME", build_roi_heads),
        ("MODEL.ROI_MASK_HEAD.NAME", build_mask_head),
    ],
)
def test_parts_get_the_shape_of_their_input(key, build):
    shapes = {"p3": ShapeSpec(channels=8, stride=8)}
    part = build(config(key, "_Part"), shapes)
    assert isinstance(part, _Part)
    assert part.input_shape is shapes
    with pytest.raises(KeyError, match="NoSuchPart"):
        build(config(key, "NoSuchPart"), shapes)


def test_proposals_that_come_with_the_data_need_no_generator():
    cfg = config("MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals")
    assert build_proposal_generator(cfg, {}) is None


def test_unknown_names_are_refused():
    with pytest.raises(KeyError, match="NoSuchModel"):
        build_model(config("MODEL.META_ARCHITECTURE", "NoSuchModel"))
    with pytest.raises(KeyError, match="NoSuchBackbone"):
        build_backbone(config("MODEL.BACKBONE.NAME", "NoSuchBackbone"))


def test_the_registered_backbones():
    assert {
        "build_resnet_backbone",
        "build_resnet_fpn_backbone",
        "build_retinanet_resnet_fpn_backbone",
    } <= {name for name, _ in BACKBONE_REGISTRY}


def test_names_are_the_same_object_wherever_they_are_imported_from():
    import detectron2.modeling.backbone as backbone
    import detectron2.modeling.meta_arch as meta_arch
    import detectron2.modeling.proposal_generator as proposal_generator
    import detectron2.modeling.roi_heads as roi_heads
    from detectron2.modeling.backbone.resnet import ResNet

    assert modeling.ResNet is backbone.ResNet is ResNet
    assert backbone.BACKBONE_REGISTRY is BACKBONE_REGISTRY
    assert meta_arch.META_ARCH_REGISTRY is META_ARCH_REGISTRY
    assert proposal_generator.PROPOSAL_GENERATOR_REGISTRY is PROPOSAL_GENERATOR_REGISTRY
    assert roi_heads.ROI_HEADS_REGISTRY is ROI_HEADS_REGISTRY


def detections(field="pred_boxes"):
    boxes = Boxes(torch.tensor([[10.0, 20, 50, 60], [-5, -5, 300, 300], [150, 90, 150, 95]]))
    return Instances((100, 200), **{field: boxes}, scores=torch.tensor([0.9, 0.8, 0.7]))


@pytest.mark.parametrize("field", ["pred_boxes", "proposal_boxes"])
def test_postprocess_scales_clips_and_drops(field):
    out = detector_postprocess(detections(field), 200, 600)  # height * 2, width * 3
    assert out.image_size == (200, 600)
    torch.testing.assert_close(
        out.get(field).tensor, torch.tensor([[30.0, 40, 150, 120], [0, 0, 600, 200]])
    )
    torch.testing.assert_close(out.scores, torch.tensor([0.9, 0.8]))  # the third has no width


def test_postprocess_leaves_other_fields_as_they_are():
    found = detections()
    found.locations = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    found.proposal_boxes = Boxes(torch.ones(3, 4))
    out = detector_postprocess(found, 50, 100)
    torch.testing.assert_close(out.locations, torch.tensor([[1.0, 2], [3, 4]]))
    torch.testing.assert_close(out.proposal_boxes.tensor, torch.ones(2, 4))
    torch.testing.assert_close(out.pred_boxes.tensor[0], torch.tensor([5.0, 10, 25, 30]))


def test_postprocess_without_detections():
    nothing = Instances((10, 10), pred_boxes=Boxes(torch.zeros(0, 4)), scores=torch.zeros(0))
    out = detector_postprocess(nothing, 30, 20)
    assert len(out) == 0
    assert out.image_size == (30, 20)


def test_postprocess_needs_boxes():
    with pytest.raises((AssertionError, ValueError), match="boxes"):
        detector_postprocess(Instances((10, 10), scores=torch.zeros(2)), 5, 5)
