"""What the pictures of the steps share: a pale photograph in pixels, boxes with numbers on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.pictures import COLORS

__all__ = ["box_color", "draw_box", "level_name", "panels", "show_image", "write_on_box"]

_PALE = 0.55  # share of white over the photograph
_INCHES = {1: 6.0, 2: 9.0, 3: 11.0}  # panels side by side -> width of the figure


def panels(number: int, columns: int, size: tuple[float, float]) -> tuple[Any, list[Any]]:
    """Make a figure of ``number`` panels, side by side and then in rows.

    Args:
        number: of panels, at least 1.
        columns: most panels side by side, up to 3.
        size: height and width of what a panel shows, in any unit.
    """
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and opens windows

    columns = min(number, columns)
    rows = math.ceil(number / columns)
    width = _INCHES[columns]
    height = rows * (width / columns * size[0] / size[1] + 0.55)
    figure = Figure(figsize=(width, height), layout="constrained")
    made = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for panel in made:
        panel.set_axis_off()
    return figure, made[:number]


def show_image(panel: Any, image: np.ndarray, corner: tuple[float, float] | None = None) -> None:
    """Show an image, paler than it is, with its upper left corner at (0, 0).

    Args:
        panel: axes of matplotlib.
        image: (H, W, 3) uint8, blue, green, red.
        corner: largest x and y to show; by default those of the image. Beyond it is padding.
    """
    height, width = image.shape[:2]
    right, bottom = corner or (width, height)
    pale = image[:, :, ::-1] * (1 - _PALE) + 255 * _PALE
    panel.imshow(pale.astype(np.uint8), extent=(0, width, height, 0), interpolation="bilinear")
    panel.set(xlim=(0, right), ylim=(bottom, 0), xticks=[], yticks=[], aspect="equal")
    panel.set_axis_on()
    panel.spines[:].set(color="#888888", linewidth=0.6)


def box_color(index: int) -> str:
    """Choose the colour of a box; the same again after a few, so the number goes with it."""
    return COLORS[index % len(COLORS)]


def draw_box(
    panel: Any,
    box: Sequence[float],
    color: str,
    line: str = "-",
    width: float = 1.6,
    alpha: float = 1.0,
) -> None:
    """Draw x1, y1, x2, y2, in pixels of the image."""
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    style: dict[str, Any] = {"ec": color, "ls": line, "lw": width, "alpha": alpha}
    panel.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style))


def write_on_box(panel: Any, box: Sequence[float], text: str, color: str) -> None:
    """Write on the upper left corner of a box: above it, or inside where there is no room."""
    x, y = max(0.0, box[0]), max(0.0, box[1])
    has_room = y > 0.06 * panel.get_ylim()[0]
    panel.annotate(
        text.replace("$", r"\$"),  # to matplotlib, "$" begins a formula
        (x, y),
        xytext=(1, 1.5 if has_room else -1.5),
        textcoords="offset points",
        fontsize=9,
        color="white",
        va="bottom" if has_room else "top",
        bbox={"facecolor": color, "edgecolor": "none", "pad": 1.0},
    )


def level_name(stride: int) -> str:
    """Name a level as the paper does: P3 has stride 8."""
    exponent = math.log2(stride)
    return f"P{exponent:g}" if exponent.is_integer() else f"stride {stride}"
