"""Images with boxes on them, as the page draws them: pixels as a JPEG file, shapes as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from fcos.data.image_names import image_path
from fcos.data.images import read_bgr
from fcos.evaluation.pictures import jpeg
from fcos.evaluation.truth import Truth
from fcos.utils.errors import UserError

__all__ = ["STYLES", "Picture", "Shape", "Style", "outline_of", "read_picture"]

_SIDE = 900  # pixels of the longer side of a picture


@dataclasses.dataclass(frozen=True)
class Style:
    """How a kind of shape is drawn, so that it can be told in black and white too.

    Attributes:
        color: of lines, from those of Okabe and Ito.
        dashes: of the line, in pixels of the screen; empty: solid.
        width: of the line.
        mark: before the class.
    """

    color: str
    dashes: str
    width: float
    mark: str


STYLES = {
    "found": Style("#0072b2", "", 2, "\N{CHECK MARK}"),
    "wrong": Style("#d55e00", "7 4", 2.5, "\N{BALLOT X}"),
    "missed": Style("#a8246d", "1.5 4", 3.5, "\N{WHITE CIRCLE}"),
    "crowd": Style("#555555", "", 1, ""),
}


@dataclasses.dataclass(frozen=True)
class Shape:
    """A box, and the outline of a mask if there is one.

    Attributes:
        style: of STYLES.
        box: x, y, width, height in pixels of the image file.
        text: beside it; may be empty.
        title: shown when the mouse points at it.
        outline: the path of an SVG file; empty without a mask.
    """

    style: str
    box: tuple[float, ...]
    text: str
    title: str
    outline: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """Part of an image.

    Attributes:
        left, top, width, height: of the part, in pixels of the image file.
        pixels: a JPEG file.
    """

    left: int
    top: int
    width: int
    height: int
    pixels: bytes


def read_picture(
    truth: Truth,
    image_id: Any,
    stretch_range: bool = False,
    around: Sequence[float] | None = None,
) -> Picture:
    """Read an image of a data set, or a square part of it.

    Args:
        truth: the data set.
        image_id: of the image.
        stretch_range: see :func:`fcos.data.images.read_bgr`.
        around: the box, x, y, width, height, that the part is to show; None for all.

    Raises:
        UserError: it is missing, damaged, or has another size than the annotations say.
    """
    import cv2

    record = truth.coco.imgs[image_id]
    path = image_path(truth.image_root, record["file_name"])
    image = read_bgr(path, stretch_range)
    height, width = image.shape[:2]
    if (height, width) != (record["height"], record["width"]):
        raise UserError(
            f"{path} has {width}x{height} pixels, but {record['width']}x{record['height']} in "
            f"{truth.json_file}."
        )
    left, top, right, bottom = (0, 0, width, height)
    if around is not None:
        left, top, right, bottom = _window(around, width, height)
    part = image[top:bottom, left:right]
    scale = min(1.0, _SIDE / max(part.shape[:2]))
    if scale < 1:
        size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        part = cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return Picture(left, top, right - left, bottom - top, jpeg(part))


def outline_of(truth: Truth, thing: Mapping[str, Any]) -> str:
    """Return the outline of an annotation's or a detection's mask, with some pixels left out."""
    import cv2

    mask = truth.coco.annToMask(thing)
    lines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    tolerance = max(mask.shape) / 800
    paths = []
    for line in lines:
        points = cv2.approxPolyDP(line, tolerance, True)[:, 0].tolist()
        paths.append("M" + "L".join(f"{x} {y}" for x, y in points) + "Z")
    return "".join(paths)


def _window(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of a square with the box in its middle third, inside."""
    x, y, box_width, box_height = box
    side = round(max(64, 2 * max(box_width, box_height)))
    ends = []
    for start, length, limit in ((x, box_width, width), (y, box_height, height)):
        size = min(side, limit)
        first = min(max(0, round(start + length / 2 - size / 2)), limit - size)
        ends.append((first, first + size))
    return ends[0][0], ends[1][0], ends[0][1], ends[1][1]
