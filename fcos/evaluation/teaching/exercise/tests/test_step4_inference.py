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
