"""Annotations as they are in their file, so that a message can name the one that is wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import reprlib
from collections.abc import Sequence
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from fcos.data.mapper import is_degenerate
from fcos.data.register import get_class_names, read_coco_json, refuse_equal_ids
from fcos.utils.errors import UserError

__all__ = ["AnnotatedBox", "AnnotatedImage", "listed", "read_annotated"]

NAMED = 5  # how many of several things a message names


@dataclasses.dataclass
class AnnotatedImage:
    """An image of a data set.

    Attributes:
        file_name: its path.
        width, height: in pixels; infinite where the data set does not say.
        boxes: all of its annotations.
    """

    file_name: str
    width: float
    height: float
    boxes: list[AnnotatedBox] = dataclasses.field(default_factory=list)

    @property
    def num_objects(self) -> int:
        """Boxes to learn or to find."""
        return sum(not (box.is_crowd or self.has_degenerate(box)) for box in self.boxes)

    def has_degenerate(self, box: AnnotatedBox) -> bool:
        """Whether nothing of ``box`` lies inside."""
        return is_degenerate(box.xyxy, self.width, self.height)


@dataclasses.dataclass(frozen=True)
class AnnotatedBox:
    """An annotation.

    Attributes:
        where: names it in a message.
        xyxy: corners in pixels, as annotated.
        is_crowd: a region of many objects, not one of them.
        mask_form: "polygons", "run lengths", "no numbers" or, without a segmentation, "".
        mask_size: of run lengths, rows and columns.
    """

    where: str
    xyxy: list[float]
    is_crowd: bool
    mask_form: str
    mask_size: list[int] | None


def read_annotated(name: str, for_training: bool) -> tuple[list[AnnotatedImage], list[str]]:
    """The images and the class names of a registered data set.

    Args:
        name: as registered with detectron2.
        for_training: else it is to be evaluated on, which needs the area of each object.

    Raises:
        UserError: an image or an annotation is not sound; which, and what it should have.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("json_file"):
        return _read_coco(metadata.json_file, metadata.get("image_root", ""), for_training)
    return _read_entries(name)


def _read_coco(
    json_file: str, image_root: str, for_training: bool
) -> tuple[list[AnnotatedImage], list[str]]:
    contents = read_coco_json(json_file)
    categories = sorted(contents["categories"], key=lambda category: category["id"])
    known_ids = {category["id"] for category in categories}
    images: dict[Any, AnnotatedImage] = {}
    for record in contents["images"]:
        missing = [key for key in ("id", "file_name", "width", "height") if key not in record]
        if missing:
            raise UserError(f"{json_file}: image {record} has no {' and no '.join(missing)}.")
        size = record["width"], record["height"]
        if not all(isinstance(side, (int, float)) and side > 0 for side in size):
            raise UserError(
                f"{json_file}: image {record['id']} has the width {size[0]!r} and the height "
                f"{size[1]!r}; expected two positive numbers, in pixels."
            )
        path = os.path.join(image_root, record["file_name"])
        images[record["id"]] = AnnotatedImage(path, *size)
    _check_fields(json_file, contents.get("annotations", []), for_training)
    for annotation in contents.get("annotations", ()):
        where = f"annotation {annotation.get('id')}"
        if annotation.get("category_id") not in known_ids:
            raise UserError(
                f"{json_file}: {where} has category_id {annotation.get('category_id')!r}, which "
                f"is not among its categories: {listed(sorted(known_ids))}."
            )
        box = _box(f"{json_file}: {where}", annotation, BoxMode.XYWH_ABS)
        if annotation.get("image_id") not in images:
            raise UserError(
                f"{json_file}: {where} is on image {annotation.get('image_id')!r}, which is "
                "not among its images."
            )
        images[annotation["image_id"]].boxes.append(dataclasses.replace(box, where=where))
    return list(images.values()), [category["name"] for category in categories]


def _check_fields(json_file: str, annotations: list[dict[str, Any]], for_training: bool) -> None:
    """Loading needs an id of its own for each annotation, and the evaluation its area."""
    for annotation in annotations:
        needed = ("id",) if for_training else ("id", "area")
        missing = [key for key in needed if annotation.get(key) is None]
        if missing:
            raise UserError(
                f"{json_file}: annotation {reprlib.repr(annotation)} has no "
                f"{' and no '.join(missing)}."
            )
    # detectron2 puts up with it in the published "minival" files of COCO 2014, which have some.
    if "minival" not in json_file:
        refuse_equal_ids(json_file, "annotations", annotations)


def _read_entries(name: str) -> tuple[list[AnnotatedImage], list[str]]:
    """Of a data set that is not in COCO's format: as the function that it registered gives it."""
    entries = DatasetCatalog.get(name)
    class_names = get_class_names(name)
    images = []
    for entry in entries:
        size = entry.get("width", math.inf), entry.get("height", math.inf)
        image = AnnotatedImage(entry["file_name"], *size)
        for number, annotation in enumerate(entry.get("annotations", ())):
            where = f"annotation {number} of {entry['file_name']}"
            if annotation.get("category_id") not in range(len(class_names)):
                raise UserError(
                    f"Data set {name!r}: {where} has category_id {annotation.get('category_id')}, "
                    f"expected 0 to {len(class_names) - 1}."
                )
            mode = annotation.get("bbox_mode", BoxMode.XYXY_ABS)
            box = _box(f"Data set {name!r}: {where}", annotation, mode)
            image.boxes.append(dataclasses.replace(box, where=f"annotation {number}"))
        images.append(image)
    return images, class_names


def _box(where: str, annotation: dict[str, Any], mode: BoxMode) -> AnnotatedBox:
    try:
        numbers = [float(number) for number in annotation["bbox"]]
        is_sound = len(numbers) == 4 and all(map(math.isfinite, numbers))
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"{where} has the bbox {annotation.get('bbox')}; expected 4 finite numbers, in pixels."
        )
    xyxy = BoxMode.convert(numbers, mode, BoxMode.XYXY_ABS)
    mask: Any = annotation.get("segmentation")
    form = _mask_form(mask)
    size = list(mask["size"]) if form == "run lengths" else None
    return AnnotatedBox(where, xyxy, bool(annotation.get("iscrowd", 0)), form, size)


def _mask_form(segmentation: object) -> str:
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return "run lengths" if isinstance(segmentation.get("size"), (list, tuple)) else ""
    if isinstance(segmentation, list):
        parts = [part for part in segmentation if isinstance(part, list)]
        if not all(map(_are_finite, parts)):
            return "no numbers"
        # A polygon has three corners or more.
        if any(len(part) >= 6 and len(part) % 2 == 0 for part in parts):
            return "polygons"
    return ""


def _are_finite(numbers: list[Any]) -> bool:
    try:
        return math.isfinite(sum(numbers))  # ten times as fast as one by one
    except TypeError:
        return False


def listed(things: Sequence[object]) -> str:
    """The first five, and how many there are."""
    named = ", ".join(map(str, itertools.islice(things, NAMED)))
    return f"{named}, ... ({len(things)} in all)" if len(things) > NAMED else named
