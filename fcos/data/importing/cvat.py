"""CVAT: one XML file for all images ("CVAT for images 1.1")."""

from __future__ import annotations

import math

from fcos.data.importing.files import Folder, split_of
from fcos.data.importing.labels import (
    LabelledImage,
    LabelledObject,
    Labels,
    Options,
    Problems,
    Unreadable,
    box_of,
    ellipse_corners,
    outlined,
    polygon_of,
)
from fcos.data.importing.masks import crop_of_runs, object_of_crop
from fcos.data.importing.reading import Node, read_xml

__all__ = ["read_cvat"]


def read_cvat(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read boxes, polygons, ellipses and masks."""
    images: list[LabelledImage] = []
    class_names: list[str] = []
    for path in files:
        where = folder.relative(path)
        try:
            root = read_xml(path)
            if root.find("track"):
                raise Unreadable(
                    "XML files of CVAT for video (export them as 'CVAT for images 1.1')", root.line
                )
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        class_names += [name for name in _class_names(root) if name not in class_names]
        for node in (child for child in root.children if child.tag == "image"):
            split = split_of([node.attributes.get("subset", "")]) or folder.split_of(path)
            place = f"{where}:{node.line}"
            try:
                name = node.attributes.get("name", "")
                image = folder.labelled([name], path, place, split)
            except Unreadable as problem:
                problems.add(problem, place)
                continue
            image.take_size(node.attributes.get("width"), node.attributes.get("height"))
            _read_objects(node, image, where, problems)
            images.append(image)
    return Labels(images, class_names)


def _class_names(root: Node) -> list[str]:
    """Return the labels of the task, wherever the header has them."""
    names, waiting = [], [node for node in root.children if node.tag == "meta"]
    while waiting:
        node = waiting.pop(0)
        if node.tag == "label" and node.value("name"):
            names.append(node.value("name"))
        else:
            waiting += node.children
    return names


def _read_objects(node: Node, image: LabelledImage, where: str, problems: Problems) -> None:
    for shape in node.children:
        try:
            image.objects.append(_object(shape, (image.width, image.height)))
        except Unreadable as problem:
            problems.add(problem, f"{where}:{shape.line}")


def _object(shape: Node, size: tuple[int, int]) -> LabelledObject:
    if shape.tag != "mask" and shape.tag not in _SHAPES:
        raise Unreadable(f"<{shape.tag}> shapes, which are no boxes")
    name = shape.attributes.get("label", "")
    if not name:
        raise Unreadable("shapes without a label")
    if shape.tag == "mask":
        return _mask(name, shape.attributes, size)
    return _SHAPES[shape.tag](name, shape.attributes)


def _numbers(attributes: dict[str, str], *names: str) -> list[float]:
    try:
        numbers = [float(attributes[name]) for name in names]
    except (KeyError, ValueError):
        numbers = [math.nan]
    if not math.isfinite(sum(numbers)):
        raise Unreadable(f"shapes without the numbers {', '.join(names)}")
    return numbers


def _angle(attributes: dict[str, str]) -> float:
    """Return by how much a shape is turned, in radians."""
    return math.radians(*_numbers({"rotation": "0", **attributes}, "rotation"))


def _box(name: str, attributes: dict[str, str]) -> LabelledObject:
    left, top, right, bottom = box_of(_numbers(attributes, "xtl", "ytl", "xbr", "ybr"))
    angle = _angle(attributes)
    if not angle:
        return LabelledObject(name, (left, top, right, bottom))
    cx, cy = (left + right) / 2, (top + bottom) / 2
    turned: list[float] = []
    for x, y in ((left, top), (right, top), (right, bottom), (left, bottom)):
        turned.append(cx + (x - cx) * math.cos(angle) - (y - cy) * math.sin(angle))
        turned.append(cy + (x - cx) * math.sin(angle) + (y - cy) * math.cos(angle))
    return outlined(name, turned)


def _polygon(name: str, attributes: dict[str, str]) -> LabelledObject:
    return outlined(name, polygon_of(attributes.get("points", "").replace(";", ",").split(",")))


def _ellipse(name: str, attributes: dict[str, str]) -> LabelledObject:
    cx, cy, rx, ry = _numbers(attributes, "cx", "cy", "rx", "ry")
    return outlined(name, ellipse_corners(cx, cy, rx, ry, _angle(attributes)))


def _mask(name: str, attributes: dict[str, str], size: tuple[int, int]) -> LabelledObject:
    left, top, width, height = map(int, _numbers(attributes, "left", "top", "width", "height"))
    try:
        counts = [int(count) for count in attributes.get("rle", "").split(",")]
    except ValueError:
        raise Unreadable("masks without their run lengths") from None
    return object_of_crop(name, crop_of_runs(counts, width, height), (left, top), size)


_SHAPES = {"box": _box, "polygon": _polygon, "ellipse": _ellipse}
