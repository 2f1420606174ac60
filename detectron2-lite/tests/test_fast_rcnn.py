"""The last layers of Fast R-CNN by hand: detections, losses, and what they log."""

import math

import pytest
import torch

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec, cross_entropy
from detectron2.modeling import FastRCNNOutputLayers
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.roi_heads.fast_rcnn import fast_rcnn_inference
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

SIZE = (60, 60)
# Of one class. Overlap of the first two: 80 of 120, an IoU of 2 / 3.
REGIONS = [[0.0, 0, 10, 10], [2, 0, 12, 10], [40, 40, 90, 50]]


def detect(boxes, scores, least=0.1, nms=0.5, most=100):
    found, regions = fast_rcnn_inference(
        [torch.tensor(boxes)], [torch.tensor(scores)], [SIZE], least, nms, most
    )
    return found[0], regions[0].tolist()


def test_one_box_for_all_classes():
    # Two classes, then background.
    scores = [[0.5, 0.3, 0.2], [0.7, 0.1, 0.2], [0.2, 0.05, 0.75]]
    found, regions = detect(REGIONS, scores)
    # Region 0 repeats region 1 in class 0, but not in class 1, where the score of 1 is too low.
    assert regions == [1, 0, 2] and found.pred_classes.tolist() == [0, 1, 0]
    torch.testing.assert_close(found.scores, torch.tensor([0.7, 0.3, 0.2]))
    expected = [REGIONS[1], REGIONS[0], [40, 40, 60, 50]]  # clipped
    assert found.pred_boxes.tensor.tolist() == expected and found.image_size == SIZE


def test_a_box_for_each_class():
    boxes = [[*REGIONS[0], *REGIONS[2]], [*REGIONS[1], *REGIONS[0]]]
    found, regions = detect(boxes, [[0.5, 0.4, 0.1], [0.6, 0.2, 0.2]])
    assert found.pred_classes.tolist() == [0, 1, 1] and regions == [1, 0, 1]
    assert found.pred_boxes.tensor.tolist() == [REGIONS[1], [40, 40, 60, 50], REGIONS[0]]


def test_the_best_ones():
    scores = [[0.5, 0.5], [0.7, 0.3], [0.6, 0.4]]
    assert detect(REGIONS, scores, most=1)[1] == [1]
    assert detect(REGIONS, scores, most=0)[1] == []
    assert detect(REGIONS, scores, most=-1, nms=0.7)[1] == [1, 2, 0]
    assert detect(REGIONS, scores, least=0.6)[1] == [1]  # 0.6 is not greater


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite(value):
    boxes = [[value, 0, 10, 10], *REGIONS]
    scores = [[0.9, 0.1], [0.5, value], [0.6, 0.4], [0.8, 0.2]]
    # What is left out is not counted.
    assert detect(boxes, scores)[1] == [1, 0]


def test_no_regions():
    nothing = [torch.zeros(0, 8)], [torch.zeros(0, 3)], [SIZE]
    (found,), (regions,) = fast_rcnn_inference(*nothing, 0.1, 0.5, 10)
    assert len(found) == 0 and found.pred_boxes.tensor.shape == (0, 4) and len(regions) == 0
    assert fast_rcnn_inference([], [], [], 0.1, 0.5, 10) == ([], [])


def layers(num_classes=2, **options):
    transform = Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0))
    options = {"box2box_transform": transform, "num_classes": num_classes, **options}
    return FastRCNNOutputLayers(ShapeSpec(channels=4), **options)


def test_layers():
    module = layers()
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert shapes == {
        "cls_score.weight": (3, 4),
        "cls_score.bias": (3,),
        "bbox_pred.weight": (8, 4),
        "bbox_pred.bias": (8,),
    }
    logits, deltas = module(torch.randn(5, 4, 1, 1))
    assert logits.shape == (5, 3) and deltas.shape == (5, 8)
    assert layers(cls_agnostic_bbox_reg=True)(torch.randn(5, 4))[1].shape == (5, 4)
    module = FastRCNNOutputLayers(
        ShapeSpec(channels=4, height=2, width=3),
        box2box_transform=Box2BoxTransform((1,) * 4),
        num_classes=2,
    )
    assert module.cls_score.in_features == 24


