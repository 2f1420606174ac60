"""Draw what each rule of detection takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectron2.structures import Instances
from fcos.evaluation.pictures import COLORS, figure_style
from fcos.evaluation.teaching.canvas import draw_box, panels, show_image, write_on_box
from fcos.evaluation.teaching.detecting import DetectionStep

__all__ = ["draw_detection_steps"]

_KEPT, _REMOVED = COLORS[0], COLORS[1]
_LABELLED = 0.5  # score from which the last panel names a detection


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
        removed ones dotted, and the location of each as a dot or a cross; the lower the score, the
        paler. The last panel names the detections with a score of at least 0.5.
    """
    with figure_style():
        figure, made = panels(len(steps), 2, image.shape[:2])
        for panel, step in zip(made, steps, strict=True):
            show_image(panel, image)
            if step.removed is not None:
                _draw(panel, step.removed, _REMOVED, ":", "x")
            _draw(panel, step.kept, _KEPT, "-", "o")
            gone = step.num_before - len(step.kept)
            panel.set_title(
                f"{step.rule}\n{step.num_before:,} \N{RIGHTWARDS ARROW} {len(step.kept):,}"
                f" ({gone:,} taken away)",
                fontsize=9,
            )
        _label(made[-1], steps[-1].kept, names)
    return figure


def _draw(panel: Any, found: Instances, color: str, line: str, marker: str) -> None:
    if not len(found):
        return
    scores = found.scores.tolist()
    for box, score in zip(found.pred_boxes.tensor.tolist(), scores, strict=True):
        draw_box(panel, box, color, line, 1.1, alpha=0.15 + 0.85 * score)
    xy = found.locations.numpy()
    style = {"s": 13, "color": color, "marker": marker, "linewidths": 0.9, "zorder": 3}
    panel.scatter(xy[:, 0], xy[:, 1], alpha=[0.3 + 0.7 * score for score in scores], **style)


def _label(panel: Any, found: Instances, names: Sequence[str]) -> None:
    found = found[found.scores >= _LABELLED]
    boxes = found.pred_boxes.tensor.tolist()
    classes, scores = found.pred_classes.tolist(), found.scores.tolist()
    for box, class_, score in zip(boxes, classes, scores, strict=True):
        write_on_box(panel, box, f"{names[class_]} {score:.2f}", _KEPT)
