"""The checks of a config that need nothing but the config; each raises a ``UserError``.

Code that reads a group of keys calls the check of that group, so a mistake gets the same sentence
in a program and in a notebook; :mod:`fcos.engine.preflight` calls those of a training before the
first iteration. Constructors check their arguments too, for callers without a config, and name
the argument instead of the key. What has to ask the machine or the data is not here.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable
from typing import Any

from fcos.config.config import CfgNode
from fcos.config.model_classes import check_region_classes
from fcos.utils.errors import UserError
from fcos.utils.values import is_number

logger = logging.getLogger(__name__)

# Values of MODEL.FCOS. The steps know the same ones (a test compares them).
FCOS_CHOICES = {
    "NORM": ("none", "GN", "BN", "SyncBN"),
    "LOCATION": ("middle", "corner"),
    "LOC_LOSS_TYPE": ("iou", "linear_iou", "giou"),
    "BOX_QUALITY": ("ctrness", "iou"),
    "LOSS_NORMALIZER": ("fg", "moving_fg", "all"),
    "DROP_EMPTY": ("before", "after", "never"),
}
OPTIMIZERS = ("SGD", "AdamW")
_FCOS_COUNTS = {
    "NUM_CLASSES": 1,
    "NUM_SHARED_CONVS": 0,
    "NUM_STACKED_CONVS": 0,
    "NMS_PRE_TOPK": 1,
    "NMS_POST_TOPK": 1,
    "NMS_PRE_TOPK_TRAIN": 1,
    "NMS_POST_TOPK_TRAIN": 1,
}
_FCOS_THRESHOLDS = (
    "SCORE_THRESH_TEST",
    "NMS_THRESH_TEST",
    "SCORE_THRESH_TRAIN",
    "NMS_THRESH_TRAIN",
)

# What LOGGERS may name; fcos.engine.loggers has the same ones (a test compares them).
LOGGERS = ("wandb", "mlflow")

# What the two numbers of INPUT.CROP.SIZE are: height and width as parts of the image's, the least
# of such parts, height and width in pixels, the least and the most pixels of both sides.
_CROP_SIZES = {
    "relative": "two numbers above 0 and at most 1",
    "relative_range": "two numbers above 0 and at most 1",
    "absolute": "two whole numbers of at least 1",
    "absolute_range": "two whole numbers of at least 1, the smaller one first",
}


# ---- INPUT ---------------------------------------------------------------------------------------


def check_pixels(cfg: CfgNode) -> None:
    """Refuse another INPUT.FORMAT than BGR or RGB, and means and deviations that do not fit it."""
    if cfg.INPUT.FORMAT not in ("BGR", "RGB"):
        raise UserError(f"INPUT.FORMAT is {cfg.INPUT.FORMAT}, but only BGR and RGB are known.")
    for key, values in (("PIXEL_MEAN", cfg.MODEL.PIXEL_MEAN), ("PIXEL_STD", cfg.MODEL.PIXEL_STD)):
        if len(values) != 3 or not all(map(is_number, values)):
            raise UserError(
                f"MODEL.{key} is {list(values)}: expected three numbers, for the channels of "
                f"{cfg.INPUT.FORMAT}."
            )
    if min(cfg.MODEL.PIXEL_STD) <= 0:
        raise UserError(
            f"MODEL.PIXEL_STD is {list(cfg.MODEL.PIXEL_STD)}, by which pixels are divided: set it "
            "to numbers above 0."
        )


def check_crop(cfg: CfgNode) -> None:
    """Refuse an enabled INPUT.CROP whose type or size is invalid."""
    node = cfg.INPUT.CROP
    if not node.ENABLED:
        return
    _require_one_of(_CROP_SIZES, "INPUT.CROP.TYPE", node.TYPE)
    size = tuple(node.SIZE)
    if len(size) != 2 or not all(map(is_number, size)) or not _fits(node.TYPE, *size):
        raise UserError(
            f"INPUT.CROP.SIZE is {list(size)}: INPUT.CROP.TYPE {node.TYPE} needs "
            f"{_CROP_SIZES[node.TYPE]}."
        )


def _fits(kind: str, first: float, second: float) -> bool:
    if kind.startswith("relative"):
        return 0 < first <= 1 and 0 < second <= 1
    are_pixels = all(isinstance(value, int) and value >= 1 for value in (first, second))
    return are_pixels and (kind == "absolute" or first <= second)


# ---- MODEL ---------------------------------------------------------------------------------------


def check_fcos(cfg: CfgNode) -> None:
    """Refuse values of MODEL.FCOS that are unknown, out of range, or contradict each other."""
    node = cfg.MODEL.FCOS
    check_region_classes(cfg)
    for key, choices in FCOS_CHOICES.items():
        _require_one_of(choices, f"MODEL.FCOS.{key}", node[key])
    for key, least in _FCOS_COUNTS.items():
        _require(node[key] >= least, f"MODEL.FCOS.{key}", node[key], f"{least} or more")
    for key in _FCOS_THRESHOLDS:
        _require(0 <= node[key] < 1, f"MODEL.FCOS.{key}", node[key], "a number within [0, 1)")
    distance = node.PRIOR_DISTANCE
    for key, value, is_right, expected in (
        ("PRIOR_PROB", node.PRIOR_PROB, 0 < node.PRIOR_PROB < 1, "a number within (0, 1)"),
        ("PRIOR_DISTANCE", distance, 0 <= distance < math.inf, "0 strides or more"),
        ("LOSS_ALPHA", node.LOSS_ALPHA, 0 <= node.LOSS_ALPHA <= 1, "a number within [0, 1]"),
        ("LOSS_GAMMA", node.LOSS_GAMMA, 0 <= node.LOSS_GAMMA < math.inf, "0 or more"),
    ):
        _require(is_right, f"MODEL.FCOS.{key}", value, expected)
    _check_assignment(node)
    if node.USE_DEFORMABLE and node.NUM_STACKED_CONVS == 0:
        raise UserError(
            "MODEL.FCOS.USE_DEFORMABLE is True, which makes the last convolution of each tower "
            "deformable, but MODEL.FCOS.NUM_STACKED_CONVS is 0: set that to 1 or more."
        )


def _check_assignment(node: CfgNode) -> None:
    if node.CENTER_SAMPLE and not node.POS_RADIUS > 0:  # NaN neither
        raise UserError(
            f"MODEL.FCOS.POS_RADIUS is {node.POS_RADIUS}: set it to more than 0 strides, or "
            "CENTER_SAMPLE to False, which makes all of a box positive."
        )
    sizes, levels = node.SIZES_OF_INTEREST, len(node.IN_FEATURES)
    if len(sizes) not in (0, levels - 1):
        raise UserError(
            f"MODEL.FCOS.SIZES_OF_INTEREST has {len(sizes)} limits: expected one fewer than there "
            f"are IN_FEATURES ({levels}), or none to derive them from FPN_STRIDES."
        )
    ends = [0.0, *sizes, math.inf]
    is_increasing = all(low < high for low, high in itertools.pairwise(ends))
    _require(is_increasing, "MODEL.FCOS.SIZES_OF_INTEREST", sizes, "increasing limits above 0")


def check_fpn(cfg: CfgNode) -> None:
    """Refuse values of MODEL.FPN and of the levels on top of it that no backbone can have."""
    node, channels = cfg.MODEL.FCOS, cfg.MODEL.FPN.OUT_CHANNELS
    _require_one_of((0, 1, 2), "MODEL.FCOS.TOP_LEVELS", node.TOP_LEVELS)
    _require_one_of(("p5", "res5"), "MODEL.FCOS.TOP_IN_FEATURE", node.TOP_IN_FEATURE)
    _require(channels >= 1, "MODEL.FPN.OUT_CHANNELS", channels, "1 or more")


def check_deformable_stages(cfg: CfgNode) -> None:
    """Refuse deformable stages that a ResNet cannot have."""
    node = cfg.MODEL.RESNETS
    stages = list(node.DEFORM_ON_PER_STAGE)
    expected = "one value for each of res2, res3, res4, res5"
    _require(len(stages) == 4, "MODEL.RESNETS.DEFORM_ON_PER_STAGE", stages, expected)
    if any(stages) and node.DEPTH < 50:
        raise UserError(
            f"MODEL.RESNETS.DEFORM_ON_PER_STAGE is {stages}, but the blocks of a ResNet of "
            f"{node.DEPTH} layers have no bottleneck; set MODEL.RESNETS.DEPTH to 50 or more."
        )


def check_boxes_only(cfg: CfgNode) -> None:
    """Refuse MODEL.MASK_ON where the detector has boxes only."""
    if cfg.MODEL.MASK_ON:
        raise UserError(
            "MODEL.MASK_ON is True, but OneStageDetector has boxes only: set "
            "MODEL.META_ARCHITECTURE GeneralizedRCNN and MODEL.ROI_HEADS.NAME "
            "FCOSMaskROIHeads, as configs/Mask_R_50_FPN_1x.yaml does, or MODEL.MASK_ON False."
        )


def check_mask_heads(cfg: CfgNode) -> None:
    """Refuse values of MODEL.ROI_HEADS and MODEL.ROI_MASK_HEAD that masks of FCOS cannot have."""
    regions, heads = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.ROI_HEADS
    of_boxes, of_masks = cfg.MODEL.FCOS.NUM_CLASSES, heads.NUM_CLASSES
    if of_boxes != of_masks:
        raise UserError(
            f"MODEL.ROI_HEADS.NUM_CLASSES is {of_masks}, but MODEL.FCOS.NUM_CLASSES is {of_boxes}: "
            "masks are of the classes that FCOS detects; set both to the number of classes of the "
            "data set."
        )
    per_image = heads.BATCH_SIZE_PER_IMAGE * heads.POSITIVE_FRACTION
    if per_image < 1:
        raise UserError(
            "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE times MODEL.ROI_HEADS.POSITIVE_FRACTION is "
            f"{per_image:g}, the most regions of an image that masks are learnt from: make it at "
            "least 1."
        )
    if cfg.MODEL.MASK_ON and regions.POOLER_RESOLUTION < 1:
        raise UserError(
            f"MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION is {regions.POOLER_RESOLUTION}, the side of "
            "the grid that a region is cut out as: set it to 1 or more; Mask R-CNN has 14."
        )


# ---- training ------------------------------------------------------------------------------------


def check_training_keys(cfg: CfgNode, processes: int) -> None:
    """Refuse values that would make a training fail, deep in it or after it.

    Args:
        cfg: after ``REFERENCE_WORLD_SIZE`` was applied.
        processes: number of processes that share a batch.
    """
    check_batch(cfg.SOLVER.IMS_PER_BATCH, processes)
    check_pixels(cfg)
    check_crop(cfg)
    check_loader(cfg)
    for key in ("MAX_ITER", "CHECKPOINT_PERIOD"):
        _require(cfg.SOLVER[key] >= 1, f"SOLVER.{key}", cfg.SOLVER[key], "1 or more")
    check_schedule(cfg)
    check_evaluations(cfg)
    check_optimizer(cfg)
    check_accumulation(cfg, processes)
    if cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        kind = cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE
        _require_one_of(("value", "norm"), "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind)
    _check_cpu(cfg)
    check_acceleration(cfg)
    check_displays(cfg)
    _check_results(cfg)


def check_schedule(cfg: CfgNode) -> None:
    """Refuse a factor that ends or reverses learning, and a warm-up that leaves no schedule."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME != "WarmupCosineLR":  # which has none
        _require(solver.GAMMA > 0, "SOLVER.GAMMA", solver.GAMMA, "a factor above 0, usually 0.1")
    is_left = solver.WARMUP_ITERS < solver.MAX_ITER or solver.RESCALE_INTERVAL
    if solver.LR_SCHEDULER_NAME == "WarmupStepWithFixedGammaLR" and not is_left:
        raise UserError(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, but SOLVER.MAX_ITER is "
            f"{solver.MAX_ITER}: WarmupStepWithFixedGammaLR needs a shorter warm-up; a twentieth "
            "of the training is usual."
        )


