"""A comparison as one HTML file that needs no other file, server, script or font."""

from __future__ import annotations

import base64
import math

from fcos.evaluation.comparison import Comparison, Task, in_words
from fcos.evaluation.pictures import COLORS, WRONG, draw_curves

__all__ = ["render_page", "signed"]

_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def render_page(comparison: Comparison) -> str:
    """Fill in templates/comparison.html; every name in it is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("fcos.evaluation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, signed=signed, thousands="{:,}".format)
    environment.tests["finite"] = math.isfinite
    environment.globals.update(data_url=_data_url, in_words=in_words, zip=zip)
    colors = {label: COLORS[i % len(COLORS)] for i, label in enumerate(comparison.labels)}
    truth, tasks = comparison.truth, comparison.tasks
    return environment.get_template("comparison.html").render(
        comparison=comparison,
        colors=colors,
        curves={task.name: _curves(task, colors) for task in tasks},
        largest_changes={task.name: _largest_change(task) for task in tasks},
        num_objects=[
            len(truth.coco.getAnnIds(catIds=[i], iscrowd=False)) for i in truth.category_ids
        ],
        wrong=WRONG,
    )


def signed(value: float) -> str:
    """Write a difference with one digit and its sign: +1.2, \N{MINUS SIGN}0.4, 0.0, or a dash."""
    if not math.isfinite(value):
        return _DASH
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return text
    return ("+" if value > 0 else _MINUS) + text


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else _DASH


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


def _data_url(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
