"""Checks of segmentations, for a detector with masks."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Sequence

from fcos.data.mask_forms import (
    BROKEN_POLYGONS,
    BROKEN_RUN_LENGTHS,
    FAR_OUTSIDE,
    NOT_NUMBERS,
    OTHER_SIZE,
    RUN_LENGTHS,
)
from fcos.data.records import ImageRecord, ObjectRecord
from fcos.utils.errors import UserError
from fcos.utils.values import listed

__all__ = ["check_masks"]

_OR_BOXES = "or set MODEL.MASK_ON False for boxes only"
# The forms that cannot be used: what such annotations have, and what to do.
_PROBLEMS = {
    (NOT_NUMBERS,): (
        "a segmentation with something else than finite numbers",
        f"Correct them, {_OR_BOXES}.",
    ),
    ("", BROKEN_POLYGONS): (
        "no segmentation, which MODEL.MASK_ON True needs",
        f"Annotate them with polygons, {_OR_BOXES}.",
    ),
    (FAR_OUTSIDE,): (
        "polygons that reach more than ten times the size of their image beyond it",
        f"Write them in pixels, {_OR_BOXES}.",
    ),
    (OTHER_SIZE,): (
        "run lengths of another size than their image, whose rows and columns they count",
        f"Correct them, {_OR_BOXES}.",
    ),
    (BROKEN_RUN_LENGTHS,): (
        "run lengths that do not add up to the pixels of their image",
        f"Correct them, {_OR_BOXES}.",
    ),
}

_RUN_LENGTHS_FOR_POLYGONS = (
    "run lengths as segmentation, which INPUT.MASK_FORMAT polygon cannot hold",
    "Set INPUT.MASK_FORMAT bitmask.",
)


def check_masks(
    where: str, images: Sequence[ImageRecord], mask_format: str, for_training: bool
) -> None:
    """Check that every annotation has a mask that can be used.

    Args:
        where: what a message calls the data set.
        images: its records, read with masks.
        mask_format: INPUT.MASK_FORMAT.
        for_training: then crowd regions and degenerate boxes, which training leaves out, need none;
            an evaluation has a use for both.

    Raises:
        UserError: one has not, or ``mask_format`` cannot hold it.
    """
    if mask_format not in ("polygon", "bitmask"):
        raise UserError(f"INPUT.MASK_FORMAT is {mask_format!r}: expected polygon or bitmask.")
    problems = dict(_PROBLEMS)
    if for_training and mask_format == "polygon":
        problems[(RUN_LENGTHS,)] = _RUN_LENGTHS_FOR_POLYGONS
    objects = functools.partial(_objects, images, for_training)
    number_of = Counter(thing.mask_form for thing, _ in objects())
    for forms, (what, advice) in problems.items():
        if sum(number_of[form] for form in forms):
            having = [_named(*pair) for pair in objects() if pair[0].mask_form in forms]
            raise UserError(
                f"{where}: {len(having)} of {number_of.total()} annotations have {what}: "
                f"{listed(having)}. {advice}"
            )


def _objects(
    images: Sequence[ImageRecord], for_training: bool
) -> Iterator[tuple[ObjectRecord, ImageRecord]]:
    for image in images:
        for thing in image.objects:
            if not (for_training and (thing.is_crowd or thing.is_degenerate)):
                yield thing, image


def _named(thing: ObjectRecord, image: ImageRecord) -> str:
    if thing.mask_form != OTHER_SIZE:
        return thing.where
    return f"{thing.where} ({thing.segmentation['size']} instead of {[image.height, image.width]})"