def check_displays(cfg: CfgNode) -> None:
    """Refuse a VIS_PERIOD below 0, and LOGGERS that are unknown or there twice."""
    _require(cfg.VIS_PERIOD >= 0, "VIS_PERIOD", cfg.VIS_PERIOD, "0 (no pictures) or more")
    names = list(cfg.LOGGERS)
    is_known = all(name in LOGGERS for name in names) and len({*names}) == len(names)
    expected = f"a list without repetition of {', '.join(map(repr, LOGGERS))}"
    _require(is_known, "LOGGERS", names, expected)


def check_evaluations(cfg: CfgNode) -> None:
    """Refuse values of what is done with evaluations, and with an average of weights."""
    node, metric = cfg.TEST, cfg.TEST.BEST_METRIC
    decay, expected = cfg.SOLVER.EMA_DECAY, "a number within [0, 1), such as 0.999; 0 is no average"
    _require(0 <= decay < 1, "SOLVER.EMA_DECAY", decay, expected)
    _require(node.PATIENCE >= 0, "TEST.PATIENCE", node.PATIENCE, "0 or more evaluations")
    if "_EMA/" in metric:
        raise UserError(
            f"TEST.BEST_METRIC is {metric}: set it to {metric.replace('_EMA/', '/')}, by which "
            "model_best.pth is chosen for the weights and model_best_ema.pth for their average."
        )
    if metric.startswith("validation/") and not node.VALIDATION_LOSS:
        raise UserError(
            f"TEST.BEST_METRIC is {metric}, which is computed with TEST.VALIDATION_LOSS True only: "
            "set that, or another metric."
        )
    if node.PATIENCE and not (node.EVAL_PERIOD and cfg.DATASETS.TEST):
        what = "TEST.EVAL_PERIOD is 0" if cfg.DATASETS.TEST else "DATASETS.TEST is empty"
        raise UserError(
            f"TEST.PATIENCE is {node.PATIENCE} evaluations, but {what}, so there are none to count "
            "during the training: set it, or TEST.PATIENCE 0."
        )
    if node.VALIDATION_LOSS and not cfg.DATASETS.TEST:
        raise UserError(
            "TEST.VALIDATION_LOSS is True, but DATASETS.TEST is empty: name a data set there, or "
            "set TEST.VALIDATION_LOSS False."
        )


