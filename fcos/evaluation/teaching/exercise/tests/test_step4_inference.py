"""Step 4: from the outputs of the head to detections (Sec. 3.1 and 3.3)."""

from types import SimpleNamespace

import pytest
import torch
from reference import VALUES, sizes, value
from torch import nn

from fcos.modeling.fcos import FCOS, DetectionRules, FCOSLosses

RUNS = sorted({name.rpartition("/")[0] for name in VALUES.files if name.endswith("/scores")})


def detector(points, strides=(8, 16, 32, 64, 128), **rules):
    """A detector whose locations are given, so that step 2 need not work."""
    targets = SimpleNamespace(get_points=lambda *args, **kwargs: [points])
    return FCOS(
        head=nn.Identity(),
        targets=targets,
        losses=FCOSLosses(),
        in_features=[f"p{level}" for level in range(len(strides))],
        strides=strides,
        rules=DetectionRules(**rules),
    ).eval()


POINTS = torch.tensor([[4.0, 4.0], [12.0, 4.0], [20.0, 4.0]])


def detect_by_hand(**rules):
    """Three locations of one level predict nearly the same box; the third is of another class."""
    scores = torch.tensor([[0.81, 1e-6], [0.64, 1e-6], [1e-6, 0.49]])
    boxes = torch.tensor([[0.0, 0, 40, 20], [0.0, 0, 40, 22], [0.0, 0, 40, 20]])
    ltrb = torch.cat((POINTS - boxes[:, :2], boxes[:, 2:] - POINTS), dim=1)
    return detector(POINTS, (8,), **rules).predict_proposals_single_image(
        POINTS, scores.logit(), ltrb, torch.full((3,), 20.0), [3], (22, 40)
    )


def test_by_hand():
    found = detect_by_hand()
    # The IoU of the first two is 800 / 880 > 0.6, so the second is dropped.
    assert found.pred_classes.tolist() == [0, 1]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.7]))  # square roots
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 40, 20], [0, 0, 40, 20]]
    assert found.locations.tolist() == [[4, 4], [20, 4]]
    assert found.image_size == (22, 40)


def test_each_rule_by_hand():
    assert len(detect_by_hand(nms_threshold=0.95)) == 3
    assert len(detect_by_hand(nms_threshold=0.95, pre_nms_topk=2)) == 2
    assert detect_by_hand(post_nms_topk=1).pred_classes.tolist() == [0]
    assert detect_by_hand(score_threshold=0.6).pred_classes.tolist() == [0]
    assert len(detect_by_hand(score_threshold=0.9)) == 0


def test_each_class_of_a_location_is_a_prediction_of_its_own():
    ltrb = torch.full((1, 4), 4.0)
    found = detector(POINTS[:1], (8,)).predict_proposals_single_image(
        POINTS[:1], torch.tensor([[0.0, 2.0, 1.0]]), ltrb, torch.full((1,), 20.0), [1], (8, 8)
    )
    assert found.pred_classes.tolist() == [1, 2, 0]
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 8, 8]] * 3


def test_centerness_changes_the_order():
    ltrb = torch.full((3, 4), 1.0)  # boxes that do not meet
    centerness = torch.tensor([0.1, 0.9, 0.5])
    found = detector(POINTS, (8,)).predict_proposals_single_image(
        POINTS, torch.zeros(3, 1), ltrb, centerness.logit(), [3], (22, 40)
    )
    assert found.locations[:, 0].tolist() == [12, 20, 4]
    torch.testing.assert_close(found.scores, (0.5 * torch.tensor([0.9, 0.5, 0.1])).sqrt())


def detect_one_class(scores, centerness, boxes, image_size=(100, 100), **rules):
    """Locations (4, 4), (12, 4), ... of one level; boxes are x1, y1, x2, y2 in pixels."""
    boxes = torch.tensor(boxes).float()
    points = POINTS[: len(boxes)]
    ltrb = torch.cat((points - boxes[:, :2], boxes[:, 2:] - points), dim=1)
    outputs = (torch.tensor(scores)[:, None].logit(), ltrb, torch.tensor(centerness).logit())
    return detector(POINTS[: len(boxes)], (8,), **rules).predict_proposals_single_image(
        points, *outputs, [len(boxes)], image_size
    )


APART = [[0, 0, 8, 8], [8, 0, 16, 8], [16, 0, 24, 8]]


