"""The one reader of annotation files in COCO's format: records, read once per process."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import reprlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from fcos.data.records import (
    DatasetRecords,
    ImageRecord,
    ObjectRecord,
    is_degenerate,
    mask_form,
)
from fcos.utils.errors import UserError
from fcos.utils.json_files import is_id, read_json
from fcos.utils.values import is_number, listed

__all__ = ["forget_annotations", "read_annotations"]

_kept: dict[str, tuple[object, DatasetRecords]] = {}  # path -> state of the file, its records
_MOST_KEPT = 8  # files
_XYWH = BoxMode.XYWH_ABS


def read_annotations(json_file: str) -> DatasetRecords:
    """Read an annotation file; a second call returns the same records if it has not changed.

    Returns:
        Records that must not be changed. What makes its images unusable is their ``problem``:
        the class names of such a file can be used all the same.

    Raises:
        UserError: it is not JSON in UTF-8, or not in COCO's format: it lacks the lists "images"
            or "categories", or a member of a list is no mapping or has an invalid id or name.
    """
    state = _state_of(json_file)
    if json_file in _kept and _kept[json_file][0] == state:
        return _kept[json_file][1]
    forget_annotations(json_file)
    with _collector_paused():
        records = _records(json_file, _read_lists(json_file))
    while len(_kept) >= _MOST_KEPT:
        forget_annotations(next(iter(_kept)))  # the oldest
    _kept[json_file] = state, records
    return records


def forget_annotations(json_file: str) -> None:
    """Free the memory of records that are not needed any more."""
    _kept.pop(json_file, None)


def _state_of(path: str) -> object:
    try:
        found = os.stat(PathManager.get_local_path(path))
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Python would look through all records again and again while there are more and more."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# ---- the lists --------------------------------------------------------------------------------


class _Kind(NamedTuple):
    """What the members of a list have."""

    called: str
    needed: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]


_KINDS = {
    "images": _Kind("image", ("id",), ids=("id",), texts=("file_name",)),
    "categories": _Kind("category", ("id", "name"), ids=("id",), texts=("name",)),
    "annotations": _Kind("annotation", (), ids=("id", "image_id", "category_id"), texts=()),
}


def _read_lists(json_file: str) -> dict[str, list[dict[str, Any]]]:
    """The lists of the file, with what each member must have for the file to be COCO's at all."""
    contents = read_json(json_file)
    if not isinstance(contents, dict):
        contents = {}
    keys = ["images", "categories", *(["annotations"] if "annotations" in contents else ())]
    missing = [key for key in keys if not isinstance(contents.get(key), list)]
    if missing:
        raise UserError(
            f"{json_file} is not in COCO's format: it has no list {' and no list '.join(missing)}."
        )
    for key in keys:
        _check_members(json_file, key, contents[key])
    return {key: contents[key] for key in keys}


def _check_members(json_file: str, key: str, members: list[Any]) -> None:
    kind = _KINDS[key]
    if set(map(type, members)) - {dict}:
        index, member = next((i, m) for i, m in enumerate(members) if not isinstance(m, dict))
        raise UserError(
            f"{json_file} is not in COCO's format: {key}[{index}] is {reprlib.repr(member)}, "
            "expected a mapping."
        )
    for name in kind.needed:
        for member in members:
            if name not in member:
                raise UserError(f"{json_file}: {kind.called} {member} has no {name}.")
    for name in kind.ids:
        _check_values(json_file, key, members, name, "a number or a text")
    for name in kind.texts:
        _check_values(json_file, key, members, name, "a text")
    if kind.needed:
        ids = [member["id"] for member in members]
        if problem := _equal_ids(key, ids):
            raise UserError(f"{json_file}: {problem}")
        _refuse_mixed_ids(json_file, key, ids)