def check_optimizer(cfg: CfgNode) -> None:
    """Refuse an unknown SOLVER.OPTIMIZER."""
    _require_one_of(OPTIMIZERS, "SOLVER.OPTIMIZER", cfg.SOLVER.OPTIMIZER)


def check_accumulation(cfg: CfgNode, processes: int) -> None:
    """Refuse a number of parts that the images of a process cannot be divided into."""
    steps, batch = cfg.SOLVER.ACCUMULATION_STEPS, cfg.SOLVER.IMS_PER_BATCH
    _require(steps >= 1, "SOLVER.ACCUMULATION_STEPS", steps, "1 or more")
    share = batch // processes
    if share % steps:
        divisors = [n for n in range(1, share + 1) if share % n == 0]
        raise UserError(
            f"SOLVER.ACCUMULATION_STEPS is {steps}, which cannot divide the {share} images that "
            f"each process has of SOLVER.IMS_PER_BATCH {batch}: set it to one of "
            f"{', '.join(map(str, divisors))}."
        )


def check_acceleration(cfg: CfgNode) -> None:
    """Refuse MODEL.COMPILE together with MODEL.ACTIVATION_CHECKPOINTING."""
    if cfg.MODEL.ACTIVATION_CHECKPOINTING and cfg.MODEL.COMPILE:
        raise UserError(
            "MODEL.COMPILE and MODEL.ACTIVATION_CHECKPOINTING are both True, but compiled code "
            "itself chooses what it computes again; set one of them to False."
        )


