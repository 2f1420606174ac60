"""Tables of boxes: a plain CSV, and Open Images."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterator

from fcos.data.importing.files import Folder, split_of, stem_of
from fcos.data.importing.labels import (
    LabelledImage,
    LabelledObject,
    Labels,
    Options,
    Problems,
    Unreadable,
    box_of,
)
from fcos.data.importing.reading import read_lines

__all__ = ["kind_of_table", "read_csv", "read_open_images", "split_in_name"]

# What a column is called, in small letters and without "_", "-" and spaces.
_SPELLINGS = {
    "image": "filename file image imagepath path filepath img imgpath imagename imageid imagefile",
    "left": "xmin x1 left xtl minx bboxxmin bboxx1 bboxleft",
    "top": "ymin y1 top ytl miny bboxymin bboxy1 bboxtop",
    "right": "xmax x2 right xbr maxx bboxxmax bboxx2 bboxright",
    "bottom": "ymax y2 bottom ybr maxy bboxymax bboxy2 bboxbottom",
    "x": "x bboxx xmin left",
    "y": "y bboxy ymin top",
    "w": "w bboxw bboxwidth boxwidth width",
    "h": "h bboxh bboxheight boxheight height",
    "name": "class label classname labelname category categoryname name classid labelid object",
    "width": "width imagewidth imgwidth",
    "height": "height imageheight imgheight",
}
CORNERS = ("left", "top", "right", "bottom")
SIDES = ("x", "y", "w", "h")


def kind_of_table(lines: list[str]) -> str:
    """Return "open_images", "csv", or "" for neither, of the first lines of a table."""
    try:
        rows = [row for row in csv.reader(lines, delimiter=_delimiter(lines[:1])) if row]
    except csv.Error:
        rows = []
    if not rows:
        return ""
    header = {word.strip().lower() for word in rows[0]}
    if {"imageid", "labelname", "xmin", "xmax", "ymin", "ymax"} <= header:
        return "open_images"
    return "csv" if _columns(rows[0]) else ""


def split_in_name(path: str) -> str:
    """Return the split that a word of a file's name says, such as "train" of train_labels.csv."""
    return split_of(re.split(r"[^a-z0-9]+", stem_of(path)))


def _delimiter(lines: list[str]) -> str:
    line = lines[0] if lines else ""
    return max(",;\t", key=line.count)


def _columns(row: list[str]) -> dict[str, int]:
    """Return which column is what; empty if the row is neither a header nor one of boxes.

    Without a header, the order is path, x1, y1, x2, y2, class.
    """
    words = [re.sub(r"[\s_-]", "", word.lower()) for word in row]
    found = {}
    for meaning, spellings in _SPELLINGS.items():
        for spelling in spellings.split():
            if spelling in words:
                found[meaning] = words.index(spelling)
                break
    if {"image", "name", *CORNERS} <= set(found):
        return {meaning: found[meaning] for meaning in found if meaning not in SIDES}
    if {"image", "name", *SIDES} <= set(found):
        return {meaning: found[meaning] for meaning in ("image", "name", *SIDES)}
    is_box = len(row) == 6 and (all(map(_is_number, row[1:5])) or not any(row[1:]))
    return dict(zip(("image", *CORNERS, "name"), range(6), strict=True)) if is_box else {}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class _Images:
    """Images by the name that a table has for them."""

    def __init__(self, folder: Folder, path: str, problems: Problems) -> None:
        self._folder, self._path, self._problems = folder, path, problems
        self._by_name: dict[str, LabelledImage | None] = {}
        self.where = folder.relative(path)
        self.split = split_in_name(path) or folder.split_of(path)

    def get(self, name: str, line: int) -> LabelledImage | None:
        """Return the image; None, and a problem, if it is not found."""
        if name not in self._by_name:
            self._by_name[name] = None
            place = f"{self.where}:{line}"
            try:
                image = self._folder.labelled([name], self._path, place, self.split)
                self._by_name[name] = image
            except Unreadable as problem:
                self._problems.add(problem, f"{place} ({name})")
        return self._by_name[name]

    def all(self) -> list[LabelledImage]:
        """Return those that were found."""
        return [image for image in self._by_name.values() if image is not None]


