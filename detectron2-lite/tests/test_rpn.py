"""The region proposal network by hand: what anchors learn, the losses, and the proposals."""

import math

import pytest
import torch
from torch import nn

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_proposal_generator, build_rpn_head
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)


class Constant(nn.Module):
    """A head whose logits and deltas are parameters, for two cells of two anchors each."""

    def __init__(self, logits=(0.0, 0, 0, 0), deltas=None):
        super().__init__()
        # (N, A, H, W): the anchors of a cell are neighbours in the list of anchors, not here.
        self.logits = nn.Parameter(torch.tensor(logits).view(1, 2, 2).mT.reshape(1, 2, 1, 2))
        deltas = torch.zeros(4, 4) if deltas is None else torch.tensor(deltas)
        self.deltas = nn.Parameter(deltas.view(1, 2, 8).mT.reshape(1, 8, 1, 2))

    def forward(self, features):
        number = len(features[0])
        return [self.logits.expand(number, -1, -1, -1)], [self.deltas.expand(number, -1, -1, -1)]


# Two cells 8 pixels apart, each with anchors of 8 and of 16 pixels.
ANCHORS = [[0.0, 0, 8, 8], [-4, -4, 12, 12], [8, 0, 16, 8], [4, -4, 20, 12]]
FEATURES = {"p3": torch.zeros(1, 1, 1, 2)}


def rpn(head=None, number=4, fraction=0.5, thresholds=(0.3, 0.7), **options):
    return RPN(
        in_features=["p3"],
        head=head or Constant(),
        anchor_generator=DefaultAnchorGenerator(sizes=[8, 16], aspect_ratios=[1.0], strides=[8]),
        anchor_matcher=Matcher(list(thresholds), [0, -1, 1], allow_low_quality_matches=True),
        box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
        batch_size_per_image=number,
        positive_fraction=fraction,
        pre_nms_topk=(4, 3),
        post_nms_topk=(4, 2),
        **options,
    )


def truth(*boxes, size=(12, 20)):
    return Instances(size, gt_boxes=Boxes(torch.tensor(boxes).reshape(-1, 4).float()))


def run(module, *images):
    number = max(len(images), 1)
    pictures = ImageList(torch.zeros(number, 3, 12, 20), [(12, 20)] * number)
    features = {"p3": FEATURES["p3"].expand(number, -1, -1, -1)}
    with EventStorage() as storage:
        out = module(pictures, features, list(images) or None)
    return *out, {name: value for name, (value, _) in storage.latest().items()}


def test_labels_of_anchors():
    module, anchors = rpn(number=8), [Boxes(torch.tensor(ANCHORS))]
    # The IoUs of the object with the anchors: 48 / 80, 64 / 256, 16 / 112, 48 / 272.
    box = [2.0, 0, 10, 8]
    (labels,), (boxes,) = module.label_and_sample_anchors(anchors, [truth(box)])
    assert labels.tolist() == [1, 0, 0, 0]  # the best one, though it is not above 0.7
    assert labels.dtype == torch.int8 and boxes[0].tolist() == box
    exact = [8.0, 0, 16, 8]
    (labels,), (boxes,) = module.label_and_sample_anchors(anchors, [truth(exact, box)])
    assert labels.tolist() == [1, 0, 1, 0] and boxes[[0, 2]].tolist() == [box, exact]
    better = [1.0, 0, 9, 8]
    (labels,), (boxes,) = module.label_and_sample_anchors(anchors, [truth(better, box)])
    assert labels.tolist() == [1, 0, 0, 0] and boxes[0].tolist() == better


def test_between_the_thresholds_is_neither():
    module = rpn(number=8, thresholds=(0.2, 0.7))
    anchors = [Boxes(torch.tensor(ANCHORS))]
    # 64 / 256 = 0.25 of the anchor of 16 pixels.
    (labels,), _ = module.label_and_sample_anchors(anchors, [truth([0.0, 0, 8, 8])])
    assert labels.tolist() == [1, -1, 0, 0]


