"""Which keys of a config decide what its detector gives: FCOS, or another detector of detectron2.

How many classes it tells apart is in :mod:`fcos.config.model_classes`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fcos.utils.nested import flat

__all__ = [
    "FCOS_KEYS",
    "DetectorKeys",
    "Setting",
    "detector_keys",
    "has_square_roots",
    "is_of_fcos",
    "most_found_by",
    "setting_of",
]

# A value of a config, and its key.
Setting = tuple[Any, str]


@dataclasses.dataclass(frozen=True)
class DetectorKeys:
    """Names of keys.

    Attributes:
        most_found: the most detections of an image.
        score_threshold: the lowest score of a detection; "" where there is none.
        nms_threshold: the overlap from which a detection repeats a better one of its class.
    """

    most_found: str
    score_threshold: str
    nms_threshold: str


def _keys(node: str, most_found: str = "TEST.DETECTIONS_PER_IMAGE") -> DetectorKeys:
    return DetectorKeys(most_found, f"{node}.SCORE_THRESH_TEST", f"{node}.NMS_THRESH_TEST")


FCOS_KEYS = _keys("MODEL.FCOS", "MODEL.FCOS.NMS_POST_TOPK")
_RETINANET = _keys("MODEL.RETINANET")
_ROI_HEADS = _keys("MODEL.ROI_HEADS")
_RPN = DetectorKeys("MODEL.RPN.POST_NMS_TOPK_TEST", "", "MODEL.RPN.NMS_THRESH")


def is_of_fcos(config: Mapping[str, Any]) -> bool:
    """Say whether a detector is FCOS, or stands on it; RetinaNet has no proposal generator.

    Args:
        config: a config, or the contents of a ``config.yaml``.
    """
    values = flat(config)
    if values.get("MODEL.META_ARCHITECTURE") == "RetinaNet":
        return False
    return bool(values.get("MODEL.PROPOSAL_GENERATOR.NAME") == "FCOS")


def detector_keys(config: Mapping[str, Any]) -> DetectorKeys:
    """Find the keys that the detector of a config reads.

    Args:
        config: a config, or the contents of a ``config.yaml``.
    """
    values = flat(config)
    kind = values.get("MODEL.META_ARCHITECTURE")
    if kind == "RetinaNet":
        return _RETINANET
    if kind == "ProposalNetwork" and not is_of_fcos(config):
        return _RPN
    # Masks of FCOS are of its detections; other heads make detections of their own.
    has_own = values.get("MODEL.ROI_HEADS.NAME") != "FCOSMaskROIHeads"
    return _ROI_HEADS if kind == "GeneralizedRCNN" and has_own else FCOS_KEYS


def setting_of(config: Mapping[str, Any], what: str) -> Setting:
    """Return what a config's detector reads, and under which key.

    Args:
        config: a whole config.
        what: an attribute of :class:`DetectorKeys`. Where that is "", the value is 0.
    """
    key = getattr(detector_keys(config), what)
    return flat(config)[key] if key else 0, key


def most_found_by(config: Mapping[str, Any]) -> int:
    """Return the most detections that a config's detector gives for an image."""
    return setting_of(config, "most_found")[0]


def has_square_roots(config: Mapping[str, Any]) -> bool:
    """Say whether the scores of a config's detector are square roots of FCOS's products."""
    return detector_keys(config) == FCOS_KEYS and flat(config)["MODEL.FCOS.SQRT_SCORE"]
