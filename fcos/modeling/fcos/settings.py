"""The settings of targets and detection, from the keys under MODEL.FCOS."""

from __future__ import annotations

import dataclasses

from fcos.modeling.fcos.fcos_inference import DetectionRules
from fcos.modeling.fcos.fcos_targets import FCOSTargets

__all__ = ["detection_rules", "targets_of"]


def targets_of(cfg) -> FCOSTargets:
    """Read the settings of target assignment from a config.

    Args:
        cfg: a config with the keys of FCOS.

    Returns:
        What training assigns locations with.
    """
    node = cfg.MODEL.FCOS
    return FCOSTargets(
        strides=node.FPN_STRIDES,
        sizes_of_interest=node.SIZES_OF_INTEREST,
        num_classes=node.NUM_CLASSES,
        center_radius=node.POS_RADIUS if node.CENTER_SAMPLE else None,
        inclusive_pixels=node.INCLUSIVE_PIXELS,
        location=node.LOCATION,
    )


def detection_rules(cfg) -> tuple[DetectionRules, DetectionRules]:
    """Read the rules of detection from a config.

    Args:
        cfg: a config with the keys of FCOS.

    Returns:
        Those of a detector, and those of the detections that ROI heads are trained on.
    """
    node = cfg.MODEL.FCOS
    rules = DetectionRules(
        score_threshold=node.SCORE_THRESH_TEST,
        threshold_with_centerness=node.THRESH_WITH_CTR,
        rank_by_class=node.RANK_BY_CLASS,
        pre_nms_topk=node.NMS_PRE_TOPK,
        clip_before_nms=node.CLIP_BEFORE_NMS,
        drop_empty=node.DROP_EMPTY == "before",
        nms_threshold=node.NMS_THRESH_TEST,
        post_nms_topk=node.NMS_POST_TOPK,
        square_root=node.SQRT_SCORE,
        inclusive_pixels=node.INCLUSIVE_PIXELS,
    )
    in_training = dataclasses.replace(
        rules,
        score_threshold=node.SCORE_THRESH_TRAIN,
        pre_nms_topk=node.NMS_PRE_TOPK_TRAIN,
        nms_threshold=node.NMS_THRESH_TRAIN,
        post_nms_topk=node.NMS_POST_TOPK_TRAIN,
    )
    return rules, in_training
