"""The page of a comparison."""

from __future__ import annotations

import math

from fcos.evaluation.comparison import Comparison, Task
from fcos.evaluation.pictures import COLORS, WRONG, draw_curves
from fcos.evaluation.rendering import render
from fcos.utils.values import in_words

__all__ = ["render_page"]


def render_page(comparison: Comparison) -> str:
    """Fill in templates/comparison.html; every name in it is escaped."""
    colors = {label: COLORS[i % len(COLORS)] for i, label in enumerate(comparison.labels)}
    truth, tasks = comparison.truth, comparison.tasks
    return render(
        "comparison.html",
        comparison=comparison,
        colors=colors,
        curves={task.name: _curves(task, colors) for task in tasks},
        largest_changes={task.name: _largest_change(task) for task in tasks},
        num_objects=[
            len(truth.coco.getAnnIds(catIds=[i], iscrowd=False)) for i in truth.category_ids
        ],
        wrong=WRONG,
        in_words=in_words,
    )


def _curves(task: Task, colors: dict[str, str]) -> bytes:
    curves = dict(zip(task.labels, task.curves, strict=True))
    return draw_curves(curves, [colors[label] for label in task.labels])


def _largest_change(task: Task) -> float:
    """Return the largest change of a class's AP from the baseline, to scale the bars by."""
    changes = [
        abs(of_class["AP"] - of_baseline["AP"])
        for of_run in task.classes[1:]
        for of_class, of_baseline in zip(of_run, task.classes[0], strict=True)
    ]
    return max(filter(math.isfinite, changes), default=0.0)
