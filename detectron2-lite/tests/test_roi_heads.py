"""Matching, sampling and labelling of proposals; draws recorded from detectron2 0.6."""

import numpy as np
import pytest
import torch

import detectron2
from detectron2.config import get_cfg
from detectron2.modeling import ROIHeads as same_class
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import proposal_utils
from detectron2.modeling.roi_heads.roi_heads import (
    ROIHeads,
    add_ground_truth_to_proposals,
    select_foreground_proposals,
)
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

QUALITY = torch.tensor([[0.1, 0.2, 0.5, 0.9, 0.3, 0.7], [0.0, 0.25, 0.4, 0.1, 0.3, 0.65]])


def test_matches_by_hand():
    matches, labels = Matcher([0.3, 0.7], [0, -1, 1])(QUALITY)
    # Of two equally good ones the first; a quality of 0.3 or 0.7 is above that threshold.
    assert matches.tolist() == [0, 1, 0, 0, 0, 0]
    assert labels.tolist() == [0, 0, -1, 1, -1, 1]
    assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


def test_low_quality_matches():
    matcher = Matcher([0.95], [0, 1], allow_low_quality_matches=True)
    matches, labels = matcher(QUALITY)
    # Best for the second object is prediction 5, which fits the first one even better.
    assert labels.tolist() == [0, 0, 0, 1, 0, 1]
    assert matches.tolist() == [0, 1, 0, 0, 0, 0]
    labels = torch.zeros(6, dtype=torch.int8)
    matcher.set_low_quality_matches_(labels, QUALITY)
    assert labels.tolist() == [0, 0, 0, 1, 0, 1]


def test_nothing_to_match():
    for shape in ((0, 3), (2, 0), (0, 0)):
        matches, labels = Matcher([0.3], [-1, 1], True)(torch.zeros(shape))
        assert matches.tolist() == [0] * shape[1] and labels.tolist() == [-1] * shape[1]
        assert (matches.dtype, labels.dtype) == (torch.int64, torch.int8)


@pytest.mark.parametrize(
    ("thresholds", "labels"),
    [([0.7, 0.3], [0, -1, 1]), ([0.0], [0, 1]), ([0.3], [0, 2]), ([0.3], [0, -1, 1])],
)
def test_what_is_no_matcher(thresholds, labels):
    with pytest.raises((AssertionError, ValueError)):
        Matcher(thresholds, labels)


@lite_only
def test_matcher_messages():
    with pytest.raises(ValueError, match=r"expected positive, ascending ones, got \[0.7, 0.3\]"):
        Matcher([0.7, 0.3], [0, -1, 1])
    with pytest.raises(ValueError, match=r"expected 2 of -1, 0 and 1 .* got \[0, 2\]"):
        Matcher([0.5], [0, 2])
    with pytest.raises(AssertionError, match="a quality is negative or NaN"):
        Matcher([0.5], [0, 1])(torch.full((1, 2), float("nan")))


@pytest.mark.filterwarnings("ignore")
def test_the_matcher_can_be_scripted():
    def match(quality: torch.Tensor):
        return Matcher([0.3, 0.7], [0, -1, 1], True)(quality)

    scripted = torch.jit.script(match)
    for result, expected in zip(scripted(QUALITY), match(QUALITY), strict=True):
        assert torch.equal(result, expected)


LABELS = torch.tensor([0, 1, 2, -1, 3, 3, 0, 1, 2, 3])  # 3 is background


# Drawn by detectron2 after torch.manual_seed(0).
@pytest.mark.parametrize(
    ("number", "fraction", "positive", "negative"),
    [
        (4, 0.5, [2, 8], [4, 9]),
        (20, 0.25, [2, 8, 6, 0, 1], [4, 9, 5]),
        (4, 1.0, [2, 8, 6, 0], []),  # negatives do not fill up, positives are enough
        (4, 0.0, [], [4, 9, 5]),  # positives do not fill up
        (3, 0.5, [2], [4, 9]),
        (0, 0.5, [], []),
    ],
)
def test_samples_equal_detectron2s(number, fraction, positive, negative):
    torch.manual_seed(0)
    drawn = subsample_labels(LABELS, number, fraction, 3)
    assert [one.tolist() for one in drawn] == [positive, negative]
    assert all(one.dtype == torch.int64 for one in drawn)


def test_samples_of_nothing():
    assert [one.tolist() for one in subsample_labels(LABELS[:0], 4, 0.5, 3)] == [[], []]


SIZE = (100, 120)
GT_BOXES = torch.tensor([[10, 10, 40, 40], [50, 50, 90, 95.0]])


def ground_truth():
    corners = [np.array([x1, y1, x2, y1, x2, y2, x1, y2]) for x1, y1, x2, y2 in GT_BOXES.tolist()]
    return Instances(
        SIZE,
        gt_boxes=Boxes(GT_BOXES.clone()),
        gt_classes=torch.tensor([3, 1]),
        gt_masks=PolygonMasks([[one] for one in corners]),
        extra=torch.tensor([7, 8]),
    )


def no_ground_truth():
    classes = torch.zeros(0, dtype=torch.int64)
    return Instances(SIZE, gt_boxes=Boxes(torch.zeros(0, 4)), gt_classes=classes)


def found(number=50):
    """20 boxes near the two objects, in turn, then 30 anywhere; the logit is their number."""
    generator = torch.Generator().manual_seed(0)
    near = GT_BOXES.repeat(10, 1) + torch.randn(20, 4, generator=generator) * 6
    corner = torch.rand(30, 2, generator=generator).repeat(1, 2) * 80
    boxes = torch.cat([near, corner + torch.tensor([0, 0, 20.0, 20])])[:number]
    logits = torch.arange(float(number))
    return Instances(SIZE, proposal_boxes=Boxes(boxes), objectness_logits=logits)


