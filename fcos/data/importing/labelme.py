"""LabelMe: a JSON file for each image."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
import PIL.Image

from fcos.data.images import MAX_PIXELS
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
    outlined,
    polygon_of,
)
from fcos.data.importing.masks import object_of_crop
from fcos.data.importing.reading import read_json

__all__ = ["read_labelme"]


def read_labelme(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read rectangles, polygons, circles and masks.

    Polygons of one label and one group are parts of one object.
    """
    images = []
    for path in files:
        where = folder.relative(path)
        try:
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                raise Unreadable("JSON files without LabelMe's list 'shapes'")
            names = [str(content.get("imagePath") or ""), path]
            image = folder.labelled(names, path, where, folder.split_of(path))
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        image.take_size(content.get("imageWidth"), content.get("imageHeight"))
        _read_shapes(content["shapes"], image, problems)
        images.append(image)
    return Labels(images)


def _read_shapes(shapes: list[Any], image: LabelledImage, problems: Problems) -> None:
    groups: dict[Any, LabelledObject] = {}
    for number, shape in enumerate(shapes, start=1):
        try:
            labelled = _object(shape, (image.width, image.height))
        except Unreadable as problem:
            problems.add(problem, f"{image.where} (shape {number})")
            continue
        group = str(shape.get("group_id")), labelled.name
        first = groups.get(group)
        is_part = shape.get("group_id") is not None and isinstance(labelled.segmentation, list)
        if not is_part or first is None:
            image.objects.append(labelled)
            if is_part:
                groups[group] = labelled
        else:
            first.segmentation += labelled.segmentation
            first.xyxy = box_around(first.segmentation)


def _object(shape: Any, size: tuple[int, int]) -> LabelledObject:
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
        return outlined(name, polygon_of(corners))
    if kind == "mask" and len(corners) == 4 and shape.get("mask"):  # the first and the last pixel
        left, top = round(min(corners[0::2])), round(min(corners[1::2]))
        return object_of_crop(name, _pixels(shape["mask"]), (left, top), size)
    if kind == "rectangle" and len(corners) in (4, 8):  # two or all of the corners
        return LabelledObject(name, box_around([corners]))
    if kind == "circle" and len(corners) == 4:  # its middle, and a point on it
        cx, cy, x, y = corners
        radius = math.hypot(x - cx, y - cy)
        return outlined(name, ellipse_corners(cx, cy, radius, radius))
    raise Unreadable(f"shapes of type {kind} with {len(corners) // 2} points, which are no boxes")


def _pixels(text: Any) -> np.ndarray:
    """Return the pixels of a PNG file in base 64."""
    try:
        with PIL.Image.open(io.BytesIO(base64.b64decode(text))) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ValueError
            pixels = np.asarray(image).astype(bool)
    except Exception:  # decoders raise a dozen kinds on damaged files
        raise Unreadable("masks that are no PNG image in base 64") from None
    if pixels.ndim != 2:
        raise Unreadable("masks that are no gray image")
    return pixels
