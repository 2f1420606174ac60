"""The forms that the segmentation of an annotation can have, and which of them can be used.

A decoder of COCO's run lengths writes wherever these tell it to, so they are looked at first.
"""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = [
    "BROKEN_POLYGONS",
    "BROKEN_RUN_LENGTHS",
    "FAR_OUTSIDE",
    "NOT_NUMBERS",
    "OTHER_SIZE",
    "POLYGONS",
    "RUN_LENGTHS",
    "are_run_lengths_of",
    "loadable",
    "mask_form",
]

# The form of an absent segmentation is "". Only the first two can be used.
POLYGONS = "polygons"
RUN_LENGTHS = "run lengths"
NOT_NUMBERS = "not numbers"  # polygons with something else than finite numbers
BROKEN_POLYGONS = "broken polygons"  # none of them has three points or more
FAR_OUTSIDE = "far outside"  # polygons whose edges would fill the memory
OTHER_SIZE = "other size"  # run lengths for an image of another size
BROKEN_RUN_LENGTHS = "broken run lengths"  # they do not add up to the pixels of their image

# Compressed run lengths: numbers of 5 bits in each character, and one more if another follows.
_COMPRESSED = re.compile(rb"(?:[P-o]{0,6}[0-O])*")
_MOST_OUTSIDE = 10  # widths and heights of the image


def mask_form(segmentation: Any, height: float, width: float) -> str:
    """Return the form of a segmentation.

    Args:
        segmentation: of an annotation.
        height, width: of its image in pixels; infinite if they are not known.
    """
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return _form_of_run_lengths(segmentation, height, width)
    if not isinstance(segmentation, list) or not segmentation:
        return ""
    parts = [part for part in segmentation if isinstance(part, list)]
    if not all(map(_are_finite, parts)):
        return NOT_NUMBERS
    if not any(map(_is_polygon, parts)):
        return BROKEN_POLYGONS
    most = _MOST_OUTSIDE * (height + width)
    is_near = all(max(part) < most and min(part) > -most for part in parts if part)
    return POLYGONS if is_near else FAR_OUTSIDE


def loadable(segmentation: Any) -> Any:
    """Return compressed run lengths, or those polygons that have three points or more."""
    if not isinstance(segmentation, dict):
        return [part for part in segmentation if _is_polygon(part)]
    if not isinstance(segmentation["counts"], list):
        return segmentation
    from pycocotools import mask as mask_api

    return mask_api.frPyObjects(segmentation, *segmentation["size"])


def are_run_lengths_of(counts: Any, num_pixels: int) -> bool:
    """Return whether the "counts" of run lengths, a list or compressed, add up to an image."""
    if isinstance(counts, list):
        are_lengths = set(map(type, counts)) <= {int} and min(counts, default=0) >= 0
        return are_lengths and sum(counts) == num_pixels
    if isinstance(counts, str) and counts.isascii():
        counts = counts.encode()
    if not isinstance(counts, bytes) or not _COMPRESSED.fullmatch(counts):
        return False
    lengths = _decompressed(counts)
    return min(lengths, default=0) >= 0 and sum(lengths) == num_pixels


def _form_of_run_lengths(segmentation: dict[str, Any], height: float, width: float) -> str:
    size = segmentation.get("size")
    if not isinstance(size, (list, tuple)):
        return ""
    if len(size) != 2 or set(map(type, size)) != {int} or min(size) < 1:
        return OTHER_SIZE
    if math.isfinite(height + width) and list(size) != [height, width]:
        return OTHER_SIZE
    is_sound = are_run_lengths_of(segmentation["counts"], size[0] * size[1])
    return RUN_LENGTHS if is_sound else BROKEN_RUN_LENGTHS


def _decompressed(counts: bytes) -> list[int]:
    """From the fourth on, each is written as its difference from the last but one."""
    lengths: list[int] = []
    number, shift = 0, 0
    for code in counts:
        code -= 48
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:  # it is negative
            number -= 1 << shift
        lengths.append(number + lengths[-2] if len(lengths) > 2 else number)
        number, shift = 0, 0
    return lengths


def _are_finite(numbers: list[Any]) -> bool:
    try:
        return math.isfinite(sum(numbers))  # ten times as fast as one by one
    except (OverflowError, TypeError):
        return False


def _is_polygon(part: Any) -> bool:
    return isinstance(part, list) and len(part) >= 6 and len(part) % 2 == 0