def test_the_threshold_with_centerness_by_hand():
    found = detect_one_class([0.5, 0.4], [0.2, 0.9], APART[:2], score_threshold=0.3)
    assert len(found) == 2  # the probabilities are 0.5 and 0.4, the products 0.1 and 0.36
    found = detect_one_class(
        [0.5, 0.4], [0.2, 0.9], APART[:2], score_threshold=0.3, threshold_with_centerness=True
    )
    assert found.locations.tolist() == [[12, 4]]


def test_the_rank_by_class_by_hand():
    """It chooses what enters NMS; the scores, and so their order, are the same."""
    scores = ([0.9, 0.8, 0.7], [0.1, 0.2, 0.9])  # products 0.09, 0.16, 0.63
    found = detect_one_class(*scores, APART, pre_nms_topk=2)
    assert found.locations[:, 0].tolist() == [20, 12]
    found = detect_one_class(*scores, APART, pre_nms_topk=2, rank_by_class=True)
    assert found.locations[:, 0].tolist() == [12, 4]
    torch.testing.assert_close(found.scores, torch.tensor([0.4, 0.3]))


def test_scores_that_are_products_by_hand():
    found = detect_one_class([0.5, 0.4], [0.2, 0.9], APART[:2], square_root=False)
    torch.testing.assert_close(found.scores, torch.tensor([0.36, 0.1]))


def test_clipping_before_nms_by_hand():
    # In an image of 10 x 10 both boxes are the same; beyond it they differ. Their IoU is 100 / 300.
    boxes = [[0, 0, 10, 10], [0, 0, 10, 30]]
    assert len(detect_one_class([0.8, 0.7], [0.9, 0.9], boxes, (10, 10))) == 2
    found = detect_one_class([0.8, 0.7], [0.9, 0.9], boxes, (10, 10), clip_before_nms=True)
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 10, 10]]
    assert found.locations.tolist() == [[4, 4]]


def test_empty_boxes_by_hand():
    """Left out before they can take the place of another detection."""
    boxes = [[4, 0, 4, 8], [8, 4, 16, 4], [16, 0, 24, 8]]
    rules = {"post_nms_topk": 1}
    found = detect_one_class([0.9, 0.8, 0.7], [0.9, 0.9, 0.9], boxes, **rules)
    assert found.pred_boxes.tensor.tolist() == [boxes[0]]
    found = detect_one_class([0.9, 0.8, 0.7], [0.9, 0.9, 0.9], boxes, **rules, drop_empty=True)
    assert found.pred_boxes.tensor.tolist() == [boxes[2]]
    # This one is empty only when it is clipped.
    outside = [[12, 0, 20, 8], [0, 0, 8, 8]]
    rules |= {"clip_before_nms": True, "drop_empty": True}
    found = detect_one_class([0.9, 0.8], [0.9, 0.9], outside, (10, 10), **rules)
    assert found.locations.tolist() == [[12, 4]]


def test_inclusive_pixels_by_hand():
    # IoU 8 / 16 = 0.5; with x2 - x1 + 1 it is 15 / 25 = 0.6.
    boxes, scores = [[0, 0, 3, 4], [1, 0, 4, 4]], ([0.8, 0.7], [0.9, 0.9])
    assert len(detect_one_class(*scores, boxes, nms_threshold=0.55)) == 2
    found = detect_one_class(*scores, boxes, nms_threshold=0.55, inclusive_pixels=True)
    assert len(found) == 1
    # Boxes end at the last pixel.
    found = detect_one_class([0.8], [0.9], [[-3, 0, 30, 9]], (8, 20), inclusive_pixels=True)
    assert found.pred_boxes.tensor.tolist() == [[0, 0, 19, 7]]


@pytest.mark.parametrize("run", RUNS)
def test_a_batch_equals_adelaidet(run):
    """Two images; the distances are in strides."""
    _, settings, _ = run.split("/")
    nms, pre, post, with_centerness = settings.split("_")
    fcos = detector(
        value("inference/points"),
        nms_threshold=float(nms),
        pre_nms_topk=int(pre),
        post_nms_topk=int(post),
        threshold_with_centerness=with_centerness == "product",
    )
    fcos.normalize_reg_targets = True
    outputs = (value(f"inference/{name}") for name in ("cls", "ltrb", "ctr"))
    found = fcos.predict_proposals(
        *outputs, sizes("inference/feature_sizes"), sizes("inference/image_sizes")
    )
    image = int(run.rpartition("/")[2])
    torch.testing.assert_close(found[image].scores, value(f"{run}/scores"), atol=1e-6, rtol=0)
    boxes = found[image].pred_boxes.tensor
    torch.testing.assert_close(boxes, value(f"{run}/boxes"), atol=1e-3, rtol=0)
    assert found[image].pred_classes.tolist() == value(f"{run}/classes").tolist()
