"""What pycocotools computes, and the figures that are read from it."""

from __future__ import annotations

import contextlib
import copy
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

logger = logging.getLogger("detectron2.evaluation.coco_evaluation")


def run_coco_api(
    ground_truth: Any,
    results: list[dict[str, Any]],
    task: str,
    img_ids: Sequence[Any] | None,
    max_dets: int,
) -> Any:
    """pycocotools' evaluation, accumulated over the images."""
    from pycocotools.cocoeval import COCOeval

    if task == "segm":
        if not all("segmentation" in result for result in results):
            raise ValueError("COCOEvaluator: the task 'segm' needs predictions with pred_masks")
        # With a box, pycocotools would take the size of an object from it, not from the mask.
        results = [{k: v for k, v in result.items() if k != "bbox"} for result in results]
    else:
        results = copy.deepcopy(results)  # loadRes adds to what it is given
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
        coco_eval = COCOeval(ground_truth, ground_truth.loadRes(results), task)
        coco_eval.params.maxDets = [1, 10, max_dets]
        if img_ids is not None:
            coco_eval.params.imgIds = img_ids
        coco_eval.evaluate()
        coco_eval.accumulate()
    if max_dets == 100:  # COCO's own table knows no other limit
        with contextlib.redirect_stdout(io.StringIO()) as table:
            coco_eval.summarize()
        logger.info("COCO's summary for %s:\n%s", task, table.getvalue().rstrip())
    return coco_eval


def ap(coco_eval: Any, iou: float | None = None, area: int = 0, class_: int | None = None) -> float:
    """The mean of the precisions in percent; NaN if there is not one.

    Args:
        coco_eval: what was accumulated; its precision is (IoU thresholds, recalls, classes, ranges
            of areas, limits of detections), -1 where there are no objects.
        iou: the threshold; None for all.
        area: the range of areas; 0 for all areas.
        class_: None for all classes.
    """
    precision = coco_eval.eval["precision"][:, :, :, area, -1]
    if iou is not None:
        precision = precision[np.isclose(coco_eval.params.iouThrs, iou)]
    if class_ is not None:
        precision = precision[:, :, class_]
    measured = precision[precision > -1]
    return float(measured.mean() * 100) if measured.size else float("nan")


def table_of_classes(per_class: Mapping[str, float]) -> str:
    cells = [cell for row in per_class.items() for cell in row]
    n_columns = min(6, len(cells))
    return tabulate(
        [cells[i : i + n_columns] for i in range(0, len(cells), n_columns)],
        headers=["category", "AP"] * (n_columns // 2),
        tablefmt="pipe",
        floatfmt=".3f",
        numalign="left",
    )
