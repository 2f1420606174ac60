"""Find settings that a config states and that its detector or its schedule never reads."""

from __future__ import annotations

import logging
from collections.abc import Iterator

from fcos.config.config import CfgNode
from fcos.config.defaults import get_cfg
from fcos.config.detector_keys import is_of_fcos
from fcos.utils.nested import flat

__all__ = ["solver_keys", "unused_keys", "warn_of_unused"]

logger = logging.getLogger(__name__)

# What detectron2's schedules read, beside the warm-up that all of them have.
_SCHEDULES = {
    "WarmupMultiStepLR": ("STEPS", "GAMMA"),
    "WarmupCosineLR": ("BASE_LR_END",),
    "WarmupStepWithFixedGammaLR": ("GAMMA", "NUM_DECAYS"),
}
_ANY_SCHEDULE = (
    *("BASE_LR", "MAX_ITER", "LR_SCHEDULER_NAME"),
    *("WARMUP_METHOD", "WARMUP_ITERS", "WARMUP_FACTOR", "RESCALE_INTERVAL"),
)
# And what the optimizers read, beside that which all of them do.
_OPTIMIZERS: dict[str, tuple[str, ...]] = {"SGD": ("MOMENTUM", "NESTEROV"), "AdamW": ()}
_ANY_OPTIMIZER = (
    *("OPTIMIZER", "WEIGHT_DECAY", "WEIGHT_DECAY_NORM", "WEIGHT_DECAY_BIAS", "BIAS_LR_FACTOR"),
    *("ACCUMULATION_STEPS", "EMA_DECAY"),
)

# Of other detectors of detectron2: no part of a detector of FCOS reads them.
_OTHER_DETECTORS = (
    *("MODEL.RPN.", "MODEL.RETINANET.", "MODEL.ANCHOR_GENERATOR.", "MODEL.PROPOSAL_GENERATOR.MIN"),
    *("MODEL.SEM_SEG_HEAD.", "MODEL.PANOPTIC_FPN.", "DATASETS.PROPOSAL_FILES_"),
)
# Further ones that a detector without a second box head does not read, and those without masks.
_BOX_HEADS = (
    *("MODEL.ROI_BOX_HEAD.", "MODEL.ROI_BOX_CASCADE_HEAD.", "MODEL.ROI_KEYPOINT_HEAD."),
    *("MODEL.ROI_HEADS.SCORE_THRESH_TEST", "MODEL.ROI_HEADS.NMS_THRESH_TEST"),
    *("TEST.DETECTIONS_PER_IMAGE", "TEST.KEYPOINT_OKS_SIGMAS"),
)
# Base-FCOS.yaml sets it for every backbone.
_ALWAYS_SET = "MODEL.RESNETS.OUT_FEATURES"
_REGIONS = ("MODEL.ROI_HEADS.", "MODEL.ROI_MASK_HEAD.")

# What is read in their place.
_IN_PLACE = {
    "MODEL.ROI_HEADS.NUM_CLASSES": "MODEL.FCOS.NUM_CLASSES",
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": "MODEL.FCOS.SCORE_THRESH_TEST",
    "MODEL.ROI_HEADS.NMS_THRESH_TEST": "MODEL.FCOS.NMS_THRESH_TEST",
    "TEST.DETECTIONS_PER_IMAGE": "MODEL.FCOS.NMS_POST_TOPK",
    "MODEL.RESNETS.NORM": "MODEL.TIMM.NORM",
    "MODEL.RPN.IN_FEATURES": "MODEL.FCOS.IN_FEATURES",
    "MODEL.RPN.NMS_THRESH": "MODEL.FCOS.NMS_THRESH_TEST",
    "MODEL.RPN.PRE_NMS_TOPK_TEST": "MODEL.FCOS.NMS_PRE_TOPK",
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": "MODEL.FCOS.NMS_PRE_TOPK_TRAIN",
    "MODEL.RPN.POST_NMS_TOPK_TEST": "MODEL.FCOS.NMS_POST_TOPK",
    "MODEL.RPN.POST_NMS_TOPK_TRAIN": "MODEL.FCOS.NMS_POST_TOPK_TRAIN",
    "MODEL.RETINANET.NUM_CLASSES": "MODEL.FCOS.NUM_CLASSES",
    "MODEL.RETINANET.IN_FEATURES": "MODEL.FCOS.IN_FEATURES",
    "MODEL.RETINANET.NUM_CONVS": "MODEL.FCOS.NUM_STACKED_CONVS",
    "MODEL.RETINANET.NORM": "MODEL.FCOS.NORM",
    "MODEL.RETINANET.PRIOR_PROB": "MODEL.FCOS.PRIOR_PROB",
    "MODEL.RETINANET.FOCAL_LOSS_ALPHA": "MODEL.FCOS.LOSS_ALPHA",
    "MODEL.RETINANET.FOCAL_LOSS_GAMMA": "MODEL.FCOS.LOSS_GAMMA",
    "MODEL.RETINANET.BBOX_REG_LOSS_TYPE": "MODEL.FCOS.LOC_LOSS_TYPE",
    "MODEL.RETINANET.SCORE_THRESH_TEST": "MODEL.FCOS.SCORE_THRESH_TEST",
    "MODEL.RETINANET.NMS_THRESH_TEST": "MODEL.FCOS.NMS_THRESH_TEST",
    "MODEL.RETINANET.TOPK_CANDIDATES_TEST": "MODEL.FCOS.NMS_PRE_TOPK",
}


