"""Records of a data set that a Python function gives, in detectron2's form."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from detectron2.structures import BoxMode
from fcos.data.records import (
    BROKEN_POLYGONS,
    DatasetRecords,
    ImageRecord,
    ObjectRecord,
    corners,
    is_degenerate,
    mask_form,
)
from fcos.utils.errors import UserError

__all__ = ["records_of_dicts"]


def records_of_dicts(
    name: str, dicts: Iterable[dict[str, Any]], class_names: list[str]
) -> DatasetRecords:
    """Return records of images in detectron2's form, which they keep as their ``source``.

    Args:
        name: of the data set, for messages.
        dicts: the images.
        class_names: of the data set; empty if they are not known.

    Raises:
        UserError: an annotation has an invalid box.
    """
    images = []
    for source in dicts:
        size = source.get("width", math.inf), source.get("height", math.inf)
        file_name = str(source.get("file_name", ""))
        image = ImageRecord(source.get("image_id"), file_name, *size, source=source)
        for number, annotation in enumerate(source.get("annotations", ())):
            image.objects.append(_object(name, image, number, annotation))
        images.append(image)
    return DatasetRecords(images, class_names, list(range(len(class_names))))


def _object(name: str, image: ImageRecord, number: int, annotation: dict[str, Any]) -> ObjectRecord:
    mode = annotation.get("bbox_mode", BoxMode.XYXY_ABS)
    try:
        box = [float(value) for value in annotation["bbox"]]
        is_sound = len(box) == (5 if mode == BoxMode.XYWHA_ABS else 4)
        is_sound = is_sound and all(map(math.isfinite, box))
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"Data set {name!r}: annotation {number} of {image.file_name} has the bbox "
            f"{annotation.get('bbox')}; expected 4 finite numbers, in pixels."
        )
    segmentation = annotation.get("segmentation")
    form = mask_form(segmentation)
    return ObjectRecord(
        number,
        annotation.get("category_id"),
        box,
        mode,
        is_degenerate(corners(box, mode), image.width, image.height),
        bool(annotation.get("iscrowd", 0)),
        "" if form == BROKEN_POLYGONS else form,  # what such a function gives is loaded
        segmentation,
    )
