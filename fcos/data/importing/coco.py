"""COCO: a JSON file for each split, also as Roboflow exports it."""

from __future__ import annotations

import os
from typing import Any

from fcos.data.importing.files import Folder
from fcos.data.importing.labels import (
    LabelledImage,
    LabelledObject,
    Labels,
    Options,
    Problems,
    Unreadable,
    box_around,
    box_of,
    polygon_of,
)
from fcos.data.importing.reading import read_json
from fcos.data.importing.tables import split_in_name

__all__ = ["read_coco"]


class _File:
    """The contents of an annotation file, by id."""

    def __init__(self, path: str, where: str) -> None:
        content = read_json(path)
        if not isinstance(content, dict):
            raise Unreadable("JSON files that are no mapping")
        self.where = where
        self.lists: dict[str, list[dict[str, Any]]] = {}
        for key in ("images", "annotations", "categories"):
            records = content.get(key)
            if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
                raise Unreadable(f"JSON files without COCO's list {key!r}")
            self.lists[key] = records
        # Some tools write an id as a number in one list and as a text in the other.
        self.names = {
            str(category.get("id")): str(category.get("name"))
            for category in sorted(self.lists["categories"], key=_by_id)
        }
        self.used = {str(annotation.get("category_id")) for annotation in self.lists["annotations"]}


def _by_id(category: dict[str, Any]) -> tuple[bool, Any]:
    number = category.get("id")
    is_number = isinstance(number, (int, float))
    return not is_number, number if is_number else str(number)


def read_coco(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read boxes and their segmentations."""
    notes, contents = [], []
    files, skipped = _chosen(files)
    if skipped:
        named = ", ".join(map(folder.relative, skipped))
        notes.append(f"Not read, because the other files are those of boxes or splits: {named}.")
    for path in files:
        where = folder.relative(path)
        try:
            contents.append((path, _File(path, where)))
        except Unreadable as problem:
            problems.add(problem, where)
    dummies = _dummies([file for _, file in contents])
    if dummies:
        notes.append(
            f"Roboflow's empty class of id 0, {', '.join(map(repr, dummies))}, is left out."
        )
    images: list[LabelledImage] = []
    class_names: list[str] = []
    for path, file in contents:
        images += _read_file(folder, path, file, problems)
        class_names += [n for n in file.names.values() if n not in class_names + dummies]
    return Labels(images, class_names, notes)


def _chosen(files: list[str]) -> tuple[list[str], list[str]]:
    """Part the files to read from those that say the same in another way.

    COCO's own folder has keypoints and captions beside its instances, and others a file of all
    images beside those of the splits.
    """
    instances = [path for path in files if os.path.basename(path).startswith("instances")]
    chosen = instances or files
    if len(chosen) > 1:
        chosen = [path for path in chosen if _split_of(path)] or chosen
    return chosen, [path for path in files if path not in chosen]


def _split_of(path: str) -> str:
    """Return the split that the name of a file says, or that of its folder."""
    return split_in_name(path) or split_in_name(os.path.dirname(path))


def _dummies(files: list[_File]) -> list[str]:
    """Return the name of a class of id 0 and supercategory "none" that no annotation has."""
    dummies = {
        str(category.get("name"))
        for file in files
        for category in file.lists["categories"]
        if category.get("id") == 0 and category.get("supercategory") == "none"
    }
    used = {file.names.get(number) for file in files for number in file.used}
    return sorted(dummies - used)


def _read_file(folder: Folder, path: str, file: _File, problems: Problems) -> list[LabelledImage]:
    images: dict[str, LabelledImage | None] = {}
    split = _split_of(path)
    for number, record in enumerate(file.lists["images"]):
        name = str(record.get("file_name") or "")
        where = f"{file.where} (image {record.get('id')}, {name})"
        identity = str(record.get("id", f"none {number}"))
        if identity in images:
            problems.add("images with the id of another one", where)
            continue
        images[identity] = None
        try:
            image = folder.labelled([name], path, where, split)
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        image.take_size(record.get("width"), record.get("height"))
        images[identity] = image
    for annotation in file.lists["annotations"]:
        where = f"{file.where} (annotation {annotation.get('id')})"
        identity = str(annotation.get("image_id"))
        if identity not in images:
            problems.add("annotations of an image that the file has not", where)
            continue
        try:
            labelled = _object(annotation, file.names)
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        image_of_it = images[identity]
        if image_of_it is not None:
            image_of_it.objects.append(labelled)
    return [image for image in images.values() if image is not None]


def _object(annotation: dict[str, Any], names: dict[str, str]) -> LabelledObject:
    name = names.get(str(annotation.get("category_id")))
    if name is None:
        raise Unreadable("annotations of a category that the file has not")
    segmentation = _segmentation(annotation.get("segmentation"))
    bbox: Any = annotation.get("bbox")
    if bbox is None and isinstance(segmentation, list):
        xyxy = box_around(segmentation)
    else:
        try:
            x, y, width, height = map(float, bbox)
        except (TypeError, ValueError):
            raise Unreadable("annotations without a bbox of four numbers") from None
        xyxy = box_of((x, y, x + width, y + height))
    labelled = LabelledObject(name, xyxy, segmentation)
    labelled.is_crowd = annotation.get("iscrowd") in (1, True, "1")
    area = annotation.get("area")
    if segmentation is not None and isinstance(area, (int, float)) and area > 0:
        labelled.area = float(area)
    return labelled


def _segmentation(value: Any) -> Any:
    """Return polygons or run lengths; None for what is neither, which a box has no need of."""
    if isinstance(value, dict) and isinstance(value.get("size"), list) and "counts" in value:
        return {"size": value["size"], "counts": value["counts"]}
    if not isinstance(value, list):
        return None
    parts = [value] if value and isinstance(value[0], (int, float)) else value
    polygons = []
    for part in parts:
        try:
            polygons.append(polygon_of(part))
        except Unreadable:
            continue
    return polygons or None
