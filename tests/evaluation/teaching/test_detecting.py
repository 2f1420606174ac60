"""What each rule of detection takes away."""

import itertools
import math

import torch

from detectron2.modeling import build_model
from fcos.evaluation.teaching import RawOutputs, detection_steps, raw_outputs
from fcos.modeling.fcos import FCOS, DetectionRules, FCOSHead, FCOSLosses, FCOSTargets
from fcos.modeling.fcos.fcos_targets import ltrb_distances
from tests.helpers import tiny_cfg, tiny_mask_cfg


def detector(**rules):
    return FCOS(
        head=FCOSHead(in_channels=8, num_levels=2, num_classes=2, num_convs=0),
        targets=FCOSTargets(strides=(8, 16), sizes_of_interest=(16,), num_classes=2),
        losses=FCOSLosses(),
        in_features=["p3", "p4"],
        strides=(8, 16),
        rules=DetectionRules(**rules),
    ).eval()


def outputs_by_hand(detector):
    """Four locations on the finer level, one on the coarser: most predict the same box."""
    sizes = [(2, 2), (1, 1)]
    points = torch.cat(detector.targets.get_points(sizes))
    box, other = [0.0, 0, 16, 16], [8.0, 8, 16, 16]
    ltrb = ltrb_distances(points, torch.tensor([box, box, box, other, box]))
    scores = torch.tensor([[0.9, 0.01], [0.8, 0.7], [0.6, 0.01], [0.5, 0.01], [0.4, 0.01]])
    return RawOutputs(scores.logit(), ltrb, torch.full((5,), 20.0), sizes, (16, 16))


def test_by_hand():
    fcos = detector(score_threshold=0.05, pre_nms_topk=4, post_nms_topk=1)
    steps = detection_steps(fcos, outputs_by_hand(fcos))
    assert [step.rule for step in steps] == [
        "class score above 0.05",
        "best 4 of each level",
        "NMS at IoU 0.6",
        "best 1 of the image",
    ]
    assert [step.num_before for step in steps] == [10, 6, 5, 2]
    kept = [[round(s * s, 2) for s in step.kept.scores.tolist()] for step in steps]
    assert kept[0] == [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert kept[1] == [0.9, 0.8, 0.7, 0.6, 0.4]  # the fifth of the finer level went
    # 0.8, 0.6 and 0.4 are the box of 0.9 and of its class; 0.7 is of the other class.
    assert kept[2] == [0.9, 0.7]
    assert kept[3] == [0.9]
    assert steps[0].removed is None
    gone = [[round(s * s, 2) for s in step.removed.scores.tolist()] for step in steps[1:]]
    assert gone == [[0.5], [0.8, 0.6, 0.4], [0.7]]


def test_the_last_step_is_what_the_detector_returns():
    """Also when distances are in strides and the rules are unusual; and they are left alone."""
    torch.manual_seed(0)
    for options in ({}, {"clip_before_nms": True, "drop_empty": True, "square_root": False}):
        fcos = detector(score_threshold=0.3, pre_nms_topk=9, post_nms_topk=2, **options)
        fcos.normalize_reg_targets = True
        before = fcos.rules
        sizes = [(4, 6), (2, 3)]
        outputs = RawOutputs(
            torch.randn(30, 2), torch.rand(30, 4) + 3, torch.randn(30), sizes, (30, 44)
        )
        steps = detection_steps(fcos, outputs)
        assert fcos.rules is before
        (want,) = fcos.predict_proposals(*(t[None] for t in outputs[:3]), sizes, [(30, 44)])
        assert torch.equal(steps[-1].kept.pred_boxes.tensor, want.pred_boxes.tensor)
        assert torch.equal(steps[-1].kept.scores, want.scores)
        for earlier, later in itertools.pairwise(steps):
            assert len(later.removed) + len(later.kept) == len(earlier.kept) == later.num_before
            assert len(later.removed) > 0


def test_outputs_of_a_whole_detector():
    """They give its own detections, with masks too."""
    for cfg in (tiny_cfg(), tiny_mask_cfg()):
        cfg.MODEL.FCOS.SCORE_THRESH_TEST = 0.0
        torch.manual_seed(0)
        model = build_model(cfg).eval()
        image = torch.randint(0, 256, (3, 60, 90), dtype=torch.uint8)
        outputs = raw_outputs(model, image)
        assert outputs.feature_sizes == [(8, 12), (4, 6), (2, 3), (1, 2), (1, 1)]
        assert outputs.image_size == (60, 90)
        number = sum(rows * columns for rows, columns in outputs.feature_sizes)
        assert outputs.cls_logits.shape == (number, 3) and outputs.ltrb.shape == (number, 4)
        images = model.preprocess_image([{"image": image}])
        with torch.no_grad():
            features = model.backbone(images.tensor)
            model.proposal_generator.feeds_roi_heads = False
            ((want,), _) = model.proposal_generator(images, features)
        kept = detection_steps(model.proposal_generator, outputs)[-1].kept
        torch.testing.assert_close(kept.scores, want.scores.cpu())
        torch.testing.assert_close(kept.pred_boxes.tensor, want.pred_boxes.tensor.cpu())
        assert len(kept) > 0 and math.isfinite(kept.scores.sum())
