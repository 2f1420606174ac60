"""Draw locations, which box each of them learns, and maps of a level.

Every picture is a figure of matplotlib: :func:`fcos.evaluation.pictures.jpeg_of` and ``svg_of``
make files of it. Images are (H, W, 3) uint8, blue, green, red, as large as the network input
without its padding; boxes and locations are in pixels of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fcos.evaluation.pictures import COLORS, figure_style
from fcos.evaluation.teaching.canvas import (
    box_color,
    draw_box,
    level_name,
    panels,
    points_of,
    show_image,
    write_on_box,
)
from fcos.evaluation.teaching.learning import Learnt, learnt_boxes
from fcos.evaluation.teaching.maps import Map
from fcos.modeling.fcos import FCOSTargets

__all__ = ["draw_learnt", "draw_locations", "draw_maps"]

_LARGEST = 15.0  # points, side of a marker
_LEGEND = 0.5  # inches


def draw_locations(
    image: np.ndarray, targets: FCOSTargets, feature_sizes: Sequence[tuple[int, int]]
) -> Any:
    """Draw the locations of each level on an image, and the cells that they stand for.

    Source: arXiv:1904.01355, Sec. 3.1.

    Args:
        image: to draw on.
        targets: places the locations.
        feature_sizes: rows and columns of each feature map, finest level first.

    Returns:
        A figure with a panel for each level. What lies right of and below the image is padding.
    """
    points = targets.get_points(feature_sizes)
    height, width = image.shape[:2]
    farthest = torch.cat(points).amax(dim=0).tolist()
    corner = max(width, farthest[0] + 12), max(height, farthest[1] + 12)
    with figure_style():
        figure, made = panels(len(points), 3, corner[::-1])
        levels = zip(made, points, targets.levels(feature_sizes), strict=True)
        for panel, xy, level in levels:
            show_image(panel, image, corner)
            rows, columns = level.feature_size
            step_y, step_x = level.grid.steps
            first = level.grid.first
            lines = {"color": "#555555", "linewidth": 0.4, "alpha": 0.6}
            edges = [
                [max(0.0, first + (cell - 0.5) * step) for cell in range(cells + 1)]
                for cells, step in ((rows, step_y), (columns, step_x))
            ]
            panel.hlines(edges[0], edges[1][0], edges[1][-1], **lines)
            panel.vlines(edges[1], edges[0][0], edges[0][-1], **lines)
            side = min(_LARGEST, 0.35 * points_of(panel, figure, step_x))
            panel.scatter(xy[:, 0], xy[:, 1], s=side**2, color=COLORS[1], linewidths=0)
            panel.set_title(
                f"{level_name(level.stride)}: every {level.stride} px, "
                f"{rows} \N{MULTIPLICATION SIGN} {columns} = {rows * columns} locations\n"
                f"learns max(l, t, r, b) {_range(level.min_distance, level.max_distance)}",
                fontsize=9,
            )
    return figure


def draw_learnt(
    image: np.ndarray,
    boxes: Tensor,
    names: Sequence[str],
    targets: FCOSTargets,
    feature_sizes: Sequence[tuple[int, int]],
    only: Sequence[int] | None = None,
) -> Any:
    """Draw which location learns which box, level by level.

    Source: arXiv:1904.01355, Sec. 3.2.

    Args:
        image: to draw on.
        boxes: (G, 4) float, x1, y1, x2, y2.
        names: of the boxes, G times, such as their classes.
        targets: the settings of the assignment.
        feature_sizes: rows and columns of each feature map, finest level first.
        only: indices of the levels to draw, 0 is the finest; by default all that learn a box.

    Returns:
        A figure with a panel for each level. The number on a location is that of
        the box it learns; a square has more than one box to choose from. Boxes that a level does
        not learn are grey there. With center sampling, the dashed square is where locations count.
        A legend below the panels says so.
    """
    learnt = learnt_boxes(boxes, targets, feature_sizes)
    points = targets.get_points(feature_sizes)
    counts = [len(level) for level in points]
    parts = zip(learnt.box.split(counts), learnt.candidates.split(counts), strict=True)
    levels = [Learnt(*part) for part in parts]
    used = [i for i, level in enumerate(levels) if (level.box < len(boxes)).any()]
    used = used if only is None else list(only)
    with figure_style():
        height, width = image.shape[:2]
        columns = 2 if len(used) <= 4 and width >= height else 3
        figure, made = panels(max(1, len(used)), columns, (height, width), _LEGEND)
        for panel, index in zip(made, used, strict=False):
            show_image(panel, image)
            stride = targets.strides[index]
            _draw_boxes(panel, boxes, names, levels[index], stride, targets.center_radius)
            size = points_of(panel, figure, targets.levels(feature_sizes)[index].grid.steps[1])
            _draw_assigned(panel, points[index], levels[index], len(boxes), size)
            panel.set_title(_summary(levels[index], len(boxes), stride), fontsize=9)
        if not used:
            show_image(made[0], image)
            made[0].set_title("no location learns a box", fontsize=9)
        _explain(figure, targets.center_radius is not None)
    return figure


def draw_maps(image: np.ndarray, maps: Sequence[Map], stride: int) -> Any:
    """Draw maps of one level, each cell where it lies on the image.

    Args:
        image: to draw on; it shows where a map is NaN.
        maps: of one level.
        stride: of the level, in pixels.

    Returns:
        A figure with a panel and a colour scale for each map.
    """
    with figure_style():
        # A colour scale takes a part of the width.
        figure, made = panels(len(maps), 3, (0.82 * image.shape[0], image.shape[1]))
        for panel, (title, values, highest) in zip(made, maps, strict=True):
            show_image(panel, image)
            rows, columns = values.shape
            shown = panel.imshow(
                values.numpy(),
                extent=(0, columns * stride, rows * stride, 0),
                vmin=0,
                vmax=highest,
                cmap="viridis",
                interpolation="nearest",
                alpha=0.85,
            )
            height, width = image.shape[:2]
            panel.set(xlim=(0, width), ylim=(height, 0))
            panel.set_title(title, fontsize=9)
            figure.colorbar(shown, ax=panel, shrink=0.8, pad=0.02, aspect=14)
    return figure


def _draw_boxes(
    panel: Any,
    boxes: Tensor,
    names: Sequence[str],
    level: Learnt,
    stride: int,
    center_radius: float | None,
) -> None:
    """Draw all boxes, those that the level learns in colour and with their number and name."""
    is_learnt = [bool((level.box == index).any()) for index in range(len(boxes))]
    for index in sorted(range(len(boxes)), key=is_learnt.__getitem__):
        box = boxes[index].tolist()
        if not is_learnt[index]:
            draw_box(panel, box, "#777777", width=0.8)
            continue
        color = box_color(index)
        draw_box(panel, box, color)
        write_on_box(panel, box, f"{index + 1}: {names[index]}", color)
        if center_radius is not None:
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            reach = center_radius * stride
            draw_box(panel, (x - reach, y - reach, x + reach, y + reach), color, "--", 0.9)


def _draw_assigned(panel: Any, points: Tensor, level: Learnt, none: int, size: float) -> None:
    """Draw a marker with a number on each location that learns a box, a dot on the others."""
    xy = points[level.box == none].numpy()
    panel.scatter(xy[:, 0], xy[:, 1], s=1.5, color="#444444", linewidths=0)
    side = min(_LARGEST, 0.78 * size)
    for place in (level.box < none).nonzero()[:, 0].tolist():
        x, y = points[place].tolist()
        index = int(level.box[place])
        is_ambiguous = int(level.candidates[place]) > 1
        panel.plot(
            x,
            y,
            marker="s" if is_ambiguous else "o",
            markersize=side,
            markerfacecolor=box_color(index),
            markeredgecolor="black" if is_ambiguous else "white",
            markeredgewidth=0.13 * side if is_ambiguous else 0.05 * side,
        )
        panel.text(
            x,
            y,
            str(index + 1),
            color="white",
            fontsize=0.62 * side,
            fontweight="bold",
            ha="center",
            va="center_baseline",
            clip_on=True,
        )


def _explain(figure: Any, has_center_sampling: bool) -> None:
    """Write below all panels what markers and lines mean."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    color = box_color(0)
    marks: dict[str, Any] = {
        "learns the box of its number": {"marker": "o", "color": color},
        "could learn another box too": {"marker": "s", "color": color, "mec": "black"},
        "learns background": {"marker": ".", "color": "#444444", "ms": 3},
    }
    lines = {"a box that is learnt": (color, "-"), "not learnt on this level": ("#777777", "-")}
    if has_center_sampling:
        lines["center sampling: only inside"] = (color, "--")
    handles: list[Any] = [Line2D([], [], ls="", label=t, **style) for t, style in marks.items()]
    for text, (edge, line) in lines.items():
        handles.append(Patch(fill=False, ec=edge, ls=line, label=text))
    columns = 3 if figure.get_size_inches()[0] > 6 else 2
    figure.legend(
        handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _summary(level: Learnt, none: int, stride: int) -> str:
    number = int((level.box < none).sum())
    ambiguous = int((level.candidates > 1).sum())
    verb = "learns" if number == 1 else "learn"
    return (
        f"{level_name(stride)}: {number} of {len(level.box)} locations {verb} a box\n"
        f"{ambiguous} of them could learn another (squares)"
    )


def _range(lowest: float, highest: float) -> str:
    if highest == float("inf"):
        return f"of {lowest:g} px or more"
    return f"of {lowest:g} to {highest:g} px"
