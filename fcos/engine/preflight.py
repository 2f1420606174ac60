"""What is checked before the first iteration, so that a mistake costs seconds and not hours.

The checks of values are in :mod:`fcos.config`; what asks the machine is here.
"""

from __future__ import annotations

import logging

from detectron2.engine import DefaultTrainer
from detectron2.utils import comm
from fcos.checkpoint import read_checkpoint
from fcos.checkpoint.last import find_last_checkpoint
from fcos.config import CfgNode
from fcos.config.evaluation_checks import check_best_class, check_evaluation_keys
from fcos.config.training_checks import check_reference, check_training_keys
from fcos.config.unused import warn_of_unused
from fcos.data import DatasetReport, check_augmentations, check_datasets
from fcos.engine.acceleration import check_compiler
from fcos.engine.loggers import check_loggers_installed
from fcos.engine.schedule import doubts, schedule_table
from fcos.modeling.backbone import check_timm_backbone, starts_from_timm
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError, config_errors

__all__ = ["check_evaluation", "check_training"]

logger = logging.getLogger(__name__)


def check_training(cfg: CfgNode, resume: bool, check_all_images: bool) -> None:
    """Check data sets, weights and batch, then log what is in the data and what the schedule is.

    Every process calls this; the main one looks.

    Args:
        cfg: the config.
        resume: go on from OUTPUT_DIR where it has a checkpoint; then MODEL.WEIGHTS is not read.
        check_all_images: decode every image, also if that takes longer than a minute.

    Raises:
        UserError: something would make the training fail.
    """
    processes = comm.get_world_size()
    on_main(lambda: check_reference(cfg))
    cfg = DefaultTrainer.auto_scale_workers(cfg, processes)

    def look() -> None:
        check_training_keys(cfg, processes)
        check_augmentations(cfg)
        check_timm_backbone(cfg)
        check_loggers_installed(cfg.LOGGERS)
        warn_of_unused(cfg)
        if cfg.MODEL.COMPILE:
            check_compiler(cfg.MODEL.DEVICE)
        if not (resume and find_last_checkpoint(cfg.OUTPUT_DIR)):
            _check_start(cfg)
        reports = check_datasets(cfg, training=True, all_images=check_all_images)
        for report in dict.fromkeys(map(str, reports)):
            logger.info(report)
        trained, evaluated = reports[: len(cfg.DATASETS.TRAIN)], reports[len(cfg.DATASETS.TRAIN) :]
        if evaluated:
            check_best_class(cfg, evaluated[0].class_names)
        images = _trained_images(cfg, trained)
        with config_errors():
            logger.info(f"Schedule\n{schedule_table(cfg, images, processes)}")
        for doubt in doubts(cfg, bool(cfg.MODEL.WEIGHTS) or starts_from_timm(cfg)):
            logger.warning(doubt)

    on_main(look)


def check_evaluation(cfg: CfgNode, resume: bool, check_all_images: bool = False) -> None:
    """Check data sets and weights of an evaluation; every process calls this.

    Args:
        cfg: the config.
        resume: evaluate the last checkpoint in OUTPUT_DIR where there is one.
        check_all_images: decode every image, not only a sample.

    Raises:
        UserError: something would make the evaluation fail.
    """

    def look() -> None:
        check_evaluation_keys(cfg)
        check_timm_backbone(cfg)
        warn_of_unused(cfg, training=False)
        if not cfg.MODEL.WEIGHTS and not (resume and find_last_checkpoint(cfg.OUTPUT_DIR)):
            raise UserError(
                "MODEL.WEIGHTS is empty, and a detector with random weights is not worth an "
                "evaluation; add MODEL.WEIGHTS model.pth, or --resume for the last checkpoint in "
                "OUTPUT_DIR."
            )
        for report in check_datasets(cfg, training=False, all_images=check_all_images, seconds=0):
            logger.info(report)

    on_main(look)


def _check_start(cfg: CfgNode) -> None:
    """Check the weights that the training starts from; warn where it starts from random ones."""
    if cfg.MODEL.WEIGHTS:
        read_checkpoint(cfg.MODEL.WEIGHTS)
    elif not starts_from_timm(cfg):
        _warn_of_fixed_parts(cfg)


def _warn_of_fixed_parts(cfg: CfgNode) -> None:
    """Warn of a backbone of random weights that has a part that is not trained."""
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