def test_ground_truth_becomes_proposals():
    for truth in (ground_truth(), ground_truth().gt_boxes):
        (out,) = add_ground_truth_to_proposals([truth], [found(3)])
        assert list(out.get_fields()) == ["proposal_boxes", "objectness_logits"]
        assert torch.equal(out.proposal_boxes.tensor[3:], GT_BOXES)
        # log(p / (1 - p)) for p = 1 - 1e-10
        torch.testing.assert_close(
            out.objectness_logits, torch.tensor([0, 1, 2, 23.02585, 23.02585])
        )
    assert proposal_utils.add_ground_truth_to_proposals is add_ground_truth_to_proposals
    assert len(add_ground_truth_to_proposals([no_ground_truth()], [found(3)])[0]) == 3
    assert add_ground_truth_to_proposals([], []) == []


def test_further_fields_of_proposals_come_from_the_ground_truth():
    proposals = found(2)
    proposals.extra = torch.zeros(2, dtype=torch.int64)
    truth = ground_truth()
    (out,) = add_ground_truth_to_proposals([truth], [proposals])
    assert out.extra.tolist() == [0, 0, 7, 8]
    assert not truth.has("proposal_boxes")  # not changed
    proposals.other = torch.zeros(2)
    with pytest.raises(AssertionError, match="other"):
        add_ground_truth_to_proposals([truth], [proposals])
    with pytest.raises(ValueError):
        add_ground_truth_to_proposals([truth], [])


def heads(number=16, thresholds=(0.5,), labels=(0, 1), **options):
    return ROIHeads(
        num_classes=5,
        batch_size_per_image=number,
        positive_fraction=0.25,
        proposal_matcher=Matcher(list(thresholds), list(labels)),
        **options,
    )


def sample(module, proposals, targets):
    torch.manual_seed(0)
    with EventStorage() as storage:
        out = module.label_and_sample_proposals(proposals, targets)
    latest = {name: value for name, (value, _) in storage.latest().items()}
    return out, [latest["roi_head/num_fg_samples"], latest["roi_head/num_bg_samples"]]


def test_sampled_proposals_equal_detectron2s():
    (first, second), numbers = sample(
        heads(), [found(), found(4)], [ground_truth(), ground_truth()]
    )
    expected = [10, 5, 9, 3, 22, 49, 14, 24, 7, 27, 11, 20, 33, 44, 43, 46]
    assert first.objectness_logits.tolist() == expected
    assert first.gt_classes.tolist() == [3, 1, 1, 1] + [5] * 12
    assert second.objectness_logits.round().tolist() == [23, 23, 3, 0]
    assert second.gt_classes.tolist() == [3, 1, 1, 3]
    assert numbers == [4, 6]  # (4 + 4) / 2 and (12 + 0) / 2
    assert set(second.get_fields()) == {
        *("proposal_boxes", "objectness_logits", "gt_classes", "gt_boxes", "gt_masks")
    }
    assert torch.equal(second.gt_boxes.tensor, GT_BOXES[[0, 1, 1, 0]])
    assert second.gt_masks.polygons[3][0][0] == 10


def test_without_the_ground_truth():
    (out,), numbers = sample(heads(proposal_append_gt=False), [found()], [ground_truth()])
    expected = [16, 13, 12, 8, 40, 44, 30, 7, 23, 41, 45, 31, 46, 49, 43, 34]
    assert out.objectness_logits.tolist() == expected
    assert numbers == [4, 12]


def test_between_two_thresholds_is_ignored():
    module = heads(number=100, thresholds=(0.3, 0.7), labels=(0, -1, 1))
    (out,), numbers = sample(module, [found()], [ground_truth()])
    assert -1 not in out.gt_classes
    assert sum(numbers) == len(out) < 52


@pytest.mark.parametrize("number", [6, 0])
def test_an_image_without_objects(number):
    (out,), numbers = sample(heads(), [found(number)], [no_ground_truth()])
    assert out.gt_classes.tolist() == [5] * number
    assert not out.has("gt_boxes")
    assert numbers == [0, number]


def test_an_image_without_proposals():
    (out,), numbers = sample(heads(), [found(0)], [ground_truth()])
    assert out.gt_classes.tolist() == [3, 1] and numbers == [2, 0]


def test_foreground():
    some = Instances(SIZE, gt_classes=torch.tensor([0, 5, -1, 4, 2]), number=torch.arange(5))
    (first, second), masks = select_foreground_proposals([some, some[:0]], bg_label=5)
    assert first.number.tolist() == [0, 3, 4] and len(second) == 0
    assert [mask.tolist() for mask in masks] == [[True, False, False, True, True], []]
    for wrong in ([1], [Instances(SIZE, number=torch.arange(2))]):
        with pytest.raises(AssertionError):
            select_foreground_proposals(wrong, 5)


def test_heads_by_config():
    cfg = get_cfg()
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 7
    cfg.MODEL.ROI_HEADS.IOU_THRESHOLDS, cfg.MODEL.ROI_HEADS.IOU_LABELS = [0.4, 0.6], [0, -1, 1]
    module = ROIHeads(cfg)
    assert (module.num_classes, module.batch_size_per_image) == (7, 512)
    assert (module.positive_fraction, module.proposal_append_gt) == (0.25, True)
    assert module.proposal_matcher.labels == [0, -1, 1]
    assert module.proposal_matcher.thresholds[1:-1] == [0.4, 0.6]
    assert not module.proposal_matcher.allow_low_quality_matches
    with pytest.raises(NotImplementedError):
        module(None, None, None)
    assert same_class is ROIHeads