def check_reference(cfg: CfgNode) -> None:
    """Refuse a batch that the processes of SOLVER.REFERENCE_WORLD_SIZE could not have shared."""
    batch, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference and batch % reference:
        raise UserError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, by which SOLVER.IMS_PER_BATCH {batch} "
            "cannot be divided; set it to the number of processes that the config was written "
            "for, or to 0."
        )


def check_batch(images: int, processes: int) -> None:
    """Refuse a batch that cannot be shared.

    Args:
        images: the value of SOLVER.IMS_PER_BATCH.
        processes: number of processes that share a batch.
    """
    if images < 1 or images % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {images}, which {processes} processes cannot share equally; "
            f"set it to a multiple of {processes}, and scale SOLVER.BASE_LR with it."
        )


def check_loader(cfg: CfgNode) -> None:
    """Refuse an empty DATASETS.TRAIN and values of DATALOADER that cannot load it."""
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty: there is nothing to train on.")
    node = cfg.DATALOADER
    samplers = ("TrainingSampler", "RepeatFactorTrainingSampler")
    _require_one_of(samplers, "DATALOADER.SAMPLER_TRAIN", node.SAMPLER_TRAIN)
    _require(node.NUM_WORKERS >= 0, "DATALOADER.NUM_WORKERS", node.NUM_WORKERS, "0 or more")


