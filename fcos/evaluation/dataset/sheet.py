"""Pictures of labelled objects: contact sheets of classes, and whatever the page points at."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from fcos.data.images import read_bgr
from fcos.evaluation.dataset.splits import Split
from fcos.evaluation.pictures import jpeg
from fcos.utils.errors import UserError

__all__ = ["Tile", "choose_range", "draw_tiles", "tiles_of"]

_SIDE = 220  # pixels of a tile
_CONTEXT = 2.2  # sides of the object that a tile shows
_LEAST = 48  # pixels of the image that a tile shows


@dataclasses.dataclass(frozen=True)
class Tile:
    """A square cut out of an image around an object, with the boxes of all objects.

    Attributes:
        path: of the image.
        caption: what it shows.
        box: of the object, x1, y1, x2, y2; None shows the whole image.
        boxes, classes: of all objects of the image.
    """

    path: str
    caption: str
    box: tuple[float, ...] | None
    boxes: np.ndarray
    classes: np.ndarray


def choose_range(values: np.ndarray, most: int) -> np.ndarray:
    """Return indices of at most ``most`` values, evenly spread from the smallest to the largest."""
    order = np.argsort(values, kind="stable")
    return order[
        np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    ]


def tiles_of(split: Split, which: Sequence[int]) -> list[Tile]:
    """Make a tile for each of some objects, by their indices in ``split.objects``."""
    objects, tiles = split.objects, []
    ends = np.cumsum(objects.per_image)
    for index in which:
        image = objects.image_index[index]
        all_of = slice(ends[image] - objects.per_image[image], ends[image])
        width, height = objects.sides[index]
        tiles.append(
            Tile(
                split.path(image),
                f"{width:.3g} \N{MULTIPLICATION SIGN} {height:.3g}",
                tuple(objects.boxes[index].tolist()),
                objects.boxes[all_of],
                objects.classes[all_of],
            )
        )
    return tiles


def draw_tiles(
    tiles: Sequence[Tile], colors: Sequence[Sequence[int]], stretch_range: bool = False
) -> tuple[list[bytes | None], list[str]]:
    """Draw tiles; each image is read once.

    Args:
        tiles: what to draw.
        colors: red, green, blue of each class.
        stretch_range: see :func:`fcos.data.images.read_bgr`.

    Returns:
        JPEG files, None where the image cannot be read; and why, for each such image.
    """
    numbers: dict[str, list[int]] = {}
    for number, tile in enumerate(tiles):
        numbers.setdefault(tile.path, []).append(number)
    drawn: list[bytes | None] = [None] * len(tiles)
    problems = []
    for path, of_image in numbers.items():
        try:
            image = read_bgr(path, stretch_range)
        except UserError as error:
            problems.append(str(error))
            continue
        for number in of_image:
            drawn[number] = jpeg(_draw(image, tiles[number], colors))
    return drawn, problems


def _draw(image: np.ndarray, tile: Tile, colors: Sequence[Sequence[int]]) -> np.ndarray:
    import cv2

    height, width = image.shape[:2]
    if tile.box is None:
        left, top, right, bottom = 0, 0, width, height
    else:
        left, top, right, bottom = _window(tile.box, width, height)
    part = image[top:bottom, left:right]
    scale = _SIDE / max(part.shape[:2])
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    canvas = cv2.resize(part, size, interpolation=kind)
    main = None if tile.box is None else np.array(tile.box)
    for box, number in zip(tile.boxes, tile.classes.tolist(), strict=True):
        x1, y1, x2, y2 = ((box - [left, top, left, top]) * scale).round().astype(int).tolist()
        corners = (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1))
        color = tuple(colors[number][::-1])
        is_main = main is not None and (box == main).all()
        cv2.rectangle(canvas, *corners, color, 3 if is_main else 1)
    return canvas


def _window(box: tuple[float, ...], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a square around a box, moved into the image."""
    x1, y1, x2, y2 = box
    side = math.ceil(max(_LEAST, _CONTEXT * max(x2 - x1, y2 - y1)))
    ends = []
    for low, high, limit in ((x1, x2, width), (y1, y2, height)):
        length = min(side, limit)
        first = min(max(0, round((low + high - length) / 2)), limit - length)
        ends.append((first, first + length))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]
