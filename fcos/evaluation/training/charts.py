"""Draw curves of trainings over their iterations, as SVG files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.pictures import COLORS, figure_style, svg_of
from fcos.evaluation.training.history import Series

__all__ = ["Line", "Panel", "draw_panels"]

_STYLES = ("-", "--", "-.", ":")
_MOST_POINTS = 400  # of a line: about one for each pixel that a panel has on a screen
_LOG_FROM = 50  # times that the largest value of a panel has the smallest one


@dataclasses.dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        label: for the legend; empty for none.
        series: what is drawn.
        color: number of the colour.
        style: number of the kind of line: solid, dashed, ...
        is_measured: points that are far apart, such as those of evaluations, have marks.
        marks_best: mark the largest value.
    """

    label: str
    series: Series
    color: int = 0
    style: int = 0
    is_measured: bool = False
    marks_best: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """One small figure.

    Attributes:
        title: what is drawn.
        lines: the curves.
        unit: of the values; empty for none.
        stacked: draw two lines of several points as areas, the second on top of the first.
        grows: values get larger, so that the lower right corner is free.
        may_be_log: use a logarithmic axis if the values are of many orders of magnitude.
    """

    title: str
    lines: list[Line]
    unit: str = ""
    stacked: bool = False
    grows: bool = False
    may_be_log: bool = False


def draw_panels(panels: Sequence[Panel], resumed: Sequence[Sequence[int]], end: int) -> list[bytes]:
    """Draw each panel as an SVG file. The same curves give the same bytes.

    Args:
        panels: what to draw.
        resumed: of each run, the iterations that it went on from after an interruption.
        end: where the axis of iterations ends.
    """
    with figure_style():
        return [_draw(panel, resumed, end) for panel in panels]


def thinned(series: Series) -> tuple[Series, np.ndarray, np.ndarray]:
    """Reduce a long series to its medians over equally many points, with the ranges of these.

    Returns:
        The medians, the smallest and the largest values; for a short series, three times itself.
        NaN and infinity are left out.
    """
    finite = series.finite
    if len(finite.values) <= _MOST_POINTS:
        return finite, finite.values, finite.values
    parts = np.array_split(np.arange(len(finite.values)), _MOST_POINTS)
    ordered = [np.sort(finite.values[part]) for part in parts]
    low, median, high = np.array([(v[0], v[len(v) // 2], v[-1]) for v in ordered]).T
    middle = np.array([finite.iterations[part[len(part) // 2]] for part in parts])
    # Where the training began and where it is now, not half a part beside these.
    middle[0], middle[-1] = finite.iterations[0], finite.iterations[-1]
    return Series(middle, median), low, high


def _draw(panel: Panel, resumed: Sequence[Sequence[int]], end: int) -> bytes:
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and opens windows
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    figure = Figure(figsize=(5.4, 2.9))
    axes: Any = figure.add_axes((0.115, 0.15, 0.835, 0.74))
    if panel.stacked and len(panel.lines[0].series.values) > 1:
        _stack(axes, panel.lines)
    else:
        for line in panel.lines:
            _plot(axes, line)
        _scale(axes, panel)
    _mark_resumed(axes, resumed)
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    unit = f", {panel.unit}" if panel.unit else ""
    axes.set_title(_text(f"{panel.title}{unit}"), loc="left")
    axes.set_xlabel("iteration")
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    labels = sum(1 for line in panel.lines if line.label)
    if labels:
        corner = "lower right" if panel.grows else "upper right"
        if not panel.grows and axes.get_yscale() == "linear":  # room for it above the curves
            low, high = axes.get_ylim()
            axes.set_ylim(top=low + (high - low) * (1.05 + 0.1 * labels))
        axes.legend(loc=corner, fontsize=8, framealpha=0.8, edgecolor="none")
    return svg_of(figure)


def _plot(axes: Any, line: Line) -> None:
    color = _color(line.color)
    series, low, high = thinned(line.series)
    if low is not high:
        axes.fill_between(series.iterations, low, high, color=color, alpha=0.2, linewidth=0)
    axes.plot(
        series.iterations,
        series.values,
        _STYLES[line.style % len(_STYLES)],
        color=color,
        linewidth=1.4,
        marker="o" if line.is_measured or len(series.values) == 1 else None,
        markersize=3,
        label=_text(line.label),
    )
    lost = line.series.iterations[~np.isfinite(line.series.values)]
    axes.plot(lost, [0.97] * len(lost), "x", color="#d00000", transform=axes.get_xaxis_transform())
    if line.marks_best and len(series.values):
        best = int(np.argmax(series.values))
        at, value = series.iterations[best], series.values[best]
        axes.plot(
            at,
            value,
            "*",
            color=color,
            markersize=12,
            markeredgecolor="white",
            zorder=5,
            clip_on=False,
        )


def _mark_resumed(axes: Any, resumed: Sequence[Sequence[int]]) -> None:
    across, limits = axes.get_xaxis_transform(), axes.get_ylim()
    for run, iterations in enumerate(resumed):
        color, number = _color(run), len(iterations)
        axes.vlines(iterations, 0, 1, color, "dotted", linewidth=0.7, transform=across)
        how = {"color": color, "markersize": 7, "markeredgecolor": "white", "zorder": 4}
        axes.plot(iterations, [0.02] * number, "^", transform=across, clip_on=False, **how)
    axes.set_ylim(limits)


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]


def _text(name: str) -> str:
    """Write a name so that matplotlib shows it: "$" begins a formula, "_" a hidden label."""
    return (" " if name.startswith("_") else "") + name.replace("$", r"\$")


def _stack(axes: Any, lines: Sequence[Line]) -> None:
    """Draw two lines as areas; they have the same iterations."""
    lower, upper = (thinned(line.series)[0] for line in lines)
    axes.fill_between(
        lower.iterations, 0, lower.values, color=COLORS[4], label=lines[0].label, linewidth=0
    )
    axes.fill_between(
        upper.iterations,
        lower.values,
        lower.values + upper.values,
        color=COLORS[5],
        label=lines[1].label,
        linewidth=0,
    )
    axes.set_ylim(bottom=0)


def _scale(axes: Any, panel: Panel) -> None:
    values = np.concatenate([line.series.finite.values for line in panel.lines])
    if not len(values) or values.min() < 0:
        return
    if panel.may_be_log and values.min() > 0 and values.max() > _LOG_FROM * values.min():
        axes.set_yscale("log")
    elif values.max() > 0:
        axes.set_ylim(0, 1.06 * values.max())