def _check_cpu(cfg: CfgNode) -> None:
    """Refuse what torch cannot train on the CPU."""
    if cfg.MODEL.DEVICE != "cpu":
        return
    for part in ("FCOS", "RESNETS"):
        if cfg.MODEL[part].NORM == "SyncBN":
            raise UserError(
                f"MODEL.{part}.NORM is SyncBN, which torch trains on GPUs only, but MODEL.DEVICE "
                f"is cpu; set MODEL.{part}.NORM to BN."
            )
    # torch 2.11 takes the gradient of a 3x3 convolution of stride 2 on a single cell from memory
    # that nothing was written to, in bfloat16. Images of at most 64 pixels have such a P6.
    amp, least = cfg.SOLVER.AMP, min(cfg.INPUT.MIN_SIZE_TRAIN)
    if amp.ENABLED and amp.PRECISION == "bfloat16" and 0 < least <= 64:
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN has {least}, but torch's bfloat16 on the CPU has wrong "
            "gradients for images of at most 64 pixels; set it above 64, or SOLVER.AMP.ENABLED "
            "False."
        )


# ---- evaluation ----------------------------------------------------------------------------------


def check_evaluation_keys(cfg: CfgNode) -> None:
    """Refuse values that would make an evaluation fail."""
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: there is nothing to evaluate on.")
    check_pixels(cfg)
    _check_results(cfg)


def _check_results(cfg: CfgNode) -> None:
    check_images_per_batch(cfg)
    check_expected_results(cfg)
    if cfg.TEST.AUG.ENABLED:
        check_augmentation(cfg)


def check_images_per_batch(cfg: CfgNode) -> None:
    """Refuse batches without an image."""
    number = cfg.TEST.IMS_PER_BATCH
    _require(number >= 1, "TEST.IMS_PER_BATCH", number, "1 or more")


def check_augmentation(cfg: CfgNode) -> None:
    """Refuse TEST.AUG without views; warn of mirrored ones for a model that never learns any."""
    node = cfg.TEST.AUG
    sizes, most = node.MIN_SIZES, node.MAX_SIZE
    if not sizes or not all(isinstance(size, int) and size >= 1 for size in sizes):
        raise UserError(
            "TEST.AUG.MIN_SIZES: expected lengths of the shorter side in whole pixels, at least "
            f"one and each at least 1, got {tuple(sizes)}"
        )
    _require(most >= 1, "TEST.AUG.MAX_SIZE", most, "1 pixel or more")
    if node.FLIP and cfg.INPUT.RANDOM_FLIP != "horizontal":
        logger.warning(
            f"TEST.AUG.FLIP is True, but INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP}: the model "
            "does not learn mirrored images, so set TEST.AUG.FLIP False."
        )


def check_expected_results(cfg: CfgNode) -> None:
    """Refuse TEST.EXPECTED_RESULTS that could not be compared with the results, which come last."""
    rows = cfg.TEST.EXPECTED_RESULTS
    if rows and len(cfg.DATASETS.TEST) != 1:
        raise UserError(
            "TEST.EXPECTED_RESULTS is for the results of one data set, but DATASETS.TEST has "
            f"{len(cfg.DATASETS.TEST)}: set TEST.EXPECTED_RESULTS to []."
        )
    tasks = ["bbox"] + ["segm"] * bool(cfg.MODEL.MASK_ON)
    tasks += [f"{task}_TTA" for task in tasks] * bool(cfg.TEST.AUG.ENABLED)
    for row in rows:
        if not _is_expectation(row):
            raise UserError(
                f"TEST.EXPECTED_RESULTS has {row!r}: expected lists of task, metric, number and "
                "tolerance, such as ['bbox', 'AP', 38.5, 0.2]."
            )
        if row[0] not in tasks:
            raise UserError(
                f"TEST.EXPECTED_RESULTS has the task {row[0]!r}, but this evaluation gives "
                f"{' and '.join(tasks)} only."
            )


def _is_expectation(row: Any) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != 4:
        return False
    return all(isinstance(word, str) for word in row[:2]) and all(map(is_number, row[2:]))


# ---- words that they share -----------------------------------------------------------------------


def _require(is_right: bool, key: str, value: Any, expected: str) -> None:
    if not is_right:
        raise UserError(f"{key} is {value!r}: set it to {expected}.")


def _require_one_of(choices: Iterable[Any], key: str, value: Any) -> None:
    choices = tuple(choices)
    _require(value in choices, key, value, f"one of {', '.join(map(repr, choices))}")
