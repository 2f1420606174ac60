"""Whose keys say how many detections there are, and how good they have to be."""

import pytest

from fcos.config import get_cfg
from fcos.config.detector_keys import (
    FCOS_KEYS,
    detector_keys,
    has_square_roots,
    most_found_by,
    setting_of,
)


def config(meta, proposals="RPN", heads="StandardROIHeads", *options):
    names = ("META_ARCHITECTURE", "PROPOSAL_GENERATOR.NAME", "ROI_HEADS.NAME")
    cfg = get_cfg()
    pairs = zip(names, (meta, proposals, heads), strict=True)
    cfg.merge_from_list([x for name, value in pairs for x in (f"MODEL.{name}", value)])
    cfg.merge_from_list(["MODEL.FCOS.NMS_POST_TOPK", 30, "TEST.DETECTIONS_PER_IMAGE", 40])
    cfg.merge_from_list(["MODEL.RPN.POST_NMS_TOPK_TEST", 50, *options])
    return cfg


@pytest.mark.parametrize(
    ("names", "most", "is_fcos"),
    [
        (("OneStageDetector", "FCOS"), 30, True),
        (("OneStageDetector", "FCOS", "Res5ROIHeads"), 30, True),
        (("GeneralizedRCNN", "FCOS", "FCOSMaskROIHeads"), 30, True),
        (("GeneralizedRCNN", "FCOS", "StandardROIHeads"), 40, False),
        (("GeneralizedRCNN", "RPN", "StandardROIHeads"), 40, False),
        (("RetinaNet",), 40, False),
        (("ProposalNetwork",), 50, False),
    ],
)
def test_the_keys_of_a_detector(names, most, is_fcos):
    cfg = config(*names)
    assert most_found_by(cfg) == most
    assert has_square_roots(cfg) == is_fcos == (detector_keys(cfg) == FCOS_KEYS)


def test_value_and_key():
    cfg = config(
        "GeneralizedRCNN", "RPN", "StandardROIHeads", "MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.4
    )
    assert setting_of(cfg, "nms_threshold") == (0.4, "MODEL.ROI_HEADS.NMS_THRESH_TEST")
    assert setting_of(config("ProposalNetwork"), "score_threshold") == (0, "")
    cfg = config("OneStageDetector", "FCOS", "x", "MODEL.FCOS.SQRT_SCORE", False)
    assert not has_square_roots(cfg)
    assert setting_of(cfg, "score_threshold") == (0.05, "MODEL.FCOS.SCORE_THRESH_TEST")