def _rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the line and the words of each row."""
    lines = read_lines(path)
    reader = csv.reader(lines, delimiter=_delimiter(lines[:1]))
    try:
        for row in reader:
            if any(map(str.strip, row)):
                yield reader.line_num, [word.strip() for word in row]
    except csv.Error as error:
        raise Unreadable(f"tables that cannot be read ({error})", reader.line_num) from None


def _read(
    folder: Folder,
    path: str,
    problems: Problems,
    columns: dict[str, int],
    rows: Iterator[tuple[int, list[str]]],
    to_object: Callable[[list[str], dict[str, int]], LabelledObject],
) -> list[LabelledImage]:
    images = _Images(folder, path, problems)
    for line, row in rows:
        row += [""] * (max(columns.values()) + 1 - len(row))
        image = images.get(row[columns["image"]], line)
        if image is None:
            continue
        words = [row[column] for meaning, column in columns.items() if meaning in CORNERS + SIDES]
        if not any(words):  # an image without objects
            continue
        try:
            image.width, image.height = (
                int(float(row[columns[side]] or 0)) if side in columns else 0
                for side in ("width", "height")
            )
            image.objects.append(to_object(row, columns))
        except (OverflowError, ValueError):
            problems.add("rows without numbers", f"{images.where}:{line}")
        except Unreadable as problem:
            problems.add(problem, f"{images.where}:{line}")
    return images.all()


def read_csv(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read tables with a row for each box."""
    images = []
    for path in files:
        rows = list(_rows(path))
        columns = _columns(rows[0][1])
        has_header = not _is_number(rows[0][1][columns.get("left", columns.get("x", 1))] or "0")
        images += _read(folder, path, problems, columns, iter(rows[has_header:]), _csv_object)
    numbers = [n for image in images for labelled in image.objects for n in labelled.xyxy]
    notes = []
    if numbers and max(numbers) <= 1:
        for image in images:
            image.is_relative = True
        notes.append("All numbers are at most 1: they are taken as fractions of width and height.")
    return Labels(images, notes=notes)


def _csv_object(row: list[str], columns: dict[str, int]) -> LabelledObject:
    name = row[columns["name"]]
    if not name:
        raise Unreadable("rows without a class")
    if "left" in columns:
        return LabelledObject(name, box_of(row[columns[corner]] for corner in CORNERS))
    x, y, width, height = (float(row[columns[side]]) for side in SIDES)
    return LabelledObject(name, box_of((x, y, x + width, y + height)))


def read_open_images(
    folder: Folder, files: list[str], problems: Problems, options: Options
) -> Labels:
    """Read tables of Open Images, and the names of its classes where they are described."""
    images, notes = [], []
    described = _descriptions(folder)
    for path in files:
        rows = _rows(path)
        header = [word.lower() for word in next(rows)[1]]
        meanings = {"image": "imageid", "name": "labelname", "group": "isgroupof"}
        meanings |= {"left": "xmin", "top": "ymin", "right": "xmax", "bottom": "ymax"}
        columns = {m: header.index(word) for m, word in meanings.items() if word in header}
        images += _read(folder, path, problems, columns, rows, _open_images_object)
    for image in images:
        image.is_relative = True
        for labelled in image.objects:
            labelled.name = described.get(labelled.name, labelled.name)
    if not described:
        notes.append("No class-descriptions CSV is there: classes have its own names (/m/01g317).")
    return Labels(images, notes=notes)


def _open_images_object(row: list[str], columns: dict[str, int]) -> LabelledObject:
    if not row[columns["name"]]:
        raise Unreadable("rows without a class")
    labelled = LabelledObject(row[columns["name"]], box_of(row[columns[c]] for c in CORNERS))
    labelled.is_crowd = "group" in columns and row[columns["group"]] == "1"
    return labelled


def _descriptions(folder: Folder) -> dict[str, str]:
    described = {}
    for path in folder.by_ending.get(".csv", ()):
        if "class-descriptions" in os.path.basename(path).lower():
            for row in csv.reader(read_lines(path)):
                if len(row) == 2:
                    described[row[0].strip()] = row[1].strip()
    return described
