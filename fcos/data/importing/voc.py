"""Pascal VOC: an XML file for each image, and the splits as lists in ImageSets/Main."""

from __future__ import annotations

import os

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
from fcos.data.importing.reading import Node, read_lines, read_xml

__all__ = ["read_voc"]

CORNERS = ("xmin", "ymin", "xmax", "ymax")


class _Evidence:
    """Which numbers boxes begin and end with."""

    def __init__(self) -> None:
        self.zeros = self.ones = self.full = self.difficult = 0

    def add(self, corners: list[float], width: int, height: int) -> None:
        self.zeros += min(corners[:2]) <= 0
        self.ones += 1 in corners[:2]
        self.full += bool(width) and (corners[2] == width or corners[3] == height)

    def sentence(self, is_one_based: bool) -> str:
        """Say which convention is used, and which one the boxes speak for."""
        counts = (
            f"{self.zeros} boxes begin at 0, {self.ones} at 1, {self.full} end at the full width "
            "or height"
        )
        if is_one_based:
            said = (
                "Corners are taken as 1-based, as in the official VOC: 1 is taken from xmin, ymin"
            )
            return f"{said} ({counts}){', which speaks against it' * bool(self.zeros)}."
        said = "Corners are taken as 0-based, as most tools write them"
        if not self.zeros and self.ones and self.full:
            return f"{said}, but {counts}: if they are 1-based, add --voc-one-based."
        return f"{said} ({counts})."


def read_voc(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read the XML files of a data set.

    Corners are 0-based edges, or, if ``options`` say so, 1-based pixels of which the last one
    belongs to the box: then 1 is taken from xmin and ymin.
    """
    splits = _listed_splits(folder)
    evidence = _Evidence()
    images, named_otherwise = [], 0
    for path in files:
        where = folder.relative(path)
        try:
            root = read_xml(path)
            if root.tag != "annotation":
                raise Unreadable(f"XML files of <{root.tag}>, not of <annotation>", root.line)
            # Tools that rename images seldom correct the name inside the file.
            name = root.value("filename")
            names = [os.path.splitext(os.path.basename(path))[0], name]
            image = folder.labelled(names, path, where, folder.split_of(path))
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        named_otherwise += bool(name) and stem_of(name.replace("\\", "/")) != stem_of(image.path)
        if splits:
            image.split = splits.get(stem_of(path), "-")
        if size := root.find("size"):
            image.take_size(size.value("width"), size.value("height"))
        _read_objects(root, image, problems, options, evidence)
        images.append(image)
    notes = [evidence.sentence(options.voc_one_based)]
    if named_otherwise:
        notes.append(
            f"{named_otherwise} XML files have another image in <filename> than the one of their "
            "own name, which is taken."
        )
    if evidence.difficult:
        notes.append(f"{evidence.difficult} objects are marked as difficult, and kept as others.")
    return Labels(images, notes=notes)


def _read_objects(
    root: Node,
    image: LabelledImage,
    problems: Problems,
    options: Options,
    evidence: _Evidence,
) -> None:
    for node in (child for child in root.children if child.tag == "object"):
        try:
            box = node.find("bndbox")
            if not node.value("name"):
                raise Unreadable("objects without a <name>", node.line)
            if box is None:
                raise Unreadable("objects without a <bndbox>", node.line)
            left, top, right, bottom = box_of([box.value(name) for name in CORNERS], box.line)
        except Unreadable as problem:
            problems.add(problem, image.where)
            continue
        evidence.add([left, top, right, bottom], image.width, image.height)
        evidence.difficult += node.value("difficult") == "1"
        if options.voc_one_based:
            left, top = left - 1, top - 1
        image.objects.append(LabelledObject(node.value("name"), (left, top, right, bottom)))


def _listed_splits(folder: Folder) -> dict[str, str]:
    """Return the split of each image by its name without ending; none without ImageSets/Main."""
    lists = {
        stem_of(path): path
        for path in folder.by_ending.get(".txt", ())
        if os.path.basename(os.path.dirname(path)).lower() == "main" and split_of([stem_of(path)])
    }
    if "train" in lists and "val" in lists:
        lists.pop("trainval", None)
    splits: dict[str, str] = {}
    for name, path in lists.items():
        for line in read_lines(path):
            if line.strip():
                splits[line.split()[0].lower()] = split_of([name])
    return splits
