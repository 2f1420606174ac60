"""COCO's average precision and recall, and their curves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tabulate import tabulate

from fcos.evaluation.cocoeval import Evaluated

__all__ = [
    "CURVES",
    "METRICS",
    "class_figures",
    "curves",
    "differences",
    "distinct_names",
    "figures",
    "summary_lines",
    "table_of_classes",
]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR", "ARs", "ARm", "ARl")
CURVES = ("IoU 0.50", "IoU 0.75", "IoU 0.50 to 0.95, mean")

_IOU_50, _IOU_75 = 0, 5  # index of COCOeval's IoU thresholds 0.50, 0.55, ..., 0.95
_AREAS = {"s": 1, "m": 2, "l": 3}  # index of COCOeval's ranges; 0 is all areas


def figures(evaluated: Evaluated, class_: int | None = None) -> dict[str, float]:
    """Compute the twelve figures of COCO.

    Args:
        evaluated: from :meth:`fcos.evaluation.cocoeval.GroundTruth.evaluate`.
        class_: index of one class; None for the mean over all that have objects.

    Returns:
        METRICS in percent, NaN where there is nothing to measure. AP and AR are means over IoU
        0.50, 0.55, ..., 0.95; s, m and l take objects below 32^2, between, and from 96^2 square
        pixels; AR1 and AR10 let an image have 1 and 10 detections per class, AR all that count.
    """
    classes = slice(None) if class_ is None else slice(class_, class_ + 1)
    precision = evaluated.precision[:, :, classes]
    recall = evaluated.recall[:, classes]
    found = {
        "AP": precision[:, :, :, 0, -1],
        "AP50": precision[_IOU_50, :, :, 0, -1],
        "AP75": precision[_IOU_75, :, :, 0, -1],
        "AR1": recall[:, :, 0, 0],
        "AR10": recall[:, :, 0, 1],
        "AR": recall[:, :, 0, -1],
        **{f"AP{size}": precision[:, :, :, i, -1] for size, i in _AREAS.items()},
        **{f"AR{size}": recall[:, :, i, -1] for size, i in _AREAS.items()},
    }
    return {name: _mean_percent(found[name]) for name in METRICS}


def class_figures(evaluated: Evaluated) -> list[dict[str, float]]:
    """Compute :func:`figures` of every class, in the order of the category ids."""
    return [figures(evaluated, index) for index in range(evaluated.precision.shape[2])]


def curves(evaluated: Evaluated) -> dict[str, np.ndarray]:
    """Compute precision over recall, the mean over the classes that have objects.

    Returns:
        CURVES to 101 precisions in [0, 1] at recalls 0, 0.01, ..., 1; NaN if there is no object.
        Their mean is AP50, AP75 and AP. At each recall the highest precision at this recall or
        beyond is taken, as COCO does.
    """
    precision = evaluated.precision[:, :, :, 0, -1]
    has_objects = (precision > -1).all(axis=(0, 1))
    if not has_objects.any():
        return {name: np.full(precision.shape[1], np.nan) for name in CURVES}
    mean = precision[:, :, has_objects].mean(axis=2)
    return dict(zip(CURVES, (mean[_IOU_50], mean[_IOU_75], mean.mean(axis=0)), strict=True))


def differences(of: dict[str, float], to: dict[str, float]) -> dict[str, float]:
    """Subtract ``to`` from ``of``, figure by figure; NaN where one of them is."""
    return {name: of[name] - to[name] for name in of}


def summary_lines(overall: Mapping[str, float], max_dets: int) -> list[str]:
    """Write the twelve figures as pycocotools prints them.

    Args:
        overall: from :func:`figures`, in percent.
        max_dets: the highest limit of detections.

    Returns:
        One line for each, from 0 to 1; -1 where there is nothing to measure.
    """
    sizes = {"s": "small", "m": "medium", "l": "large"}
    ious, limits = {"50": "0.50", "75": "0.75"}, {"1": 1, "10": 10}
    lines = []
    for name, value in overall.items():
        kind, rest = name[:2], name[2:]
        title = "Average Precision  (AP)" if kind == "AP" else "Average Recall     (AR)"
        iou = ious.get(rest, "0.50:0.95") if kind == "AP" else "0.50:0.95"
        limit = limits.get(rest, max_dets)
        number = -1 if np.isnan(value) else value / 100
        lines.append(
            f" {title} @[ IoU={iou:<9} | area={sizes.get(rest, 'all'):>6s} | "
            f"maxDets={limit:>3d} ] = {number:0.3f}"
        )
    return lines


def distinct_names(names: Sequence[str], category_ids: Sequence[Any]) -> list[str]:
    """Add the category id to names that several classes have."""
    counts = Counter(names)
    return [
        name if counts[name] == 1 else f"{name} (id {id_})"
        for name, id_ in zip(names, category_ids, strict=True)
    ]


def table_of_classes(per_class: Mapping[str, float]) -> str:
    """Lay out names and numbers in up to three pairs of columns."""
    cells = [cell for row in per_class.items() for cell in row]
    width = min(6, len(cells))
    return tabulate(
        [cells[i : i + width] for i in range(0, len(cells), width)],
        headers=["category", "AP"] * (width // 2),
        tablefmt="pipe",
        floatfmt=".3f",
        numalign="left",
    )


def _mean_percent(values: np.ndarray) -> float:
    measured = values[values > -1]  # -1 marks classes and areas without objects
    return float(measured.mean() * 100) if measured.size else float("nan")
