"""What every reader of labels returns, and how it names what it cannot read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from typing import Any

from fcos.utils.values import NAMED

__all__ = [
    "LabelledImage",
    "LabelledObject",
    "Labels",
    "Options",
    "Problems",
    "Unreadable",
    "box_around",
    "box_of",
    "ellipse_corners",
    "outlined",
    "polygon_of",
]


class Unreadable(Exception):
    """A file, or an object in it, that cannot be read. ``str`` says why, as a plural noun.

    Attributes:
        line: in the file, from 1; 0 if it is not known.
    """

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


@dataclasses.dataclass(slots=True)
class LabelledObject:
    """An object on an image.

    Attributes:
        name: of its class.
        xyxy: left, top, right and bottom edge, in pixels from the corner of the image (0, 0).
        segmentation: polygons [[x, y, x, y, ...], ...] in pixels, or run lengths as COCO has them.
        is_crowd: a region of many objects.
        area: in square pixels, where the labels say.
    """

    name: str
    xyxy: tuple[float, float, float, float]
    segmentation: Any = None
    is_crowd: bool = False
    area: float | None = None


@dataclasses.dataclass(slots=True)
class LabelledImage:
    """An image with its labels.

    Attributes:
        path: of the image file.
        where: names the labels in a message.
        objects: on it.
        width, height: in pixels; 0 where the labels do not say.
        split: "train", "val" or "test"; "" where the labels do not say.
        is_relative: coordinates are fractions of the width and height, not pixels.
    """

    path: str
    where: str
    objects: list[LabelledObject] = dataclasses.field(default_factory=list)
    width: int = 0
    height: int = 0
    split: str = ""
    is_relative: bool = False

    def take_size(self, width: Any, height: Any) -> None:
        """Set the size where the labels have a sound one; it is compared with the image later."""
        try:
            sides = int(float(width)), int(float(height))
        except (OverflowError, TypeError, ValueError):
            return
        if min(sides) > 0:
            self.width, self.height = sides


@dataclasses.dataclass
class Labels:
    """The labels of a data set.

    Attributes:
        images: all labelled ones.
        class_names: in the order of the source; empty: it has no order.
        notes: what else the user should know, in sentences.
    """

    images: list[LabelledImage]
    class_names: list[str] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Options:
    """What a reader cannot see in the labels.

    Attributes:
        voc_one_based: the first pixel of an image is 1, and the last one of a box belongs to it.
        via_class: the attribute of a region that is its class; "": the only one.
    """

    voc_one_based: bool = False
    via_class: str = ""


class Problems:
    """What could not be read, by reason: how often, and the first places."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, problem: str | Unreadable, where: str) -> None:
        """Count a problem.

        Args:
            problem: a plural noun, such as "boxes without a width", or what was raised.
            where: the file, or a place in it; if the line of ``problem`` is known, it is added.
        """
        reason, line = str(problem), getattr(problem, "line", 0)
        where = f"{where}:{line}" if line else where
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < NAMED:
            places.append(where)

    def lines(self) -> list[str]:
        """Return a line for each reason, the most frequent first."""
        lines = []
        for reason, count in sorted(self._counts.items(), key=lambda item: -item[1]):
            places = ", ".join(self._places[reason])
            lines.append(f"{reason} ({count}): {places}{', ...' if count > NAMED else '.'}")
        return lines

    def in_short(self) -> str:
        """Return the most frequent ones, to end a message."""
        return "".join(f" Left out: {line}" for line in self.lines()[:3])


def box_of(numbers: Iterable[Any], line: int = 0) -> tuple[float, float, float, float]:
    """Read left, top, right and bottom.

    Raises:
        Unreadable: they are no four finite numbers, or the box is turned inside out.
    """
    try:
        left, top, right, bottom = map(float, numbers)
    except (TypeError, ValueError):
        raise Unreadable("boxes without four numbers", line) from None
    if not math.isfinite(left + top + right + bottom):
        raise Unreadable("boxes without four finite numbers", line)
    if right < left or bottom < top:
        raise Unreadable("boxes whose right or bottom side comes before the other one", line)
    return left, top, right, bottom


def polygon_of(points: Iterable[Any], line: int = 0) -> list[float]:
    """Read the x and y of three or more corners, in turn.

    Raises:
        Unreadable: they are no such numbers.
    """
    try:
        corners = [float(number) for number in points]
    except (TypeError, ValueError):
        raise Unreadable("polygons with something else than numbers", line) from None
    if not math.isfinite(sum(corners)):
        raise Unreadable("polygons without finite numbers", line)
    if len(corners) < 6 or len(corners) % 2:
        raise Unreadable("polygons with fewer than three corners", line)
    return corners


def box_around(polygons: Iterable[list[float]]) -> tuple[float, float, float, float]:
    """Return the smallest box around polygons."""
    xs, ys = [], []
    for corners in polygons:
        xs += corners[0::2]
        ys += corners[1::2]
    return min(xs), min(ys), max(xs), max(ys)


def outlined(name: str, corners: list[float]) -> LabelledObject:
    """Return an object of one polygon, and the box around it."""
    return LabelledObject(name, box_around([corners]), [corners])


def ellipse_corners(
    cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, corners: int = 32
) -> list[float]:
    """Return a polygon on an ellipse.

    Args:
        cx, cy: its middle.
        rx, ry: its half axes.
        angle: by which it is turned, in radians, from x towards y.
        corners: a multiple of 4, so that the polygon is as wide and high as the ellipse.
    """
    polygon = []
    for i in range(corners):
        x = rx * math.cos(2 * math.pi * i / corners)
        y = ry * math.sin(2 * math.pi * i / corners)
        polygon.append(cx + x * math.cos(angle) - y * math.sin(angle))
        polygon.append(cy + x * math.sin(angle) + y * math.cos(angle))
    return polygon
