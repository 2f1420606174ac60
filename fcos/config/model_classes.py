"""Where a config says how many classes its model tells apart; detectors have keys of their own."""

from __future__ import annotations

import dataclasses

from fcos.config.config import CfgNode
from fcos.utils.errors import UserError

__all__ = [
    "ModelClasses",
    "are_regions_classified",
    "check_region_classes",
    "model_classes",
    "num_detected_classes",
]


@dataclasses.dataclass(frozen=True)
class ModelClasses:
    """How many classes the data of a model has.

    Attributes:
        number: ``None``: any, because the model proposes objects of all classes alike.
        key: of the config that says so.
    """

    number: int | None
    key: str = "MODEL.FCOS.NUM_CLASSES"


def model_classes(cfg: CfgNode) -> ModelClasses:
    """Read the number of classes of a config's detections.

    Args:
        cfg: a config with the keys of FCOS.
    """
    model = cfg.MODEL
    if model.META_ARCHITECTURE == "RetinaNet":
        return ModelClasses(model.RETINANET.NUM_CLASSES, "MODEL.RETINANET.NUM_CLASSES")
    if model.META_ARCHITECTURE == "ProposalNetwork":
        is_any = model.PROPOSAL_GENERATOR.NAME != "FCOS" or model.FCOS.NUM_CLASSES == 1
        return ModelClasses(None if is_any else model.FCOS.NUM_CLASSES)
    if are_regions_classified(cfg):
        return ModelClasses(model.ROI_HEADS.NUM_CLASSES, "MODEL.ROI_HEADS.NUM_CLASSES")
    return ModelClasses(model.FCOS.NUM_CLASSES)


def check_region_classes(cfg: CfgNode) -> None:
    """Refuse ROI heads of other classes than FCOS below them.

    Args:
        cfg: a config with the keys of FCOS.

    Raises:
        UserError: they differ, and FCOS has more than one class.
    """
    heads, number = model_classes(cfg), cfg.MODEL.FCOS.NUM_CLASSES
    if are_regions_classified(cfg) and number > 1 and heads.number not in (None, number):
        raise UserError(
            f"MODEL.FCOS.NUM_CLASSES is {number}, but {heads.key} is {heads.number}: set the "
            "former to the latter, or to 1, which proposes objects of all classes alike."
        )


def num_detected_classes(cfg: CfgNode) -> int:
    """Return the number of classes of a config whose model gives detections.

    Args:
        cfg: a config with the keys of FCOS.

    Raises:
        UserError: its model gives proposals without a class.
    """
    number = model_classes(cfg).number
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork" or number is None:
        raise UserError(
            "MODEL.META_ARCHITECTURE is ProposalNetwork, which gives proposals and no detections: "
            "it can be trained and evaluated, and its weights can start a GeneralizedRCNN."
        )
    return number


def are_regions_classified(cfg: CfgNode) -> bool:
    """Say whether the proposal generator gives regions to which others give a class, if any does.

    Then its own classes are not those of the detections, and one is enough: "object". FCOS alone
    (``OneStageDetector``) and FCOS below a mask head (``FCOSMaskROIHeads``) classify themselves.

    Args:
        cfg: a config with the keys of FCOS.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    has_heads = architecture == "GeneralizedRCNN" and cfg.MODEL.ROI_HEADS.NAME != "FCOSMaskROIHeads"
    return has_heads or architecture == "ProposalNetwork"
