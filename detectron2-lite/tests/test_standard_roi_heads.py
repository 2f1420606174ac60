"""StandardROIHeads: which head gets what, in training and in inference."""

import numpy as np
import pytest
import torch
from torch import nn

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_MASK_HEAD_REGISTRY, StandardROIHeads, build_roi_heads
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

SIZE = (64, 80)
SMALL = """
MODEL.ROI_HEADS.NAME StandardROIHeads MODEL.ROI_HEADS.IN_FEATURES ['p2','p3']
MODEL.ROI_HEADS.NUM_CLASSES 3 MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE 8
MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.0 TEST.DETECTIONS_PER_IMAGE 5
MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead MODEL.ROI_BOX_HEAD.NUM_FC 1
MODEL.ROI_BOX_HEAD.FC_DIM 6 MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION 4
MODEL.MASK_ON True MODEL.ROI_MASK_HEAD.NAME MaskRCNNConvUpsampleHead
MODEL.ROI_MASK_HEAD.NUM_CONV 1 MODEL.ROI_MASK_HEAD.CONV_DIM 4
MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION 5
"""
SHAPES = {name: ShapeSpec(channels=4, stride=2**level) for level, name in ((2, "p2"), (3, "p3"))}


def heads(*options):
    cfg = get_cfg()
    cfg.merge_from_list([*SMALL.split(), *options])
    torch.manual_seed(0)
    return build_roi_heads(cfg, SHAPES)


def features(number=1):
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(number, 4, 64 // shape.stride, 80 // shape.stride, generator=generator)
        for name, shape in SHAPES.items()
    }


def found(*boxes):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=torch.zeros(len(boxes)))


BOX = [8.0, 8, 40, 40]
AWAY = [50.0, 0, 70, 20]


def truth(*boxes):
    corners = [[np.array([x1, y1, x2, y1, x2, y2, x1, y2])] for x1, y1, x2, y2 in boxes]
    return Instances(
        SIZE,
        gt_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        gt_classes=torch.ones(len(boxes), dtype=torch.int64),
        gt_masks=PolygonMasks(corners),
    )


def train(module, proposals, targets):
    with EventStorage() as storage:
        out = module.train()(None, features(len(targets)), proposals, targets)
    return *out, {name: value for name, (value, _) in storage.latest().items()}


def test_training():
    sampled, losses, events = train(heads(), [found(BOX, AWAY)], [truth(BOX)])
    assert sorted(losses) == ["loss_box_reg", "loss_cls", "loss_mask"]
    # The proposal on the object, the object itself, and background.
    assert sampled[0].gt_classes.tolist() == [1, 1, 3]
    assert events["roi_head/num_fg_samples"] == 2 and events["roi_head/num_bg_samples"] == 1
    assert {name.split("/")[0] for name in events} == {"roi_head", "fast_rcnn", "mask_rcnn"}
    sum(losses.values()).backward()


def test_every_parameter_learns():
    module = heads()
    _, losses, _ = train(module, [found(BOX, AWAY)] * 2, [truth(BOX), truth()])
    sum(losses.values()).backward()
    assert not [name for name, value in module.named_parameters() if value.grad is None]


def test_images_without_objects():
    sampled, losses, events = train(heads(), [found(BOX, AWAY)], [truth()])
    assert sampled[0].gt_classes.tolist() == [3, 3] and not sampled[0].has("gt_boxes")
    assert losses["loss_box_reg"] == 0 and losses["loss_mask"] == 0
    assert events["fast_rcnn/cls_accuracy"] in (0, 0.5, 1)
    assert "fast_rcnn/false_negative" not in events


def test_masks_learn_from_objects_only():
    module, seen = heads(), []
    module.mask_head.forward = lambda x, instances: seen.append((x, instances)) or {}
    train(module, [found(BOX, AWAY), found(AWAY)], [truth(BOX), truth(AWAY)])
    ((pooled, (first, second)),) = seen
    assert pooled.shape == (4, 4, 5, 5)
    assert first.proposal_boxes.tensor.tolist() == [BOX, BOX]
    assert second.proposal_boxes.tensor.tolist() == [AWAY, AWAY]


