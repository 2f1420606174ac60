"""The figures of the page, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.diagnosis.scores import SCORES, Reliability, ScoreCurve
from fcos.evaluation.pictures import COLORS, figure_style, svg_of

__all__ = ["MOST_LINES", "draw_reliability", "draw_scores"]

MOST_LINES = 6  # classes that have a colour of their own
_LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def draw_scores(curves: Sequence[ScoreCurve], names: Sequence[str], score: float) -> bytes:
    """Draw precision, recall and F1 of all classes together, and F1 of each class.

    Args:
        curves: of :func:`fcos.evaluation.diagnosis.scores.score_curves`.
        names: of the classes.
        score: of the page, which is marked.
    """
    from matplotlib.figure import Figure

    together, *classes = curves
    with figure_style():
        figure = Figure(figsize=(11, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        lines = {"precision": together.precision, "recall": together.recall, "F1": together.f1}
        for number, (name, values) in enumerate(lines.items()):
            left.plot(
                SCORES,
                values,
                linestyle=_LINES[number],
                color=COLORS[number],
                label=name,
                linewidth=1.8,
            )
        left.set_title("all classes together")
        most = np.argsort([-curve.objects for curve in classes], kind="stable")[:MOST_LINES]
        for place, curve in enumerate(classes):
            if place not in most:
                right.plot(SCORES, curve.f1, color="#bbbbbb", linewidth=0.7)
        for number, place in enumerate(most.tolist()):
            text = names[place].replace("$", r"\$")  # to matplotlib, "$" begins a formula
            right.plot(
                SCORES,
                classes[place].f1,
                linestyle=_LINES[number],
                color=COLORS[number],
                label=text,
                linewidth=1.6,
            )
        others = ", others gray" if len(classes) > MOST_LINES else ""
        right.set_title(f"F1 of each class{others}")
        for panel in (left, right):
            panel.axvline(score, color="#333333", linewidth=1, linestyle=(0, (1, 1)))
            panel.set(xlabel="score from which detections are kept", xlim=(0, 1), ylim=(0, 1.02))
            panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), frameon=False, ncols=3)
            _finish(panel)
        return svg_of(figure)


def draw_reliability(of: Reliability) -> bytes:
    """Draw the share of right detections over the score, and how many detections there are."""
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(11, 3), layout="constrained")
        left, right = figure.subplots(1, 2)
        used = [each for each in of.bins if each.number]
        left.plot([0, 1], [0, 1], color="#333333", linewidth=1, linestyle=(0, (4, 2)))
        left.bar(
            [each.lower for each in used],
            [each.precision for each in used],
            [each.upper - each.lower for each in used],
            align="edge",
            color=COLORS[5],
            edgecolor="white",
        )
        left.plot(
            [each.score for each in used],
            [each.precision for each in used],
            "o",
            color=COLORS[0],
            markersize=4,
        )
        left.set(xlabel="score", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02))
        right.bar(
            [each.lower for each in of.bins],
            [each.number for each in of.bins],
            [each.upper - each.lower for each in of.bins],
            align="edge",
            color="#8a8a8a",
            edgecolor="white",
        )
        right.set(xlabel="score", ylabel="detections", xlim=(0, 1))
        right.yaxis.get_major_locator().set_params(integer=True)
        for panel in (left, right):
            _finish(panel)
        return svg_of(figure)


def _finish(panel: Any) -> None:
    panel.grid(color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