def test_not_all_anchors_are_drawn():
    anchors = [Boxes(torch.tensor(ANCHORS))]
    for seed in range(5):
        torch.manual_seed(seed)
        (labels,), _ = rpn(number=2).label_and_sample_anchors(anchors, [truth([0.0, 0, 8, 8])])
        assert sorted(labels.tolist()) == [-1, -1, 0, 1] and labels[0] == 1
    (labels,), _ = rpn(number=2).label_and_sample_anchors(anchors, [truth()])
    assert sorted(labels.tolist()) == [-1, -1, 0, 0]


def test_anchors_that_reach_out_of_the_image():
    anchors = [Boxes(torch.tensor(ANCHORS))]
    objects = truth([4.0, -4, 20, 12])
    for threshold, expected in ((-1, [0, 0, 0, 1]), (0, [0, -1, 0, -1]), (4.5, [0, 0, 0, 1])):
        options = {"thresholds": (0.4, 0.7), "anchor_boundary_thresh": threshold}
        module = rpn(number=8, **options)
        (labels,), _ = module.label_and_sample_anchors(anchors, [objects])
        assert labels.tolist() == expected


# The first anchor is of the object, which is 2 pixels further to the right.
OBJECT = [2.0, 0, 10, 8]
LOGITS = (1.0, -1.0, 2.0, 0.0)
CLS = sum(math.log1p(math.exp(x)) for x in (-1, -1, 2, 0))
LOC = 2 / 8


def test_losses_by_hand():
    module = rpn(Constant(LOGITS), number=8).train()
    _, losses, events = run(module, truth(OBJECT))
    assert losses["loss_rpn_cls"].item() == pytest.approx(CLS / 8)
    assert losses["loss_rpn_loc"].item() == pytest.approx(LOC / 8)
    assert events == {"rpn/num_pos_anchors": 1, "rpn/num_neg_anchors": 3}


def test_losses_of_several_images():
    module = rpn(Constant(LOGITS), number=8).train()
    _, losses, events = run(module, truth(OBJECT), truth())
    empty = sum(math.log1p(math.exp(x)) for x in LOGITS)
    assert losses["loss_rpn_cls"].item() == pytest.approx((CLS + empty) / 16)
    assert losses["loss_rpn_loc"].item() == pytest.approx(LOC / 16)
    assert events == {"rpn/num_pos_anchors": 0.5, "rpn/num_neg_anchors": 3.5}


@pytest.mark.parametrize(
    ("options", "cls", "loc"),
    [
        ({"loss_weight": 2.0}, 2 * CLS, 2 * LOC),
        ({"loss_weight": {"loss_rpn_loc": 3.0}}, CLS, 3 * LOC),
        ({"smooth_l1_beta": 0.5}, CLS, 0.5 * LOC**2 / 0.5),
        ({"box_reg_loss_type": "giou"}, CLS, 1 - 48 / 80),
    ],
)
def test_other_losses(options, cls, loc):
    _, losses, _ = run(rpn(Constant(LOGITS), number=8, **options).train(), truth(OBJECT))
    assert losses["loss_rpn_cls"].item() == pytest.approx(cls / 8)
    assert losses["loss_rpn_loc"].item() == pytest.approx(loc / 8, rel=1e-4)


def test_gradients():
    head = Constant(LOGITS)
    proposals, losses, _ = run(rpn(head, number=8).train(), truth(OBJECT))
    assert not proposals[0].proposal_boxes.tensor.requires_grad
    sum(losses.values()).backward()
    # Only the anchor of the object moves, and only to the right.
    assert head.deltas.grad.nonzero().tolist() == [[0, 0, 0, 0]]
    assert head.deltas.grad[0, 0, 0, 0] < 0 and (head.logits.grad != 0).all()


def test_no_objects_at_all():
    head = Constant(LOGITS)
    _, losses, _ = run(rpn(head, number=8).train(), truth())
    assert losses["loss_rpn_loc"] == 0
    sum(losses.values()).backward()
    assert (head.deltas.grad == 0).all()


