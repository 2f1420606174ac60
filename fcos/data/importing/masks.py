"""Masks: a crop of pixels, as labelling tools store it, and COCO's run lengths of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fcos.data.images import MAX_PIXELS
from fcos.data.importing.labels import LabelledObject, Unreadable

__all__ = ["crop_of_runs", "object_of_crop", "runs_of_crop"]


def object_of_crop(
    name: str, crop: np.ndarray, corner: Sequence[int], size: Sequence[int]
) -> LabelledObject:
    """Make an object of a mask: with its run lengths, its box and its area.

    Args:
        name: of its class.
        crop: (h, w) bool, the pixels of the mask.
        corner: column and row of the image where the crop begins.
        size: width and height of the image.

    Raises:
        Unreadable: the mask is empty or does not fit into the image.
    """
    (left, top), (width, height) = corner, size
    if not (width and height):
        raise Unreadable("masks on images whose size the labels do not say")
    rows, columns = np.flatnonzero(crop.any(axis=1)), np.flatnonzero(crop.any(axis=0))
    if not len(rows):
        raise Unreadable("masks without a pixel")
    crop = crop[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    left, top = left + int(columns[0]), top + int(rows[0])
    right, bottom = left + crop.shape[1], top + crop.shape[0]
    if left < 0 or top < 0 or right > width or bottom > height:
        raise Unreadable("masks that reach outside their image")
    # COCO counts down the columns. A run that ends at the lower edge and one that begins at the
    # upper edge of the next column are one.
    edges = np.diff(np.pad(crop.astype(np.int8), ((1, 1), (0, 0))), axis=0).T
    places = (left + np.arange(crop.shape[1]))[:, None] * height + top + np.arange(len(crop) + 1)
    starts, ends = places[edges == 1], places[edges == -1]
    is_apart = starts[1:] != ends[:-1]
    starts, ends = starts[np.r_[True, is_apart]], ends[np.r_[is_apart, True]]
    bounds = np.r_[0, np.stack([starts, ends], axis=1).ravel()]
    rest = width * height - bounds[-1:]
    counts = np.r_[np.diff(bounds), rest[rest > 0]]
    runs = {"size": [height, width], "counts": counts.tolist()}
    box = float(left), float(top), float(right), float(bottom)
    return LabelledObject(name, box, runs, area=float(crop.sum()))


def crop_of_runs(counts: Sequence[int], width: int, height: int) -> np.ndarray:
    """Return the pixels of run lengths along the rows of a crop, that of the background first.

    Returns:
        (height, width) bool.

    Raises:
        Unreadable: they do not fill the crop.
    """
    is_sound = 0 < width * height <= MAX_PIXELS and min(counts, default=-1) >= 0
    if not is_sound or sum(counts) != width * height:
        raise Unreadable("masks whose run lengths do not add up to their width times height")
    is_inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(is_inside, counts).reshape(height, width)


def runs_of_crop(crop: np.ndarray) -> list[int]:
    """Undo :func:`crop_of_runs`."""
    pixels = crop.astype(np.int8).ravel()
    changes = np.flatnonzero(np.diff(pixels, prepend=0))
    counts: list[int] = np.diff(np.r_[0, changes, len(pixels)]).tolist()
    return counts
