"""The job of ``fcos checkpoint thresholds``: scores to cut at, for a checkpoint that is there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from typing import Any

from fcos.checkpoint import (
    AdetCheckpointer,
    ScoreThresholds,
    add_thresholds,
    check_has_place,
    detector_cfg,
    read_checkpoint,
    weights_file,
)
from fcos.config import CfgNode
from fcos.config.detector_keys import has_square_roots, most_found_by
from fcos.data import register_custom_datasets
from fcos.data.register import note_classes
from fcos.engine.preflight import check_evaluation
from fcos.engine.trainer import Trainer
from fcos.evaluation import thresholds_of_results
from fcos.utils.device import check_device
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, keep_inputs
from fcos.utils.terminal import show_log

__all__ = ["write_thresholds"]


def write_thresholds(
    checkpoint: str,
    *,
    config_file: str | None = None,
    results: str | None = None,
    output: str | None = None,
    options: Sequence[str] = (),
    precision: float | None = None,
    recall: float | None = None,
) -> str:
    """Find the scores to cut at on the first data set of DATASETS.TEST, and write them.

    Args:
        checkpoint: the file, or the OUTPUT_DIR of a training: its best checkpoint or, without one,
            its last.
        config_file: None for that of the checkpoint (:func:`fcos.checkpoint.cfg_of_weights`).
        results: detections of this checkpoint on the data set, in COCO's results format; None to
            evaluate it now.
        output: a file to write; None to write into the checkpoint.
        options: keys and values that change the config.
        precision, recall: what the scores are to reach; without both, the best F1.

    Returns:
        What was written, in lines.

    Raises:
        UserError: something cannot be read, used or written, or there is no such score.
    """
    path = weights_file(checkpoint)
    check_has_place(path)
    if output is not None:
        keep_inputs(output, path)
    check_writable(os.path.dirname(output or path))
    cfg = _config_of(path, config_file, options)
    settings: dict[str, Any] = {"square_root": has_square_roots(cfg)}
    settings |= {"precision": precision, "recall": recall}
    found = _evaluate(cfg, settings) if results is None else _read(cfg, results, settings)
    if found is None or found.is_empty:
        why = f"no class has a score by {found.rule}" if found else "nothing was detected"
        raise UserError(f"On {cfg.DATASETS.TEST[0]}, {why}: nothing was written.")
    add_thresholds(path, found, output)
    names = read_checkpoint(path).get("class_names", ())
    return f"{found.table(names)}\nWritten to {output or path}."


def _config_of(path: str, config_file: str | None, options: Sequence[str]) -> CfgNode:
    show_log()
    cfg = detector_cfg(path, config_file, options)
    if not cfg.DATASETS.TEST:
        raise UserError(
            "DATASETS.TEST is empty, so there is nothing to find scores on: append --opts "
            "DATASETS.TEST \"('my_val',)\"."
        )
    cfg.DATASETS.TEST = cfg.DATASETS.TEST[:1]
    cfg.freeze()
    register_custom_datasets(cfg)
    return cfg


def _read(cfg: CfgNode, results: str, settings: dict[str, Any]) -> ScoreThresholds:
    (dataset,) = cfg.DATASETS.TEST
    note_classes(dataset)
    most = max(100, most_found_by(cfg))
    augmented = cfg.TEST.AUG.ENABLED
    return thresholds_of_results(results, dataset, most, augmented=augmented, **settings)


def _evaluate(cfg: CfgNode, settings: dict[str, Any]) -> ScoreThresholds | None:
    if cfg.TEST.AUG.ENABLED:
        raise UserError(
            "TEST.AUG.ENABLED is True: for its scores, give the detections of fcos eval by "
            "--results OUTPUT_DIR/inference_TTA/coco_instances_results.json."
        )
    check_device(cfg.MODEL.DEVICE)
    check_evaluation(cfg, resume=False)
    model = Trainer.build_model(cfg)
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(cfg.MODEL.WEIGHTS)
    checkpointer.coverage.require_all("Evaluation")
    with tempfile.TemporaryDirectory() as folder:
        evaluator = Trainer.build_evaluator(cfg, cfg.DATASETS.TEST[0], folder)
        Trainer.test(cfg, model, evaluator)
        return evaluator.score_thresholds(**settings)