def test_proposals_are_moved_anchors():
    deltas = [[0.25, 0, 0, 0], [0, 0, 0, 0], [0, 0, math.log(0.5), 0], [0, 0, 0, 0]]
    module = rpn(Constant((4.0, 1, 3, 2), deltas), nms_thresh=0.9)
    (found,), losses, _ = run(module.eval())
    assert losses == {}
    # The best three take part and two are kept. The first anchor moved by 2 pixels; the third one
    # became half as wide.
    expected = torch.tensor([[2.0, 0, 10, 8], [10, 0, 14, 8]])
    torch.testing.assert_close(found.proposal_boxes.tensor, expected)
    assert found.objectness_logits.tolist() == [4, 3]
    (found,), _, _ = run(module.train(), truth(OBJECT))
    assert found.objectness_logits.tolist() == [4, 3, 2, 1]
    assert found.proposal_boxes.tensor[2].tolist() == [4, 0, 20, 12]  # clipped


def test_names_of_the_head():
    one = StandardRPNHead(in_channels=8, num_anchors=3)
    shapes = {name: tuple(value.shape) for name, value in one.state_dict().items()}
    assert shapes == {
        "conv.weight": (8, 8, 3, 3),
        "conv.bias": (8,),
        "objectness_logits.weight": (3, 8, 1, 1),
        "objectness_logits.bias": (3,),
        "anchor_deltas.weight": (12, 8, 1, 1),
        "anchor_deltas.bias": (12,),
    }
    several = StandardRPNHead(in_channels=8, num_anchors=3, conv_dims=[4, -1])
    assert several.conv.conv0.weight.shape == (4, 8, 3, 3)
    assert several.conv.conv1.weight.shape == (4, 4, 3, 3)
    logits, deltas = several([torch.zeros(2, 8, 4, 5), torch.zeros(2, 8, 2, 3)])
    assert [each.shape for each in logits] == [(2, 3, 4, 5), (2, 3, 2, 3)]
    assert [each.shape for each in deltas] == [(2, 12, 4, 5), (2, 12, 2, 3)]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(["MODEL.RPN.IN_FEATURES", "['p2','p3']", *options])
    return cfg


SHAPES = {"p2": ShapeSpec(channels=8, stride=4), "p3": ShapeSpec(channels=8, stride=8)}


def test_by_config():
    cfg = config("MODEL.RPN.LOSS_WEIGHT", 2.0, "MODEL.RPN.BBOX_REG_LOSS_WEIGHT", 3.0)
    cfg.MODEL.RPN.SMOOTH_L1_BETA, cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE = 0.1, 4
    module = build_proposal_generator(cfg, SHAPES)
    assert isinstance(module, RPN) and isinstance(module.rpn_head, StandardRPNHead)
    assert module.loss_weight == {"loss_rpn_cls": 2.0, "loss_rpn_loc": 6.0}
    assert module.pre_nms_topk == {True: 12000, False: 6000}
    assert module.post_nms_topk == {True: 2000, False: 1000}
    assert (module.smooth_l1_beta, module.min_box_size, module.nms_thresh) == (0.1, 4.0, 0.7)
    assert module.anchor_matcher.allow_low_quality_matches
    assert module.rpn_head.anchor_deltas.out_channels == 15 * 4


@lite_only
@pytest.mark.parametrize(
    ("options", "shapes", "message"),
    [
        (("MODEL.RPN.CONV_DIMS", [0]), SHAPES, r"CONV_DIMS\): expected numbers .* got \[0\]"),
        ((), {**SHAPES, "p3": ShapeSpec(channels=4, stride=8)}, r"of channels: \[4, 8\]"),
        (
            ("MODEL.ANCHOR_GENERATOR.SIZES", [[8], [8, 16]]),
            SHAPES,
            r"of anchors at a cell: \[3, 6\]",
        ),
    ],
)
def test_messages(options, shapes, message):
    with pytest.raises(ValueError, match=message):
        build_rpn_head(config(*options), [shapes["p2"], shapes["p3"]])


@lite_only
def test_training_without_ground_truth():
    with pytest.raises(AssertionError, match="needs gt_instances in training"):
        run(rpn().train())