def _check_values(
    json_file: str, key: str, members: list[dict[str, Any]], name: str, expected: str
) -> None:
    is_text = expected == "a text"
    types = {type(member[name]) for member in members if name in member}
    if types <= ({str} if is_text else {int, str}):  # almost always, and quick to see
        return
    for index, member in enumerate(members):
        value = member.get(name, "")
        if not (isinstance(value, str) if is_text else is_id(value)):
            raise UserError(
                f"{json_file}: {key}[{index}] has the {name} {reprlib.repr(value)}; expected "
                f"{expected}."
            )


def _equal_ids(key: str, ids: list[Any]) -> str:
    """A sentence if some ids are equal: the later one would silently replace the earlier one."""
    if len(set(ids)) == len(ids):
        return ""
    doubled = [repr(number) for number, count in Counter(ids).items() if count > 1]
    more = ", ..." if len(doubled) > 5 else ""
    return f"{key} with the same id: {', '.join(doubled[:5])}{more}. Give each an id of its own."


def _refuse_mixed_ids(json_file: str, key: str, ids: list[Any]) -> None:
    """Images and classes are sorted by their ids, so these have to be comparable."""
    texts = [id_ for id_ in ids if isinstance(id_, str)]
    numbers = [id_ for id_ in ids if not isinstance(id_, str)]
    if texts and numbers:
        raise UserError(
            f"{json_file}: some {key} have a number as id and some a text, such as {numbers[0]} "
            f"and {texts[0]!r}. Make all of them numbers."
        )


# ---- the records ------------------------------------------------------------------------------


def _records(json_file: str, lists: dict[str, list[dict[str, Any]]]) -> DatasetRecords:
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
        stray = _add_objects(images, annotations, set(ids))
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
        raise _Problem(f"image {member} has no {' and no '.join(missing)}.")
    width, height = member["width"], member["height"]
    if not (is_number(width) and is_number(height) and width > 0 and height > 0):
        raise _Problem(
            f"image {member['id']} has the width {width!r} and the height {height!r}; expected two "
            "positive numbers, in pixels."
        )
    return ImageRecord(member["id"], member["file_name"], width, height)


def _check_ids(json_file: str, annotations: list[dict[str, Any]]) -> None:
    """detectron2 and COCO's evaluation need them."""
    ids = [annotation.get("id") for annotation in annotations]
    if None in ids:
        raise _Problem(f"annotation {reprlib.repr(annotations[ids.index(None)])} has no id.")
    # The published "minival" files of COCO 2014 repeat some, which detectron2 accepts.
    if "minival" not in json_file and (problem := _equal_ids("annotations", ids)):
        raise _Problem(problem)


def _add_objects(
    images: dict[Any, ImageRecord], annotations: list[dict[str, Any]], category_ids: set[Any]
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
                f"among its categories: {listed(sorted(category_ids))}."
            )
        image = images.get(annotation.get("image_id"))
        if image is not None:
            image.objects.append(_object(annotation, category_id, image))
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


def _object(annotation: dict[str, Any], category_id: Any, image: ImageRecord) -> ObjectRecord:
    box: Any = annotation.get("bbox")
    segmentation = annotation.get("segmentation")
    try:  # COCO has 860,000 boxes, so this is written to be fast
        x, y, width, height = box
        is_sound = math.isfinite(x + y + width + height)
    except (TypeError, ValueError):
        is_sound = False
    if not is_sound:
        _require(annotation, "bbox")
        raise _Problem(
            f"annotation {annotation['id']} has the bbox {box}; expected 4 finite numbers, in "
            "pixels."
        )
    if annotation.get("ignore"):
        raise _Problem(f'annotation {annotation["id"]} is marked "ignore": use "iscrowd".')
    return ObjectRecord(
        annotation["id"],
        category_id,
        box,
        _XYWH,
        is_degenerate((x, y, x + width, y + height), image.width, image.height),
        bool(annotation.get("iscrowd", 0)),
        mask_form(segmentation) if segmentation else "",
        segmentation,
        annotation.get("area"),
        annotation.get("keypoints"),
    )
