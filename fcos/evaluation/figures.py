"""Average precision and recall, and their curves, computed by pycocotools as COCOEvaluator does."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["CURVES", "METRICS", "class_figures", "curves", "differences", "figures", "run_cocoeval"]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")
# Curve: its IoU threshold; None for the mean over 0.50, 0.55, ..., 0.95.
CURVES = {"IoU 0.50": 0.5, "IoU 0.75": 0.75, "IoU 0.50 to 0.95, mean": None}

_AREAS = {"s": 1, "m": 2, "l": 3}  # index of COCOeval's ranges; 0 is all areas


def run_cocoeval(coco: Any, results: Sequence[dict[str, Any]], task: str, max_dets: int) -> Any:
    """COCO's evaluation of one run.

    Args:
        coco: ``pycocotools.coco.COCO`` of the annotations.
        results: at least one detection in COCO's results format; not changed.
        task: "bbox" or "segm".
        max_dets: the best so many detections of an image and class count; at least 10.

    Returns:
        ``pycocotools.cocoeval.COCOeval`` with per-image and accumulated results.
    """
    from pycocotools.cocoeval import COCOeval

    # Of a detection with a box, pycocotools takes the area from that box, whatever the task is:
    # a mask's size must come from the mask.
    unused = "bbox" if task == "segm" else "segmentation"
    results = [{k: v for k, v in result.items() if k != unused} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
        coco_eval = COCOeval(coco, coco.loadRes(results), task)
        coco_eval.params.maxDets = [1, 10, max_dets]
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval


def figures(coco_eval: Any, class_: int | None = None) -> dict[str, float]:
    """The twelve figures of COCO.

    Args:
        coco_eval: from :func:`run_cocoeval`.
        class_: index of one class; None for the mean over all that have objects.

    Returns:
        METRICS in percent, NaN where there is nothing to measure. AP and AR are means over IoU
        0.50, 0.55, ..., 0.95; s, m and l take objects below 32^2, between, and from 96^2 square
        pixels; AR1 and AR10 let an image have 1 and 10 detections per class, AR all that count.
    """
    classes = slice(None) if class_ is None else slice(class_, class_ + 1)
    # precision: (IoU thresholds, recalls, classes, areas, limits); recall has no second axis.
    precision = coco_eval.eval["precision"][:, :, classes]
    recall = coco_eval.eval["recall"][:, classes]
    found = {
        "AP": precision[:, :, :, 0, -1],
        "AP50": precision[_threshold(coco_eval, 0.5), :, :, 0, -1],
        "AP75": precision[_threshold(coco_eval, 0.75), :, :, 0, -1],
        "AR1": recall[:, :, 0, 0],
        "AR10": recall[:, :, 0, 1],
        "AR": recall[:, :, 0, -1],
        **{f"AP{size}": precision[:, :, :, i, -1] for size, i in _AREAS.items()},
        **{f"AR{size}": recall[:, :, i, -1] for size, i in _AREAS.items()},
    }
    return {name: _mean_percent(found[name]) for name in METRICS}


def class_figures(coco_eval: Any) -> list[dict[str, float]]:
    """:func:`figures` of every class, in the order of the category ids."""
    return [figures(coco_eval, index) for index in range(len(coco_eval.params.catIds))]


def curves(coco_eval: Any) -> dict[str, np.ndarray]:
    """Precision over recall, as the mean over the classes that have objects.

    Returns:
        CURVES to 101 precisions in [0, 1] at recalls 0, 0.01, ..., 1; NaN if there is no object.
        Their mean is AP50, AP75 and AP. At each recall the highest precision at this recall or
        beyond is taken, as COCO does.
    """
    precision = coco_eval.eval["precision"][:, :, :, 0, -1]
    has_objects = (precision > -1).all(axis=(0, 1))
    if not has_objects.any():
        return {name: np.full(precision.shape[1], np.nan) for name in CURVES}
    mean = precision[:, :, has_objects].mean(axis=2)
    return {
        name: mean.mean(axis=0) if iou is None else mean[_threshold(coco_eval, iou)]
        for name, iou in CURVES.items()
    }


def differences(of: dict[str, float], to: dict[str, float]) -> dict[str, float]:
    """Figure by figure ``of`` minus ``to``; NaN where one of them is."""
    return {name: of[name] - to[name] for name in of}


def _threshold(coco_eval: Any, iou: float) -> int:
    return int(np.abs(coco_eval.params.iouThrs - iou).argmin())


def _mean_percent(values: np.ndarray) -> float:
    measured = values[values > -1]  # -1 marks classes and areas without objects
    return float(measured.mean() * 100) if measured.size else float("nan")
