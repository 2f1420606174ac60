"""YOLO: a text file for each image, with a row of fractions for each object."""

from __future__ import annotations

import os
import re
from typing import Any

import yaml

from fcos.data.importing.files import (
    IMAGE_ENDINGS,
    Folder,
    group_by,
    nearest,
    stem_of,
)
from fcos.data.importing.labels import (
    LabelledImage,
    LabelledObject,
    Labels,
    Options,
    Problems,
    Unreadable,
    outlined,
)
from fcos.data.importing.reading import read_lines, read_text
from fcos.utils.errors import UserError
from fcos.utils.reading import parse_yaml

__all__ = ["is_yolo_row", "read_data_yaml", "read_yolo"]

NAME_FILES = ("classes.txt", "obj.names", "predefined_classes.txt", "_darknet.labels")
_ELSEWHERE = "folders that are not below the one that was named"
ROUNDING = 0.02  # by which a fraction may lie outside 0 to 1

_ROW = re.compile(r"\s*\d+(\.0*)?(\s+[-+]?[\d.]+(e[-+]?\d+)?){4,}\s*", re.IGNORECASE)


def is_yolo_row(line: str) -> bool:
    """Whether a line is a class number and four numbers or more."""
    return _ROW.fullmatch(line) is not None


def read_data_yaml(path: str) -> dict[str, Any]:
    """Return the contents of a data.yaml; empty if it is none."""
    try:
        content = parse_yaml(read_text(path))
    except (Unreadable, yaml.YAMLError):
        return {}
    is_one = isinstance(content, dict) and "names" in content and {"train", "val"} & set(content)
    return content if is_one else {}


