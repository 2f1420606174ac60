"""What is looked at before the first iteration, so that a mistake costs seconds and not hours."""

from __future__ import annotations

import logging
import os

from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from fcos.checkpoint import read_checkpoint
from fcos.config import CfgNode
from fcos.config.checks import check_expected_results, check_pixels
from fcos.data import DatasetReport, check_datasets
from fcos.engine.acceleration import check_compiler
from fcos.engine.schedule import schedule_table
from fcos.modeling.backbone import starts_from_timm
from fcos.modeling.test_time_augmentation import check_augmentation
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError

__all__ = ["check_batch", "check_evaluation", "check_training"]

logger = logging.getLogger(__name__)


def check_training(cfg: CfgNode, resume: bool, check_all_images: bool) -> None:
    """Check data sets, weights and batch, then log what is in the data and what the schedule is.

    Every process calls this; the main one looks.

    Args:
        cfg: the config.
        resume: go on from OUTPUT_DIR where it has a checkpoint; then MODEL.WEIGHTS is not read.
        check_all_images: read every image, not only look for some of the files.

    Raises:
        UserError: something would make the training fail.
    """
    processes = comm.get_world_size()
    on_main(lambda: _check_reference(cfg))
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)

    def look() -> None:
        check_batch(cfg, processes)
        check_pixels(cfg)
        check_expected_results(cfg)
        _check_norms(cfg)
        _check_numbers(cfg)
        _check_small_images(cfg)
        if cfg.MODEL.COMPILE:
            check_compiler(cfg.MODEL.DEVICE)
        if cfg.TEST.AUG.ENABLED:
            check_augmentation(cfg)
        if not (resume and _has_checkpoint(cfg)):
            _check_start(cfg)
        reports = check_datasets(cfg, training=True, all_images=check_all_images)
        for report in dict.fromkeys(map(str, reports)):
            logger.info(report)
        images = _trained_images(cfg, reports[: len(cfg.DATASETS.TRAIN)])
        logger.info(f"Schedule\n{schedule_table(cfg, images, processes)}")

    on_main(look)


def check_evaluation(cfg: CfgNode, resume: bool) -> None:
    """Check data sets and weights of an evaluation; every process calls this.

    Args:
        cfg: the config.
        resume: evaluate the last checkpoint in OUTPUT_DIR where there is one.

    Raises:
        UserError: something would make the evaluation fail.
    """

    def look() -> None:
        if not cfg.DATASETS.TEST:
            raise UserError("DATASETS.TEST is empty: there is nothing to evaluate on.")
        if not cfg.MODEL.WEIGHTS and not (resume and _has_checkpoint(cfg)):
            raise UserError(
                "MODEL.WEIGHTS is empty, and a detector with random weights is not worth an "
                "evaluation; add MODEL.WEIGHTS model.pth, or --resume for the last checkpoint in "
                "OUTPUT_DIR."
            )
        check_pixels(cfg)
        check_expected_results(cfg)
        if cfg.TEST.AUG.ENABLED:
            check_augmentation(cfg)
        for report in check_datasets(cfg, training=False):
            logger.info(report)

    on_main(look)


def _check_reference(cfg: CfgNode) -> None:
    batch, reference = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference and batch % reference:
        raise UserError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, by which SOLVER.IMS_PER_BATCH {batch} "
            "cannot be divided; set it to the number of processes that the config was written "
            "for, or to 0."
        )


def check_batch(cfg: CfgNode, processes: int) -> None:
    """Refuse a batch that cannot be shared.

    Raises:
        UserError: SOLVER.IMS_PER_BATCH is no multiple of the number of processes.
    """
    if cfg.SOLVER.IMS_PER_BATCH < 1 or cfg.SOLVER.IMS_PER_BATCH % processes:
        raise UserError(
            f"SOLVER.IMS_PER_BATCH is {cfg.SOLVER.IMS_PER_BATCH}, which {processes} processes "
            f"cannot share equally; set it to a multiple of {processes}, and scale SOLVER.BASE_LR "
            "with it."
        )


def _check_numbers(cfg: CfgNode) -> None:
    """Numbers that fail only deep in the training, or after it."""
    for key, value, least in (
        ("SOLVER.MAX_ITER", cfg.SOLVER.MAX_ITER, 1),
        ("SOLVER.CHECKPOINT_PERIOD", cfg.SOLVER.CHECKPOINT_PERIOD, 1),
        ("DATALOADER.NUM_WORKERS", cfg.DATALOADER.NUM_WORKERS, 0),
    ):
        if value < least:
            raise UserError(f"{key} is {value}: set it to {least} or more.")
    if not cfg.DATASETS.TRAIN:
        raise UserError("DATASETS.TRAIN is empty: there is nothing to train on.")


def _check_norms(cfg: CfgNode) -> None:
    if cfg.MODEL.DEVICE != "cpu":
        return
    norms = {"MODEL.FCOS": cfg.MODEL.FCOS.NORM, "MODEL.RESNETS": cfg.MODEL.RESNETS.NORM}
    for node, norm in norms.items():
        if norm == "SyncBN":
            raise UserError(
                f"{node}.NORM is SyncBN, which torch trains on GPUs only, but MODEL.DEVICE is cpu; "
                f"set {node}.NORM to BN."
            )


def _check_small_images(cfg: CfgNode) -> None:
    """torch 2.11 takes the gradient of a 3x3 convolution of stride 2 on a single cell from memory
    that nothing was written to, on the CPU in bfloat16. Images of at most 64 pixels have such a P6.
    """
    amp, least = cfg.SOLVER.AMP, min(cfg.INPUT.MIN_SIZE_TRAIN)
    is_affected = amp.ENABLED and amp.PRECISION == "bfloat16" and cfg.MODEL.DEVICE == "cpu"
    if is_affected and 0 < least <= 64:
        raise UserError(
            f"INPUT.MIN_SIZE_TRAIN has {least}, but torch's bfloat16 on the CPU has wrong "
            "gradients for images of at most 64 pixels; set it above 64, or SOLVER.AMP.ENABLED "
            "False."
        )


def _check_start(cfg: CfgNode) -> None:
    """The weights that the training starts from, unless it starts from random ones."""
    if cfg.MODEL.WEIGHTS:
        read_checkpoint(cfg.MODEL.WEIGHTS)
    elif not starts_from_timm(cfg):
        _warn_of_fixed_parts(cfg)


def _warn_of_fixed_parts(cfg: CfgNode) -> None:
    """A backbone of random weights should have no part that is not trained."""
    if cfg.MODEL.BACKBONE.FREEZE_AT > 0:
        logger.warning(
            f"MODEL.WEIGHTS is empty, but MODEL.BACKBONE.FREEZE_AT is "
            f"{cfg.MODEL.BACKBONE.FREEZE_AT}: those first stages stay at random for the whole "
            "training; set it to 0, or give weights."
        )
    part = "TIMM" if "timm" in cfg.MODEL.BACKBONE.NAME else "RESNETS"
    if cfg.MODEL[part].NORM == "FrozenBN":
        logger.warning(
            f"MODEL.WEIGHTS is empty, but MODEL.{part}.NORM is FrozenBN: batch normalisation, "
            "where the backbone has it, normalises nothing for the whole training; set it to BN, "
            "or give weights."
        )


def _trained_images(cfg: CfgNode, reports: list[DatasetReport]) -> int:
    images = sum(report.num_images for report in reports)
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        images -= sum(report.num_empty_images for report in reports)
    return images


def _has_checkpoint(cfg: CfgNode) -> bool:
    return os.path.isfile(os.path.join(cfg.OUTPUT_DIR, "last_checkpoint"))
