"""Histograms of a data set, as SVG files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.dataset.assignment import FATES, Assigned
from fcos.evaluation.dataset.objects import Inputs, Objects
from fcos.evaluation.pictures import COLORS, figure_style, svg_of

__all__ = ["FATE_COLORS", "draw_contents", "draw_learning"]

FATE_COLORS = dict(zip(FATES, (COLORS[2], COLORS[1], COLORS[3], COLORS[4], COLORS[0]), strict=True))
_FILE, _INPUT = "#8a8a8a", COLORS[0]


def draw_contents(training: Sequence[Objects]) -> bytes:
    """Draw the sizes of objects, their shapes, and how many of them an image has.

    Args:
        training: the objects of each training set, at least one of them with objects.
    """
    from matplotlib.figure import Figure

    sides = np.concatenate([objects.sides for objects in training])
    per_image = np.concatenate([objects.per_image for objects in training])
    with figure_style():
        figure = Figure(figsize=(11, 2.7), layout="constrained")
        size, shape, number = figure.subplots(1, 3)
        _histogram(size, [np.sqrt(sides.prod(axis=1))], _octaves(3), [_FILE])
        _scale(size, "square root of the area, pixels of the file", "objects")
        _histogram(shape, [sides[:, 0] / sides[:, 1]], _octaves(4), [_FILE])
        _scale(shape, "width / height", "objects")
        most = int(per_image.max())
        step = max(1, most // 40)
        edges = np.arange(0, most + step + 1, step) - 0.5
        number.hist(per_image, bins=edges, color=_FILE)
        number.set(xlabel="objects on an image", ylabel="images")
        _finish(number)
        return svg_of(figure)


def draw_learning(
    training: Sequence[Objects], inputs: Inputs, assigned: Assigned, strides: Sequence[int]
) -> bytes:
    """Draw sizes on the file and in the network, and what becomes of objects of each size.

    Args:
        training: the objects of each training set.
        inputs: the same as the network sees them.
        assigned: what becomes of them.
        strides: of the levels.
    """
    from matplotlib.figure import Figure

    on_file = np.concatenate([objects.sides.min(axis=1) for objects in training])
    boxes = inputs.boxes.numpy()
    in_network = (boxes[:, 2:] - boxes[:, :2]).min(axis=1)
    fates = assigned.fates.numpy()
    with figure_style():
        figure = Figure(figsize=(11, 3), layout="constrained")
        sizes, learnt = figure.subplots(1, 2)
        edges = _octaves(3)
        for values, color, label in (
            (on_file, _FILE, "on the file"),
            (in_network, _INPUT, "in the network"),
        ):
            counts, limits = _counted([values], edges)
            sizes.stairs(counts[0], limits, color=color, linewidth=1.8, label=label)
        _scale(sizes, "shorter side of objects, pixels", "objects")
        parts = [in_network[fates == i] for i in range(len(FATES))]
        present = [i for i, part in enumerate(parts) if len(part)]
        names = [list(FATES)[i] for i in present]
        _histogram(
            learnt, [parts[i] for i in present], edges, [FATE_COLORS[n] for n in names], names
        )
        _scale(learnt, "shorter side in the network, pixels", "objects")
        for panel in (sizes, learnt):
            for stride in strides:
                if panel.get_xlim()[0] < stride < panel.get_xlim()[1]:
                    panel.axvline(stride, color="#444444", linewidth=0.8, linestyle=":")
            panel.legend(frameon=False, fontsize=8)
        return svg_of(figure)


def _octaves(parts: int) -> np.ndarray:
    """Edges of the bins from 2^-8 to 2^14, so many to a doubling."""
    return 2.0 ** (np.arange(-8 * parts, 14 * parts + 1) / parts)


def _counted(groups: Sequence[np.ndarray], edges: np.ndarray) -> tuple[list[np.ndarray], Any]:
    """Count each group in the bins; returns those between the first and the last that is used."""
    counts = [np.histogram(np.clip(group, edges[0], edges[-1]), edges)[0] for group in groups]
    used = np.flatnonzero(sum(counts))
    first, last = used[0], used[-1] + 1
    return [count[first:last] for count in counts], edges[first : last + 1]


def _histogram(
    panel: Any,
    groups: Sequence[np.ndarray],
    edges: np.ndarray,
    colors: Sequence[str],
    labels: Sequence[str] = (),
) -> None:
    counts, limits = _counted(groups, edges)
    base = np.zeros(len(limits) - 1)
    for number, (count, color) in enumerate(zip(counts, colors, strict=True)):
        panel.bar(
            limits[:-1],
            count,
            np.diff(limits),
            bottom=base,
            align="edge",
            color=color,
            edgecolor="white",
            linewidth=0.4,
            label=labels[number] if labels else None,
        )
        base = base + count


def _scale(panel: Any, xlabel: str, ylabel: str) -> None:
    """Label a panel whose bins are in octaves."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.set_xscale("log", base=2)
    panel.xaxis.set_major_locator(LogLocator(base=2, numticks=12))
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set(xlabel=xlabel, ylabel=ylabel)
    _finish(panel)


def _finish(panel: Any) -> None:
    panel.yaxis.get_major_locator().set_params(integer=True)
    panel.grid(axis="y", color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