# Three regions: of class 1, of background, of class 0. The objects are 2 and 5 pixels to the right.
CLASSES = torch.tensor([1, 2, 0])
PROPOSALS = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50]])
OBJECTS = PROPOSALS + torch.tensor([[2.0, 0, 2, 0], [9, 9, 9, 9], [5, 0, 5, 0]])
LOGITS = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 0, 2]])
CLS = [math.log(math.e + 2), math.log(math.e + 2) - 1, math.log(math.e**2 + 2)]
LOC = [2 / 10, 5 / 10]


def sampled(which=slice(None)):
    fields = {"proposal_boxes": Boxes(PROPOSALS[which]), "gt_boxes": Boxes(OBJECTS[which])}
    return Instances(SIZE, gt_classes=CLASSES[which], **fields)


def losses(module, logits=LOGITS, deltas=None, proposals=None):
    deltas = torch.zeros(3, 8) if deltas is None else deltas
    with EventStorage() as storage:
        out = module.losses((logits, deltas), [sampled()] if proposals is None else proposals)
    latest = {name: value for name, (value, _) in storage.latest().items()}
    return {name: loss.item() for name, loss in out.items()}, latest


def test_losses_by_hand():
    found, events = losses(layers())
    assert found == pytest.approx({"loss_cls": sum(CLS) / 3, "loss_box_reg": sum(LOC) / 3})
    # Right: the background. The first object is taken for class 0, the other for background.
    assert events == pytest.approx(
        {
            "fast_rcnn/cls_accuracy": 1 / 3,
            "fast_rcnn/fg_cls_accuracy": 0,
            "fast_rcnn/false_negative": 1 / 2,
        }
    )


def test_several_images_are_as_one():
    parts = [sampled([0]), sampled([1, 2])]
    assert losses(layers(), proposals=parts) == losses(layers())


def test_only_the_box_of_the_class_counts():
    deltas = torch.full((3, 2, 4), 7.0)
    deltas[0, 1], deltas[2, 0] = torch.tensor([0.2, 0, 0, 0]), torch.tensor([0.5, 0, 0, 0])
    assert losses(layers(), deltas=deltas.view(3, 8))[0]["loss_box_reg"] == pytest.approx(0)
    agnostic = torch.tensor([[0.2, 0, 0, 0], [7, 7, 7, 7], [0.5, 0, 0, 0]])
    module = layers(cls_agnostic_bbox_reg=True)
    assert losses(module, deltas=agnostic)[0]["loss_box_reg"] == pytest.approx(0)


SIGMOID = sum(math.log1p(math.exp(x)) for x in (1, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"loss_weight": 2.0}, (2 * sum(CLS), 2 * sum(LOC))),
        ({"loss_weight": {"loss_box_reg": 3.0}}, (sum(CLS), 3 * sum(LOC))),
        ({"smooth_l1_beta": 0.4}, (sum(CLS), 0.5 * 0.2**2 / 0.4 + 0.5 - 0.2)),
        # Overlaps 80 of 120 and 50 of 150; hulls without a gap.
        ({"box_reg_loss_type": "giou"}, (sum(CLS), 2 - 80 / 120 - 50 / 150)),
        # Each class by itself, without background: one logit of 1, which is wrong, five of 0.
        ({"use_sigmoid_ce": True}, (SIGMOID, sum(LOC))),
    ],
)
def test_other_losses(options, expected):
    found, _ = losses(layers(**options))
    third = {"loss_cls": expected[0] / 3, "loss_box_reg": expected[1] / 3}
    assert found == pytest.approx(third, rel=1e-4)


def test_background_only_has_no_boxes():
    nothing = Instances(
        SIZE, gt_classes=torch.tensor([2]), proposal_boxes=Boxes(PROPOSALS[:1].clone())
    )
    found, events = losses(layers(), LOGITS[1:2], torch.zeros(1, 8), [nothing])
    assert found == pytest.approx({"loss_cls": CLS[1], "loss_box_reg": 0})
    assert events == {"fast_rcnn/cls_accuracy": 1}


