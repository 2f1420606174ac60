"""Draw what each rule of detection takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectron2.structures import Instances
from fcos.evaluation.pictures import COLORS, figure_style
from fcos.evaluation.teaching.canvas import draw_box, panels, plain, show_image
from fcos.evaluation.teaching.detecting import DetectionStep

__all__ = ["draw_detection_steps"]

_KEPT, _REMOVED = COLORS[0], COLORS[1]
_MOST_LABELS = 20  # boxes of a panel that have their class and score written on them


def draw_detection_steps(
    image: np.ndarray, steps: Sequence[DetectionStep], names: Sequence[str]
) -> Any:
    """Draw the detections that each rule keeps, and those that it takes away.

    Source: arXiv:1904.01355, Sec. 3.1 and 3.3.

    Args:
        image: (H, W, 3) uint8, blue, green, red, as large as the network input without its padding.
        steps: from :func:`fcos.evaluation.teaching.detection_steps`.
        names: of the classes.

    Returns:
        A figure of matplotlib with a panel for each step. Kept boxes are drawn in full lines,
        removed ones dashed, and the location of each as a dot or a cross.
    """
    with figure_style():
        figure, made = panels(len(steps), 2, image.shape[:2])
        for panel, step in zip(made, steps, strict=True):
            show_image(panel, image)
            if step.removed is not None:
                _draw(panel, step.removed, _REMOVED, ":", "x")
            _draw(panel, step.kept, _KEPT, "-", "o")
            if len(step.kept) <= _MOST_LABELS:
                _label(panel, step.kept, names)
            gone = step.num_before - len(step.kept)
            panel.set_title(
                f"{step.rule}\n{step.num_before:,} \N{RIGHTWARDS ARROW} {len(step.kept):,}"
                f" ({gone:,} taken away)",
                fontsize=9,
            )
    return figure


def _draw(panel: Any, found: Instances, color: str, line: str, marker: str) -> None:
    for box in found.pred_boxes.tensor.tolist():
        draw_box(panel, box, color, line, 1.0)
    xy = found.locations.numpy()
    panel.scatter(xy[:, 0], xy[:, 1], s=12, color=color, marker=marker, linewidths=0.9, zorder=3)


def _label(panel: Any, found: Instances, names: Sequence[str]) -> None:
    boxes = found.pred_boxes.tensor.tolist()
    classes, scores = found.pred_classes.tolist(), found.scores.tolist()
    for (x1, y1, _, _), class_, score in zip(boxes, classes, scores, strict=True):
        panel.annotate(
            plain(f"{names[class_]} {score:.2f}"),
            (max(0, x1), max(0, y1)),
            fontsize=7,
            color="white",
            va="bottom",
            annotation_clip=False,
            bbox={"facecolor": _KEPT, "edgecolor": "none", "pad": 1.0},
        )
