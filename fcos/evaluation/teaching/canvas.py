"""What the pictures of the steps share: a pale photograph in pixels, boxes with numbers on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.pictures import COLORS

__all__ = [
    "box_color",
    "draw_box",
    "level_name",
    "panels",
    "points_of",
    "show_image",
    "write_on_box",
]

_PALE = 0.55  # share of white over the photograph
# Inches. A figure of 9 x 11 on a page of A4 or Letter is made smaller by a fifth, so 9 pt become 7.
_WIDEST, _TALLEST = 9.0, 11.0
_TITLE = 0.55  # inches, two lines above a panel


def panels(
    number: int, columns: int, size: tuple[float, float], below: float = 0.0
) -> tuple[Any, list[Any]]:
    """Make a figure of ``number`` panels, side by side and then in rows.

    Args:
        number: of panels, at least 1.
        columns: most panels side by side, up to 3.
        size: height and width of what a panel shows, in any unit.
        below: inches to leave for what stands below all panels.

    Returns:
        A figure of matplotlib that can be printed on a page, and its panels.
    """
    from matplotlib.figure import Figure  # without pyplot, which keeps figures and opens windows

    columns = min(number, columns)
    rows = math.ceil(number / columns)
    width = _WIDEST if columns > 1 else 6.0
    height = rows * (width / columns * size[0] / size[1] + _TITLE) + below
    figure = Figure(figsize=(width, min(height, _TALLEST)), layout="constrained")
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


def points_of(panel: Any, figure: Any, pixels: float) -> float:
    """Return how many points, of 72 to an inch, so many pixels of the image will measure."""
    grid = panel.get_subplotspec().get_gridspec()
    width, height = figure.get_size_inches()
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()
    by_width = width / grid.ncols / (right - left)
    by_height = (height / grid.nrows - _TITLE) / (bottom - top)
    return 72 * 0.97 * min(by_width, by_height) * pixels


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