def read_yolo(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read boxes and polygons, with a data.yaml or without.

    An image without a label file has no objects, as YOLO trains it.

    Raises:
        UserError: a data.yaml is not sound, or there are several.
    """
    data_files = [path for path in files if not path.lower().endswith(".txt")]
    if len(data_files) > 1:
        named = ", ".join(map(folder.relative, data_files))
        raise UserError(f"There are several data sets, {named}: give one of these files.")
    data = read_data_yaml(data_files[0]) if data_files else {}
    names = _class_names(folder, data)
    label_files = _LabelFiles(folder)
    images, without = [], 0
    for split, path in _images(folder, data_files, data, problems):
        image = LabelledImage(path, folder.relative(path), split=split, is_relative=True)
        try:
            labels = label_files.of(path)
        except Unreadable:
            problems.add("images whose label file could be several of that name", image.where)
            continue
        without += not labels
        if labels:
            image.where = folder.relative(labels)
            _read_rows(labels, image, names, "kpt_shape" in data, problems)
        images.append(image)
    for path in label_files.unused():
        problems.add("label files whose image was not found", folder.relative(path))
    notes = []
    if without and without < len(images):
        notes.append(f"{without} images have no label file: they count as without objects.")
    if not names:
        numbers = {labelled.name for image in images for labelled in image.objects}
        names = sorted(numbers, key=int)
        notes.append(
            "No file names the classes: they are called by their numbers (--rename 0=...)."
        )
    return Labels(images, names, notes)


def _class_names(folder: Folder, data: dict[str, Any]) -> list[str]:
    names = data.get("names")
    if isinstance(names, dict):
        if not all(str(key).isdigit() for key in names):
            raise UserError("data.yaml: 'names' must have the numbers of the classes as keys.")
        names = [names[key] for key in sorted(names, key=int)]
    if isinstance(names, list):
        return list(map(str, names))
    for name in NAME_FILES:
        ending = os.path.splitext(name)[1]
        for path in folder.by_ending.get(ending, ()):
            if os.path.basename(path).lower() == name:
                return [line.strip() for line in read_lines(path) if line.strip()]
    return []


def _images(
    folder: Folder, data_files: list[str], data: dict[str, Any], problems: Problems
) -> list[tuple[str, str]]:
    """Return split and path of each image: of those that a data.yaml names, or of all."""
    found: dict[str, str] = {}
    for split in ("train", "val", "test"):
        entries = data.get(split) or ()
        for entry in entries if isinstance(entries, (list, tuple)) else [entries]:
            place = _place(str(entry), data_files[0], str(data.get("path") or ""), folder)
            if not place:
                where = f"{folder.relative(data_files[0])} ({split}: {entry})"
                problems.add(f"{_ELSEWHERE} (--images names another)", where)
            for path in _images_in(place, folder) if place else ():
                found.setdefault(path, split)
    if found:
        return [(split, path) for path, split in sorted(found.items())]
    return [(folder.split_of(path), path) for path in folder.images]


def _place(entry: str, file: str, base: str, within: Folder) -> str:
    """Return where an entry of a data.yaml leads; "" if nowhere, or out of the folder.

    Exported files say "../train/images" for what lies beside them, and many have the whole path of
    another machine: of its last parts, the longest that exists here is taken.
    """
    folder = os.path.dirname(file)
    parts = entry.replace("\\", "/").split("/")
    tails = ["/".join(parts[start:]) for start in range(len(parts))]
    for tail in filter(None, tails):
        for path in (os.path.join(folder, base, tail), os.path.join(folder, tail)):
            place = os.path.normpath(os.path.abspath(path))
            if os.path.exists(place) and (place in within.roots or within.holds(place)):
                return place
    return ""


def _images_in(place: str, folder: Folder) -> list[str]:
    """Return the images of a folder, or of a list of them."""
    if os.path.isdir(place):
        inside = [path for path in folder.images if path.startswith(place + os.sep)]
        return inside or Folder(place).images
    paths = []
    for line in filter(None, map(str.strip, read_lines(place))):
        if os.path.splitext(line)[1].lower() in IMAGE_ENDINGS:
            try:
                paths.append(folder.image([line], place))
            except Unreadable:
                path = os.path.abspath(os.path.join(os.path.dirname(place), line))
                paths += [path] if folder.holds(path) else []
    return paths


class _LabelFiles:
    """The label files of a folder, by image."""

    def __init__(self, folder: Folder) -> None:
        self._paths = set(folder.by_ending.get(".txt", ()))
        self._by_stem = group_by(self._paths, stem_of)
        self._used: set[str] = set()

    def of(self, image: str) -> str:
        """Return the label file of an image; "" if it has none.

        Raises:
            Unreadable: several could be it.
        """
        stem = os.path.splitext(image)[0]
        head, word, tail = f"{stem}.txt".rpartition(f"{os.sep}images{os.sep}")
        path = f"{head}{os.sep}labels{os.sep}{tail}" if word else ""
        if path not in self._paths:
            path = f"{stem}.txt"
        if path not in self._paths:
            candidates = self._by_stem.get(stem_of(image), [])
            path = nearest(sorted(candidates), image) if candidates else ""
        self._used.add(path)
        return path

    def unused(self) -> list[str]:
        """Return the files that have rows of labels, and no image."""
        unused = sorted(self._paths - self._used)
        return [path for path in unused if any(map(is_yolo_row, read_lines(path)[:1]))]


def _read_rows(
    path: str, image: LabelledImage, names: list[str], has_keypoints: bool, problems: Problems
) -> None:
    try:
        lines = read_lines(path)
    except Unreadable as problem:
        problems.add(problem, image.where)
        return
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        try:
            image.objects.append(_object(words[:5] if has_keypoints else words, names))
        except Unreadable as problem:
            problems.add(problem, f"{image.where}:{number}")


def _object(words: list[str], names: list[str]) -> LabelledObject:
    try:
        number, *numbers = map(float, words)
    except ValueError:
        raise Unreadable("rows with something else than numbers") from None
    is_polygon = len(numbers) >= 6 and len(numbers) % 2 == 0
    if len(numbers) not in (4, 5) and not is_polygon:  # the fifth is the score of a detection
        raise Unreadable("rows without 4 numbers, or 3 and more corners, after the class")
    is_inside = all(-ROUNDING <= value <= 1 + ROUNDING for value in numbers)
    if not is_inside:  # nor is NaN
        raise Unreadable("rows with numbers outside 0 to 1, of which YOLO's are fractions")
    if not (number >= 0 and number.is_integer() and (not names or number < len(names))):
        raise Unreadable(
            f"rows whose class number is none of 0 to {len(names) - 1 if names else ''}"
        )
    name = names[int(number)] if names else str(int(number))
    if is_polygon:
        return outlined(name, numbers)
    x, y, width, height = numbers[:4]
    return LabelledObject(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
