"""Boxes of annotations: their corners, and what is wrong with one."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

from detectron2.structures import BoxMode

__all__ = ["corners", "expected_box", "is_degenerate"]


# Pixels. The loader leaves out what is below 1e-5 after resizing, in the steps of float32.
_LEAST = 1e-3


def is_degenerate(xyxy: Iterable[float], width: float, height: float) -> bool:
    """Return whether nothing of a box lies inside its image, not even a thousandth of a pixel.

    Args:
        xyxy: left, top, right, bottom, in pixels of the image as it is on disk. A box that only
            touches the border from outside is degenerate, one that reaches past it is not. A box
            with NaN is.
        width, height: of that image.
    """
    left, top, right, bottom = xyxy
    # min and max are slower, and NaN is to remain NaN.
    is_wide = (width if width < right else right) - (0 if left < 0 else left) > _LEAST
    is_high = (height if height < bottom else bottom) - (0 if top < 0 else top) > _LEAST
    return not (is_wide and is_high)


def expected_box(box: Any) -> str:
    """Say what a box is that is none, and what it has to be."""
    values = box if isinstance(box, (list, tuple)) else ()
    are_texts = any(isinstance(value, str) for value in values)
    advice = ": write them without quotation marks" if are_texts else ""
    return f"{reprlib.repr(box)}; expected 4 finite numbers, in pixels{advice}"


def corners(box: list[float], mode: BoxMode) -> list[float]:
    """Return left, top, right, bottom of a box."""
    if mode == BoxMode.XYWH_ABS:  # converting one by one takes 20 times as long
        x, y, width, height = box
        return [x, y, x + width, y + height]
    return BoxMode.convert(list(box), mode, BoxMode.XYXY_ABS)
