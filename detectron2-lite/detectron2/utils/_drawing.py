"""Drawing of simple shapes on an image, with matplotlib."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from detectron2.utils._generic_mask import GenericMask
from detectron2.utils.colormap import random_color

if TYPE_CHECKING:
    from matplotlib.typing import ColorType


class VisImage:
    """An image that is drawn on.

    Args:
        img: (H, W, 3) RGB, values 0 to 255.
        scale: the picture is so many times as large as the image.  Coordinates are those of the
            image all the same.

    Attributes:
        fig, ax, canvas: matplotlib's.
    """

    def __init__(self, img: np.ndarray, scale: float = 1.0) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.img = img
        self.scale = scale
        self.height, self.width = img.shape[:2]
        self.fig = Figure(frameon=False)
        # A hundredth of a pixel more, or rounding could make the image a pixel smaller.
        self.fig.set_size_inches(
            (self.width * scale + 0.01) / self.fig.dpi, (self.height * scale + 0.01) / self.fig.dpi
        )
        self.canvas = FigureCanvasAgg(self.fig)
        self.ax = self.fig.add_axes((0.0, 0.0, 1.0, 1.0))
        # The image begins at 0, where matplotlib would put the middle of a pixel.
        self.ax.set(xlim=(0, self.width), ylim=(self.height, 0), aspect="equal")
        self.ax.axis("off")
        self._background = self._show(img.astype(np.uint8))

    def _show(self, pixels: np.ndarray) -> Any:
        # Pixel for pixel, below everything else. What an imshow makes of it depends on the version.
        return self.fig.figimage(self._scaled(pixels), zorder=-1)

    def _scaled(self, pixels: np.ndarray) -> np.ndarray:
        """Repeat pixels, or leave some out: they fill the canvas, from below as axes do."""
        across, up = self.canvas.get_width_height()
        width, height = self.fig.bbox.size
        columns = (np.arange(across) + 0.5) * self.width / width
        rows = (np.arange(up) + 0.5 + height - up) * self.height / height
        return pixels[np.ix_(rows.astype(int), columns.astype(int))]

    def reset_image(self, img: np.ndarray) -> None:
        """Put another image under what is drawn; ``img`` as of ``__init__``."""
        self._background.set_data(self._scaled(img.astype(np.uint8)))

    def save(self, filepath: str) -> None:
        """Write the picture to a file; its extension says which format."""
        self.fig.savefig(filepath)

    def get_image(self) -> np.ndarray:
        """The picture, (H * scale, W * scale, 3) uint8, RGB."""
        self.canvas.draw()
        # A copy: the buffer is drawn on again.
        return np.asarray(self.canvas.buffer_rgba())[:, :, :3].copy()


class Drawing:
    """The methods of ``Visualizer`` that draw one shape each; see there.

    Args:
        img: (H, W, 3) uint8, RGB.
        scale, font_size_scale: as of ``Visualizer``.
    """

    def __init__(self, img: np.ndarray, scale: float, font_size_scale: float) -> None:
        self.img = img
        self.output = VisImage(img, scale=scale)
        self._side = (self.output.height * self.output.width) ** 0.5
        self._default_font_size = max(self._side // 90, 10 // scale) * font_size_scale

    def get_output(self) -> VisImage:
        """The picture as it is now."""
        return self.output

    def draw_text(
        self,
        text: str,
        position: Sequence[float],
        *,
        font_size: float | None = None,
        color: ColorType = "g",
        horizontal_alignment: str = "center",
        rotation: float = 0,
    ) -> VisImage:
        """Write a text on a dark ground.

        Args:
            text: the text.
            position: ``(x, y)`` of its upper edge.
            font_size: in points; by default, in relation to the image.
            color: dark ones are made brighter.
            horizontal_alignment: which part of the text is at x: ``left``, ``center``, ``right``.
            rotation: degrees, counterclockwise.
        """
        from matplotlib.colors import to_rgb

        rgb = np.maximum(to_rgb(color), 0.2)
        rgb[rgb.argmax()] = max(0.8, rgb.max())
        self.output.ax.text(
            *position,
            text,
            color=rgb,
            size=(font_size or self._default_font_size) * self.output.scale,
            rotation=rotation,
            horizontalalignment=horizontal_alignment,
            verticalalignment="top",
            family="sans-serif",
            zorder=10,  # above all shapes
            bbox={"facecolor": "black", "edgecolor": "none", "alpha": 0.8, "pad": 0.7},
        )
        return self.output

    def draw_box(
        self,
        box_coord: Sequence[float],
        alpha: float = 0.5,
        edge_color: ColorType = "g",
        line_style: str = "-",
    ) -> VisImage:
        """Draw the outline of a box ``(x0, y0, x1, y1)``."""
        from matplotlib.patches import Rectangle

        x0, y0, x1, y1 = box_coord
        outline = Rectangle(
            (x0, y0),
            x1 - x0,
            y1 - y0,
            fill=False,
            edgecolor=edge_color,
            linewidth=max(self._default_font_size / 4, 1) * self.output.scale,
            linestyle=line_style,
            alpha=alpha,
        )
        self.output.ax.add_patch(outline)
        return self.output

    def draw_circle(
        self, circle_coord: Sequence[float], color: ColorType, radius: float = 3
    ) -> VisImage:
        """Draw a filled circle around ``(x, y)``; the radius is in pixels of the image."""
        from matplotlib.patches import Circle

        self.output.ax.add_patch(Circle(circle_coord, radius=radius, fill=True, color=color))
        return self.output

    def draw_line(
        self,
        x_data: Sequence[float],
        y_data: Sequence[float],
        color: ColorType,
        linestyle: str = "-",
        linewidth: float | None = None,
    ) -> VisImage:
        """Draw a line through points, so many typographic points wide."""
        from matplotlib.lines import Line2D

        width = max(self._default_font_size / 3, 1) if linewidth is None else linewidth
        line = Line2D(
            x_data,
            y_data,
            linewidth=width * self.output.scale,
            color=color,
            linestyle=linestyle,
        )
        self.output.ax.add_line(line)
        return self.output

    def draw_polygon(
        self,
        segment: np.ndarray,
        color: ColorType,
        edge_color: ColorType | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw a filled polygon with an outline.

        Args:
            segment: (N, 2), its points.
            color: of the inside.
            edge_color: of the outline; by default ``color``, or a darker one where that would not
                be seen.
            alpha: opacity of the inside.
        """
        from matplotlib.colors import to_rgb
        from matplotlib.patches import Polygon

        if edge_color is None:
            edge_color = scale_lightness(color, 0.3) if alpha > 0.8 else color
        polygon = Polygon(
            segment,
            fill=True,
            facecolor=(*to_rgb(color), alpha),
            edgecolor=(*to_rgb(edge_color), 1),
            linewidth=max(self._default_font_size // 15 * self.output.scale, 1),
        )
        self.output.ax.add_patch(polygon)
        return self.output

    def draw_binary_mask(
        self,
        binary_mask: np.ndarray,
        color: ColorType | None = None,
        *,
        edge_color: ColorType | None = None,
        text: str | None = None,
        alpha: float = 0.5,
        area_threshold: float = 10,
    ) -> VisImage:
        """Color a mask.

        Args:
            binary_mask: (H, W), true inside.
            color: a random one by default.
            edge_color: of the outline; as ``color`` by default.  A mask with holes has none.
            text: written on its largest part.
            alpha: opacity.
            area_threshold: parts of fewer pixels are left out.
        """
        mask = GenericMask(np.asarray(binary_mask), *self.img.shape[:2])
        color = random_color(rgb=True, maximum=1) if color is None else color
        if self._draw_mask(mask, color, edge_color, alpha, area_threshold) and text is not None:
            self._draw_text_on(mask.mask, text, color)
        return self.output

    def draw_soft_mask(
        self,
        soft_mask: np.ndarray,
        color: ColorType | None = None,
        *,
        text: str | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """As ``draw_binary_mask``, of a mask (H, W) with values from 0, outside, to 1."""
        color = random_color(rgb=True, maximum=1) if color is None else color
        self._paint(soft_mask, color, alpha)
        inside = np.asarray(soft_mask) > 0.5
        if text is not None and inside.any():
            self._draw_text_on(inside, text, color)
        return self.output

    def _draw_mask(
        self,
        mask: GenericMask,
        color: ColorType,
        edge_color: ColorType | None = None,
        alpha: float = 0.5,
        area_threshold: float = 0,
    ) -> bool:
        """Whether there was anything to draw."""
        if mask.has_holes:
            # Filled outlines would fill the holes too.
            self._paint(mask.mask, color, alpha)
            return True
        outlines = [polygon.reshape(-1, 2) for polygon in mask.polygons]
        drawn = [outline for outline in outlines if _area(outline) >= area_threshold]
        for outline in drawn:
            self.draw_polygon(outline, color, edge_color, alpha)
        return bool(drawn)

    def _paint(self, opacity: np.ndarray, color: ColorType, alpha: float) -> None:
        from matplotlib.colors import to_rgb

        rgba = np.empty((*opacity.shape, 4), dtype=np.float32)
        rgba[:, :, :3] = to_rgb(color)
        rgba[:, :, 3] = opacity * np.float32(alpha)
        self.output._show(rgba)

    def _draw_text_on(self, mask: np.ndarray, text: str, color: ColorType) -> None:
        import cv2

        _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), 8)
        largest = 1 + stats[1:, cv2.CC_STAT_AREA].argmax()  # 0 is the background
        self.draw_text(text, middle(parts == largest), color=label_color(color))


def scale_lightness(color: ColorType, factor: float, least: float = 0.0) -> tuple:
    """RGB of ``color`` with another lightness; not below ``least``, not above 1."""
    from matplotlib.colors import to_rgb

    hue, lightness, saturation = colorsys.rgb_to_hls(*to_rgb(color))
    return colorsys.hls_to_rgb(hue, min(1.0, max(least, lightness * factor)), saturation)


def label_color(color: ColorType) -> tuple:
    """RGB like ``color`` that can be read on black, where a dark blue could not."""
    return scale_lightness(color, 1.7, least=0.75)


def middle(mask: np.ndarray) -> tuple[float, float] | None:
    """``(x, y)``, medians over the pixels of a mask."""
    rows, columns = mask.nonzero()
    return (float(np.median(columns)), float(np.median(rows))) if len(rows) else None


def _area(outline: np.ndarray) -> float:
    """Of a polygon (N, 2), by the shoelace formula."""
    x, y = outline.T
    return abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))) / 2