def test_masks_learn_from_predicted_boxes():
    module = heads("MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES", True)
    with torch.no_grad():
        module.box_predictor.bbox_pred.weight.zero_()
        module.box_predictor.bbox_pred.bias.zero_()
        module.box_predictor.bbox_pred.bias[4] = 10 * 0.25  # class 1 moves by a quarter
    sampled, losses, _ = train(module, [found(BOX, AWAY)], [truth(BOX)])
    moved = [16.0, 8, 48, 40]
    assert sampled[0].proposal_boxes.tensor[:2].tolist() == [moved, moved]
    assert not sampled[0].proposal_boxes.tensor.requires_grad
    # The loss of boxes is of the proposals before.
    assert losses["loss_box_reg"].item() == pytest.approx(2 * 2.5 / 3)


def test_inference():
    module = heads().eval()
    with torch.no_grad():
        (detections, none), losses = module(None, features(2), [found(BOX, AWAY), found()])
        assert losses == {} and len(none) == 0 and none.pred_masks.shape == (0, 1, 10, 10)
        assert len(detections) == 5 and detections.pred_masks.shape == (5, 1, 10, 10)
        assert (detections.scores.diff() <= 0).all() and detections.image_size == SIZE
        # The masks are those of the detected boxes, not of the proposals.
        again = Instances(
            SIZE, pred_boxes=detections.pred_boxes, pred_classes=detections.pred_classes
        )
        (again,) = module.forward_with_given_boxes(features(2), [again, none])[:1]
    assert torch.equal(again.pred_masks, detections.pred_masks)


def test_boxes_alone():
    module = heads("MODEL.MASK_ON", False)
    assert not module.mask_on and not hasattr(module, "mask_head")
    _, losses, _ = train(module, [found(BOX)], [truth(BOX)])
    assert sorted(losses) == ["loss_box_reg", "loss_cls"]
    with torch.no_grad():
        (detections,), _ = module.eval()(None, features(), [found(BOX)])
        assert not detections.has("pred_masks")
        assert module.forward_with_given_boxes(features(), [detections]) == [detections]


@ROI_MASK_HEAD_REGISTRY.register()
class OnWholeFeatures(nn.Module):
    """A mask head that pools for itself."""

    def __init__(self, cfg, input_shape):
        super().__init__()
        self.input_shape = input_shape

    def forward(self, features, instances):
        shapes = {name: value.shape[1:] for name, value in features.items()}
        assert shapes == {"p2": (4, 16, 20), "p3": (4, 8, 10)}
        return {"loss_other": torch.tensor(float(len(instances[0])))}


def test_a_mask_head_on_whole_features():
    options = "MODEL.ROI_MASK_HEAD.NAME OnWholeFeatures MODEL.ROI_MASK_HEAD.POOLER_TYPE".split()
    module = heads(*options, "")
    assert module.mask_pooler is None and module.mask_head.input_shape == SHAPES
    _, losses, _ = train(module, [found(BOX, AWAY)], [truth(BOX)])
    assert losses["loss_other"] == 2


def test_names():
    names = {name.rpartition(".")[0] for name in heads().state_dict()}
    box = {"box_head.fc1", "box_predictor.cls_score", "box_predictor.bbox_pred"}
    mask = {f"mask_head.{name}" for name in ("mask_fcn1", "deconv", "predictor")}
    assert names == box | mask
    assert isinstance(heads(), StandardROIHeads)


@lite_only
def test_messages():
    with pytest.raises(NotImplementedError, match=r"^StandardROIHeads with keypoints \(MODEL.KEY"):
        heads("MODEL.KEYPOINT_ON", True)
    with pytest.raises(AssertionError, match="needs targets in training"):
        heads().train()(None, features(), [found(BOX)])
    with pytest.raises(AssertionError, match="the heads are in training mode"):
        heads().train().forward_with_given_boxes(features(), [found(BOX)])
    SHAPES["p3"].channels = 8
    try:
        with pytest.raises(ValueError, match=r"\['p2', 'p3'\] share one head, .*: \[4, 8\]"):
            heads()
    finally:
        SHAPES["p3"].channels = 4
