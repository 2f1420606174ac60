"""Whose keys say how many classes and detections there are."""

import pytest

from fcos.config import get_cfg
from fcos.config.detector_keys import (
    FCOS_KEYS,
    classes_of,
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
    cfg.merge_from_list(["MODEL.FCOS.NUM_CLASSES", 3, "MODEL.ROI_HEADS.NUM_CLASSES", 4])
    cfg.merge_from_list(["MODEL.FCOS.NMS_POST_TOPK", 30, "TEST.DETECTIONS_PER_IMAGE", 40])
    cfg.merge_from_list(["MODEL.RETINANET.NUM_CLASSES", 5, "MODEL.RPN.POST_NMS_TOPK_TEST", 50])
    cfg.merge_from_list(list(options))
    return cfg


@pytest.mark.parametrize(
    ("names", "classes", "most", "is_fcos"),
    [
        (("OneStageDetector", "FCOS"), 3, 30, True),
        (("OneStageDetector", "FCOS", "Res5ROIHeads"), 3, 30, True),
        (("GeneralizedRCNN", "FCOS", "FCOSMaskROIHeads"), 3, 30, True),
        (("GeneralizedRCNN", "FCOS", "StandardROIHeads"), 4, 40, False),
        (("GeneralizedRCNN", "RPN", "StandardROIHeads"), 4, 40, False),
        (("RetinaNet",), 5, 40, False),
        (("ProposalNetwork",), 0, 50, False),
    ],
)
def test_the_keys_of_a_detector(names, classes, most, is_fcos):
    cfg = config(*names)
    assert (classes_of(cfg), most_found_by(cfg)) == (classes, most)
    assert has_square_roots(cfg) == is_fcos == (detector_keys(cfg) == FCOS_KEYS)


def test_value_and_key():
    cfg = config(
        "GeneralizedRCNN", "RPN", "StandardROIHeads", "MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.4
    )
    assert setting_of(cfg, "nms_threshold") == (0.4, "MODEL.ROI_HEADS.NMS_THRESH_TEST")
    assert setting_of(config("ProposalNetwork"), "num_classes") == (0, "")
    cfg = config("OneStageDetector", "FCOS", "x", "MODEL.FCOS.SQRT_SCORE", False)
    assert not has_square_roots(cfg)
    assert setting_of(cfg, "score_threshold") == (0.05, "MODEL.FCOS.SCORE_THRESH_TEST")