def solver_keys(cfg: CfgNode) -> list[str]:
    """Return the keys below SOLVER that decide how this config's losses change the weights."""
    clip = cfg.SOLVER.CLIP_GRADIENTS
    clipping = ["ENABLED", *(("CLIP_TYPE", "CLIP_VALUE") if clip.ENABLED else ())]
    clipping += ["NORM_TYPE"] if clip.ENABLED and clip.CLIP_TYPE == "norm" else []
    own = _SCHEDULES.get(cfg.SOLVER.LR_SCHEDULER_NAME, ())
    own += _OPTIMIZERS.get(cfg.SOLVER.OPTIMIZER, ())
    clipping = [f"CLIP_GRADIENTS.{key}" for key in clipping]
    return [*_ANY_SCHEDULE, *own, *_ANY_OPTIMIZER, *clipping]


def unused_keys(cfg: CfgNode, training: bool = True) -> dict[str, str]:
    """Find the keys that differ from their defaults and that this config never reads.

    A setting that another one switches off, such as the size of a crop, is not among them.

    Args:
        cfg: of a detector of FCOS; nothing is found for another one.
        training: look at the keys of SOLVER too.

    Returns:
        Key -> the key that is read in its place, or "".
    """
    if not is_of_fcos(cfg):
        return {}
    values, prefixes = flat(cfg), tuple(_never_read(cfg, training))
    return {
        key: _IN_PLACE.get(key, "")
        for key, default in flat(get_cfg()).items()
        if key.startswith(prefixes) and key != _ALWAYS_SET and _differs(values[key], default)
    }


def warn_of_unused(cfg: CfgNode, training: bool = True) -> None:
    """Log a warning that names what :func:`unused_keys` finds, and one of sides without effect."""
    found, values = unused_keys(cfg, training), flat(cfg)
    if found:
        named = [
            f"{key} {values[key]}" + (f" ({instead} is read)" if instead else "")
            for key, instead in found.items()
        ]
        logger.warning(f"Set, but without effect on this detector: {', '.join(named)}.")
    for use in ("TRAIN", "TEST")[not training :]:
        shorter, longer = cfg.INPUT[f"MIN_SIZE_{use}"], cfg.INPUT[f"MAX_SIZE_{use}"]
        if (shorter if use == "TEST" else min(shorter)) > longer:
            logger.warning(
                f"INPUT.MIN_SIZE_{use} is {shorter}, but has no effect: the longer side of every "
                f"image becomes {longer} (INPUT.MAX_SIZE_{use}), which is less."
            )


def _never_read(cfg: CfgNode, training: bool) -> Iterator[str]:
    """Yield keys, or beginnings of keys."""
    yield from _OTHER_DETECTORS
    has_no_heads = cfg.MODEL.META_ARCHITECTURE in ("OneStageDetector", "ProposalNetwork")
    if has_no_heads or cfg.MODEL.ROI_HEADS.NAME == "FCOSMaskROIHeads":
        yield from _BOX_HEADS
    if has_no_heads:
        yield from _REGIONS
    yield "MODEL.RESNETS." if "timm" in cfg.MODEL.BACKBONE.NAME else "MODEL.TIMM."
    if training:
        for known, name in (
            (_SCHEDULES, cfg.SOLVER.LR_SCHEDULER_NAME),
            (_OPTIMIZERS, cfg.SOLVER.OPTIMIZER),
        ):
            others = {key for keys in known.values() for key in keys} - set(known.get(name, ()))
            yield from (f"SOLVER.{key}" for key in sorted(others))


def _differs(value: object, default: object) -> bool:
    def plain(item: object) -> object:  # a tuple in one file is a list in another
        return [plain(part) for part in item] if isinstance(item, (list, tuple)) else item

    return plain(value) != plain(default)
