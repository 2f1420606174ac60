"""LabelMe: a JSON file for each image."""

from __future__ import annotations

import math
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
    ellipse_corners,
    polygon_of,
)
from fcos.data.importing.reading import read_json

__all__ = ["read_labelme"]


def read_labelme(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read rectangles, polygons and circles; of masks, only the box.

    Polygons of one label and one group are parts of one object.
    """
    images = []
    for path in files:
        where = folder.relative(path)
        try:
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                raise Unreadable("JSON files without LabelMe's list 'shapes'")
            image = folder.image([str(content.get("imagePath") or ""), path], path)
        except Unreadable as problem:
            problems.add(str(problem), f"{where}:{problem.line}" if problem.line else where)
            continue
        labelled = LabelledImage(image, where)
        labelled.split = folder.split_of(path) or folder.split_of(image)
        width, height = content.get("imageWidth"), content.get("imageHeight")
        if isinstance(width, int) and isinstance(height, int):
            labelled.width, labelled.height = width, height
        _read_shapes(content["shapes"], labelled, problems)
        images.append(labelled)
    return Labels(images)


def _read_shapes(shapes: list[Any], image: LabelledImage, problems: Problems) -> None:
    groups: dict[Any, LabelledObject] = {}
    for number, shape in enumerate(shapes, start=1):
        try:
            labelled = _object(shape)
        except Unreadable as problem:
            problems.add(str(problem), f"{image.where} (shape {number})")
            continue
        group = str(shape.get("group_id")), labelled.name
        first = groups.get(group)
        if shape.get("group_id") is None or not labelled.segmentation or first is None:
            image.objects.append(labelled)
            if shape.get("group_id") is not None and labelled.segmentation:
                groups[group] = labelled
        else:
            first.segmentation += labelled.segmentation
            first.xyxy = box_around(first.segmentation)


def _object(shape: Any) -> LabelledObject:
    if not isinstance(shape, dict) or not shape.get("label"):
        raise Unreadable("shapes without a label")
    kind = shape.get("shape_type") or "polygon"
    points: Any = shape.get("points")
    try:
        corners = [float(number) for x, y in points for number in (x, y)]
        if not math.isfinite(sum(corners)):
            raise ValueError
    except (TypeError, ValueError):
        raise Unreadable("shapes whose points are no pairs of finite numbers") from None
    name = str(shape["label"])
    if name == "__ignore__":  # what LabelMe's own examples call regions to pass over
        raise Unreadable("shapes labelled __ignore__")
    if kind == "polygon":
        corners = polygon_of(corners)
        return LabelledObject(name, box_around([corners]), [corners])
    if kind in ("rectangle", "mask") and len(corners) in (4, 8):  # two or all of the corners
        return LabelledObject(name, box_around([corners]))
    if kind == "circle" and len(corners) == 4:  # its middle, and a point on it
        cx, cy, x, y = corners
        radius = math.hypot(x - cx, y - cy)
        polygon = ellipse_corners(cx, cy, radius, radius)
        return LabelledObject(name, box_around([polygon]), [polygon])
    raise Unreadable(f"shapes of type {kind} with {len(corners) // 2} points, which are no boxes")