@pytest.mark.parametrize("proposals", [[], [sampled([])]])
def test_no_regions_have_a_gradient_path(proposals):
    logits, deltas = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 4, requires_grad=True)
    with EventStorage() as storage:
        found = layers().losses((logits, deltas), proposals)
    assert not storage.latest()
    assert {name: loss.item() for name, loss in found.items()} == {"loss_cls": 0, "loss_box_reg": 0}
    sum(found.values()).backward()
    assert logits.grad is not None and deltas.grad is not None


def test_probabilities_and_boxes():
    module, parts = layers(), [sampled([0]), sampled([1, 2])]
    deltas = torch.zeros(3, 8)
    deltas[:, 4] = 0.5  # of class 1: half a width to the right
    first, second = module.predict_probs((LOGITS, deltas), parts)
    torch.testing.assert_close(torch.cat([first, second]), LOGITS.softmax(dim=1))
    first, second = module.predict_boxes((LOGITS, deltas), parts)
    assert first.tolist() == [[0, 0, 10, 10, 5, 0, 15, 10]] and second.shape == (2, 8)
    first, second = module.predict_boxes_for_gt_classes((LOGITS, deltas), parts)
    # Background is taken for the last class.
    assert first.tolist() == [[5, 0, 15, 10]]
    assert second.tolist() == [[25, 20, 35, 30], [40, 40, 50, 50]]
    sigmoid = layers(use_sigmoid_ce=True).predict_probs((LOGITS, deltas), parts)
    torch.testing.assert_close(torch.cat(sigmoid), LOGITS.sigmoid())


def test_detections():
    module = layers(test_score_thresh=0.4, test_topk_per_image=1)
    deltas = torch.zeros(3, 8)
    (found, nothing), (regions, _) = module.inference(
        (LOGITS[[0, 2, 1]], deltas), [sampled([0, 1]), sampled([2])]
    )
    assert regions.tolist() == [0] and found.pred_classes.tolist() == [0]
    assert found.scores.item() == pytest.approx(math.e / (math.e + 2))
    assert len(nothing) == 0


def test_by_config():
    cfg = get_cfg()
    cfg.merge_from_list("MODEL.ROI_HEADS.NUM_CLASSES 7 TEST.DETECTIONS_PER_IMAGE 9".split())
    cfg.merge_from_list("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG True".split())
    cfg.merge_from_list("MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT 3.0".split())
    module = FastRCNNOutputLayers(cfg, ShapeSpec(channels=4))
    assert module.cls_score.out_features == 8 and module.bbox_pred.out_features == 4
    assert module.box2box_transform.weights == (10.0, 10.0, 5.0, 5.0)
    assert (module.test_score_thresh, module.test_nms_thresh) == (0.05, 0.5)
    assert module.test_topk_per_image == 9 and module.loss_weight == {"loss_box_reg": 3.0}


def test_cross_entropy_of_nothing():
    logits = torch.zeros(0, 3, requires_grad=True)
    cross_entropy(logits, torch.zeros(0, dtype=torch.int64)).backward()
    assert logits.grad.shape == (0, 3)
    expected = torch.nn.functional.cross_entropy(LOGITS, CLASSES)
    assert torch.equal(cross_entropy(LOGITS, CLASSES), expected)
    each = cross_entropy(LOGITS, CLASSES, reduction="none")
    torch.testing.assert_close(each, torch.tensor(CLS))


@lite_only
def test_what_is_left_out():
    with pytest.raises(NotImplementedError, match=r"^MODEL.ROI_BOX_HEAD.USE_FED_LOSS \(fed"):
        layers(use_sigmoid_ce=True, use_fed_loss=True)
    with pytest.raises(ValueError, match="BBOX_REG_LOSS_TYPE: expected one of smooth_l1, giou"):
        losses(layers(box_reg_loss_type="iou"))
