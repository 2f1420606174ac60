"""The one reader of annotation files in COCO's format: records, read once per process."""

from __future__ import annotations

import math
import os
import reprlib
from typing import Any

from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from fcos.data.boxes import expected_box, is_degenerate
from fcos.data.coco_lists import equal_ids, read_lists
from fcos.data.mask_forms import mask_form
from fcos.data.records import (
    DatasetRecords,
    ImageRecord,
    ObjectRecord,
    is_marked_crowd,
)
from fcos.utils.collector import collector_paused
from fcos.utils.values import is_number, is_size, listed

__all__ = ["forget_annotations", "read_annotations", "read_classes"]

_Key = tuple[str, bool]  # path, and whether masks are read
_kept: dict[_Key, tuple[object, DatasetRecords]] = {}  # state of the file, its records
_MOST_KEPT = 8  # files
_XYWH = BoxMode.XYWH_ABS


def read_annotations(json_file: str, with_masks: bool = True) -> DatasetRecords:
    """Read an annotation file; a second call returns the same records if it has not changed.

    Args:
        json_file: in COCO's format.
        with_masks: also read segmentations. Without, they are not even looked at.

    Returns:
        Records that must not be changed. What makes its images unusable is their ``problem``:
        the class names of such a file can be used all the same.

    Raises:
        UserError: it is not JSON in UTF-8, or not in COCO's format: it lacks the lists "images"
            or "categories", or a member of a list is no mapping or has an invalid id or name.
    """
    key, state = (json_file, with_masks), _state_of(json_file)
    if key in _kept and _kept[key][0] == state:
        return _kept[key][1]
    _kept.pop(key, None)
    with collector_paused():
        records = _records(json_file, read_lists(json_file), with_masks)
    while len(_kept) >= _MOST_KEPT:
        _kept.pop(next(iter(_kept)))  # the oldest
    _kept[key] = state, records
    return records


def read_classes(json_file: str) -> DatasetRecords:
    """Return records of an annotation file of which only the classes are wanted.

    Raises:
        UserError: as for :func:`read_annotations`.
    """
    return read_annotations(json_file, with_masks=(json_file, True) in _kept)


def forget_annotations(json_file: str) -> None:
    """Free the memory of records that are not needed any more."""
    for with_masks in (True, False):
        _kept.pop((json_file, with_masks), None)


def _state_of(path: str) -> object:
    try:
        found = os.stat(PathManager.get_local_path(path))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _records(
    json_file: str, lists: dict[str, list[dict[str, Any]]], with_masks: bool
) -> DatasetRecords:
    categories = sorted(lists["categories"], key=lambda category: category["id"])
    names = [category["name"] for category in categories]
    ids = [category["id"] for category in categories]
    has_annotations = "annotations" in lists
    images: dict[Any, ImageRecord] = {}
    try:
        for member in sorted(lists["images"], key=lambda image: image["id"]):
            images[member["id"]] = _image(member)
        annotations = lists.get("annotations", [])
        _check_ids(json_file, annotations)
        stray = _add_objects(images, annotations, set(ids), with_masks)
    except _Problem as problem:
        text = f"{json_file}: {problem}"
        return DatasetRecords([], names, ids, "", has_annotations, problem=text)
    stray = f"{json_file}: {stray}" if stray else ""
    return DatasetRecords([*images.values()], names, ids, "", has_annotations, stray)


class _Problem(Exception):
    """Why the images of a file cannot be used."""


def _image(member: dict[str, Any]) -> ImageRecord:
    missing = [key for key in ("file_name", "width", "height") if key not in member]
    if missing:
        raise _Problem(f"image {member['id']} has no {' and no '.join(missing)}.")
    width, height = member["width"], member["height"]
    if not (is_size(width) and is_size(height)):
        raise _Problem(
            f"image {member['id']} has the width {reprlib.repr(width)} and the height "
            f"{reprlib.repr(height)}; expected two positive whole numbers, of pixels."
        )
    return ImageRecord(member["id"], member["file_name"], width, height)


def _check_ids(json_file: str, annotations: list[dict[str, Any]]) -> None:
    """detectron2 and COCO's evaluation need them."""
    ids = [annotation.get("id") for annotation in annotations]
    if None in ids:
        raise _Problem(f"annotation {reprlib.repr(annotations[ids.index(None)])} has no id.")
    # The published "minival" files of COCO 2014 repeat some, which detectron2 accepts.
    if "minival" not in json_file and (problem := equal_ids("annotations", ids)):
        raise _Problem(problem)


def _add_objects(
    images: dict[Any, ImageRecord],
    annotations: list[dict[str, Any]],
    category_ids: set[Any],
    with_masks: bool,
) -> str:
    """Add each object to its image; returns a sentence on the first that is of no image.

    Empties ``annotations`` on the way, so that not all of them are in memory twice.
    """
    stray = ""
    annotations.reverse()
    while annotations:
        annotation = annotations.pop()
        category_id = annotation.get("category_id")
        if category_id not in category_ids:
            _require(annotation, "category_id")
            raise _Problem(
                f"annotation {annotation['id']} has category_id {category_id!r}, which is not "
                f"among its categories: {listed(sorted(category_ids)) or 'it lists none'}."
            )
        image = images.get(annotation.get("image_id"))
        if image is not None:
            image.objects.append(_object(annotation, category_id, image, with_masks))
        elif not stray:
            _require(annotation, "image_id")
            stray = (
                f"annotation {annotation['id']} is on image {annotation['image_id']!r}, which is "
                "not among its images."
            )
    return stray


def _require(annotation: dict[str, Any], key: str) -> None:
    if key not in annotation:
        raise _Problem(f"annotation {annotation['id']} has no {key}.")


def _object(
    annotation: dict[str, Any], category_id: Any, image: ImageRecord, with_masks: bool
) -> ObjectRecord:
    box: Any = annotation.get("bbox")
    try:  # COCO has 860,000 boxes, so this is written to be fast
        x, y, width, height = box
        is_sound = math.isfinite(x + y + width + height)
    except (OverflowError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        _require(annotation, "bbox")
        raise _Problem(f"annotation {annotation['id']} has the bbox {expected_box(box)}.")
    if annotation.get("ignore"):
        raise _Problem(f'annotation {annotation["id"]} is marked "ignore": use "iscrowd".')
    try:
        is_crowd = is_marked_crowd(annotation.get("iscrowd"))
    except ValueError as error:
        raise _Problem(f"annotation {annotation['id']} {error}.") from error
    segmentation = annotation.get("segmentation") if with_masks else None
    keypoints = annotation.get("keypoints")
    return ObjectRecord(
        annotation["id"],
        category_id,
        box,
        _XYWH,
        is_degenerate((x, y, x + width, y + height), image.width, image.height),
        is_crowd,
        mask_form(segmentation, image.height, image.width) if segmentation else "",
        segmentation,
        annotation.get("area"),
        keypoints if keypoints and _are_keypoints(keypoints) else None,
    )


def _are_keypoints(keypoints: Any) -> bool:
    """Nothing here learns them, so that what is wrong with them does not matter."""
    return isinstance(keypoints, list) and all(map(is_number, keypoints))
