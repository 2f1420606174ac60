"""Boxes that are not what they are taken for: fractions of the image, or corners for sizes.

Nothing can be learnt from them, and nothing else says so. One box alone may be odd, so that what
counts is how many are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from detectron2.structures import BoxMode
from fcos.data.records import ImageRecord, ObjectRecord
from fcos.utils.errors import UserError

__all__ = ["check_units"]

_FEWEST = 5  # boxes; of fewer, how many are odd says nothing
_BEYOND = 0.1  # of the width or height of an image: no annotator draws so far outside
_ODD = 0.25  # share of the boxes that reach so far
_OTHERS = 0.01  # share of the boxes that need not fit when they are read in the other way


def check_units(name: str, images: Sequence[ImageRecord]) -> None:
    """Check that boxes are in pixels, and that those with sizes are not corners or the reverse.

    Raises:
        UserError: at least half of the boxes are fractions of their image; or of 5 boxes or more,
            at least a quarter reach far beyond it or have no size, and nearly all lie inside when
            they are read in the other way.
    """
    of_known_size = [image for image in images if math.isfinite(image.width + image.height)]
    things = [thing for image in of_known_size for thing in image.objects if _counts(thing)]
    if not things:
        return
    numbers = [sum(map(_counts, image.objects)) for image in of_known_size]
    places = np.repeat(np.arange(len(of_known_size)), numbers)
    boxes = np.array([thing.box for thing in things], dtype=float)
    sizes = np.array([(image.width, image.height) for image in of_known_size], float)[places]

    def first(is_meant: np.ndarray) -> str:
        index = int(is_meant.argmax())
        thing, image = things[index], of_known_size[places[index]]
        return f"{list(thing.box)} ({thing.where}, {image.width:g}x{image.height:g} pixels)"

    is_in_unit = np.all((boxes >= 0) & (boxes <= 1), axis=1)
    has_size = np.all(boxes[:, 2:] > 0, axis=1) & np.all(sizes > 2, axis=1)
    is_fraction = is_in_unit & has_size
    if 2 * is_fraction.sum() >= len(boxes):
        raise UserError(
            f"Data set {name!r}: {is_fraction.sum()} of {len(boxes)} boxes are fractions of their "
            f"image, such as {first(is_fraction)}, where pixels are expected: multiply "
            "them by its width and height."
        )
    if len(boxes) < _FEWEST:
        return
    are_sizes = np.array([thing.mode == BoxMode.XYWH_ABS for thing in things])
    as_sizes = np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]
    for is_declared, corners, others, advice in (
        (are_sizes, as_sizes, boxes, _CORNERS_FOR_SIZES),
        (~are_sizes, boxes, as_sizes, _SIZES_FOR_CORNERS),
    ):
        number = is_declared.sum()
        odd = is_declared & ~_is_inside(corners, sizes, _BEYOND * sizes)
        odd_otherwise = is_declared & ~_is_inside(others, sizes, 1.0)
        if odd.sum() >= max(1, _ODD * number) and odd_otherwise.sum() <= _OTHERS * number:
            raise UserError(
                f"Data set {name!r}: {odd.sum()} of {number} boxes reach far beyond their image or "
                f"have no size, such as {first(odd)}; {advice}"
            )


_CORNERS_FOR_SIZES = (
    "all are inside when their numbers are read as x1, y1, x2, y2. A bbox is x, y, width, height: "
    "write x2 - x1 and y2 - y1 in place of the last two."
)
_SIZES_FOR_CORNERS = (
    "all are inside when their numbers are read as x, y, width, height. Set their bbox_mode to "
    "BoxMode.XYWH_ABS."
)


def _counts(thing: ObjectRecord) -> bool:
    return not thing.is_crowd and thing.mode in (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)


def _is_inside(corners: np.ndarray, sizes: np.ndarray, margin: np.ndarray | float) -> np.ndarray:
    """Whether each has a size and lies inside its image, or beyond it by ``margin`` pixels."""
    low, high = corners[:, :2], corners[:, 2:]
    return np.all((high > low) & (low >= -margin) & (high <= sizes + margin), axis=1)
