"""What several keys have to agree on in an evaluation; see :mod:`fcos.config.checks`."""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Sequence

from fcos.config.checks import check_detector
from fcos.config.config import CfgNode
from fcos.config.data_checks import check_input
from fcos.config.keys import check_keys
from fcos.config.keys.key import shown
from fcos.utils.errors import UserError
from fcos.utils.values import listed

logger = logging.getLogger(__name__)

# The figures of an evaluation, and the losses that TEST.BEST_METRIC may name.
_FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_LOSSES = re.compile(r"(validation/)?(total_loss|loss_\w+)")


def check_evaluation_keys(cfg: CfgNode) -> None:
    """Refuse values that would make an evaluation fail."""
    check_keys(cfg)
    if not cfg.DATASETS.TEST:
        raise UserError("DATASETS.TEST is empty: there is nothing to evaluate on.")
    check_detector(cfg)
    check_input(cfg)
    check_results(cfg)


def check_evaluations(cfg: CfgNode) -> None:
    """Refuse values of what is done with the evaluations of a training."""
    check_keys(cfg, "TEST.", "SOLVER.EMA_DECAY")
    node, metric = cfg.TEST, cfg.TEST.BEST_METRIC
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


def check_best_metric(cfg: CfgNode) -> None:
    """Refuse a TEST.BEST_METRIC that no evaluation of a training gives."""
    task, _, figure = cfg.TEST.BEST_METRIC.partition("/")
    if loss := _LOSSES.fullmatch(cfg.TEST.BEST_METRIC):
        _check_best_loss(cfg, loss[2])
    elif task not in _tasks(cfg) or not _is_figure(figure):
        known = [f"{task}/{figure}" for task in _tasks(cfg) for figure in _FIGURES]
        raise UserError(
            f"TEST.BEST_METRIC is {shown(cfg.TEST.BEST_METRIC)}, which no evaluation gives: set it "
            f"to one of {', '.join(known)}, to {known[0]}-NAME of a class, or to "
            "validation/total_loss (with TEST.VALIDATION_LOSS True)."
        )


def _check_best_loss(cfg: CfgNode, loss: str) -> None:
    """Refuse a loss that FCOS does not have; of other detectors any may be."""
    model = cfg.MODEL
    if (model.META_ARCHITECTURE, model.PROPOSAL_GENERATOR.NAME) != ("OneStageDetector", "FCOS"):
        return
    quality = "loss_fcos_iou" if model.FCOS.BOX_QUALITY == "iou" else "loss_fcos_ctr"
    known = ["total_loss", "loss_fcos_cls", "loss_fcos_loc", quality]
    if loss not in known:
        raise UserError(
            f"TEST.BEST_METRIC is {shown(cfg.TEST.BEST_METRIC)}, but this detector has no loss of "
            f"that name: set it to one of {', '.join(known)}, also with validation/ before it."
        )


def check_best_class(cfg: CfgNode, class_names: Sequence[str]) -> None:
    """Refuse a TEST.BEST_METRIC of a class that the data set lacks.

    Args:
        cfg: the config.
        class_names: of the data set that the best checkpoint is chosen on.
    """
    _, is_of_class, name = cfg.TEST.BEST_METRIC.partition("/AP-")
    if not is_of_class:
        return
    if len(class_names) < 2:
        raise UserError(
            f"TEST.BEST_METRIC is {shown(cfg.TEST.BEST_METRIC)}, but there is one class, whose AP "
            f"is {cfg.TEST.BEST_METRIC.partition('-')[0]}: set it to that."
        )
    # Of several classes with one name, each is called "NAME (id ID)".
    if name not in class_names and re.sub(r" \(id -?\d+\)$", "", name) not in class_names:
        near = difflib.get_close_matches(name, class_names, n=1)
        hint = f"; the nearest is {shown(near[0])}" if near else ""
        raise UserError(
            f"TEST.BEST_METRIC is {shown(cfg.TEST.BEST_METRIC)}, but {cfg.DATASETS.TEST[0]} has no "
            f"class {shown(name)}: its classes are {listed(class_names)}{hint}."
        )


def check_results(cfg: CfgNode) -> None:
    """Refuse values of TEST that an evaluation cannot have, or its results not be compared with."""
    check_expected_results(cfg)
    if cfg.TEST.AUG.ENABLED:
        check_augmentation(cfg)


def check_augmentation(cfg: CfgNode) -> None:
    """Refuse TEST.AUG without views; warn of mirrored ones for a model that never learns any."""
    check_keys(cfg, "TEST.AUG.")
    if cfg.TEST.AUG.FLIP and cfg.INPUT.RANDOM_FLIP != "horizontal":
        logger.warning(
            f"TEST.AUG.FLIP is True, but INPUT.RANDOM_FLIP is {cfg.INPUT.RANDOM_FLIP}: the model "
            "does not learn mirrored images, so set TEST.AUG.FLIP False."
        )


def check_expected_results(cfg: CfgNode) -> None:
    """Refuse TEST.EXPECTED_RESULTS that could not be compared with the results, which come last."""
    check_keys(cfg, "TEST.EXPECTED_RESULTS")
    rows = cfg.TEST.EXPECTED_RESULTS
    if rows and len(cfg.DATASETS.TEST) != 1:
        raise UserError(
            "TEST.EXPECTED_RESULTS is for the results of one data set, but DATASETS.TEST has "
            f"{len(cfg.DATASETS.TEST)}: set TEST.EXPECTED_RESULTS to []."
        )
    tasks = _tasks(cfg)
    tasks += [f"{task}_TTA" for task in tasks] * bool(cfg.TEST.AUG.ENABLED)
    for row in rows:
        if row[0] not in tasks:
            raise UserError(
                f"TEST.EXPECTED_RESULTS has the task {row[0]!r}, but this evaluation gives "
                f"{' and '.join(tasks)} only."
            )
        if not _is_figure(row[1]):
            raise UserError(
                f"TEST.EXPECTED_RESULTS has the metric {row[1]!r}, which no evaluation gives: set "
                f"it to one of {', '.join(_FIGURES)}, or to AP-NAME of a class."
            )


def _is_figure(name: str) -> bool:
    return name in _FIGURES or name.startswith(("AP-", "AR@"))


def _tasks(cfg: CfgNode) -> list[str]:
    is_of_proposals = cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork"
    return ["bbox"] + ["segm"] * bool(cfg.MODEL.MASK_ON) + ["box_proposals"] * is_of_proposals
