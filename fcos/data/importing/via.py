"""VIA, the VGG Image Annotator: one JSON file for all images, of version 1 or 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from fcos.data.importing.files import Folder
from fcos.data.importing.labels import (
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
from fcos.data.importing.reading import read_json
from fcos.utils.errors import UserError

__all__ = ["read_via"]

USUAL = ("class", "label", "name", "type", "category", "object", "class_name")
UNNAMED = "object"


def read_via(folder: Folder, files: list[str], problems: Problems, options: Options) -> Labels:
    """Read rectangles, polygons, circles and ellipses.

    Raises:
        UserError: it is not clear which attribute of a region is its class.
    """
    records = []
    for path in files:
        try:
            records += [(path, record) for record in _records(read_json(path))]
        except Unreadable as problem:
            problems.add(problem, folder.relative(path))
    key = _class_key([region for _, record in records for region in _regions(record)], options)
    images = []
    for path, record in records:
        where = f"{folder.relative(path)} ({record.get('filename')})"
        name = str(record.get("filename") or "")
        try:
            image = folder.labelled([name], path, where, folder.split_of(path))
        except Unreadable as problem:
            problems.add(problem, where)
            continue
        for number, region in enumerate(_regions(record), start=1):
            try:
                image.objects.append(_object(region, key))
            except Unreadable as problem:
                problems.add(problem, f"{where[:-1]}, region {number})")
        images.append(image)
    if key or not images:
        return Labels(images)
    note = (
        f"Regions have no attributes: all are of one class, {UNNAMED!r} (--rename {UNNAMED}=...)."
    )
    return Labels(images, notes=[note])


def _records(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, dict) and isinstance(content.get("_via_img_metadata"), dict):
        content = content["_via_img_metadata"]
    if not isinstance(content, dict):
        raise Unreadable("JSON files without VIA's images")
    yield from (record for record in content.values() if isinstance(record, dict))


def _regions(record: dict[str, Any]) -> list[dict[str, Any]]:
    regions = record.get("regions")
    regions = list(regions.values()) if isinstance(regions, dict) else regions  # version 1 or 2
    regions = regions if isinstance(regions, list) else []
    return [region for region in regions if isinstance(region, dict)]


def _attributes(region: dict[str, Any]) -> dict[str, Any]:
    attributes = region.get("region_attributes")
    return attributes if isinstance(attributes, dict) else {}


def _class_key(regions: list[dict[str, Any]], options: Options) -> str:
    """Return the attribute that is the class, "" where regions have none."""
    keys = sorted({key for region in regions for key in _attributes(region)})
    if options.via_class:
        if options.via_class in keys:
            return options.via_class
        near = difflib.get_close_matches(options.via_class, keys, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"--via-class: no region has the attribute {options.via_class!r}, only "
            f"{', '.join(keys) or 'none at all'}.{hint}"
        )
    usual = [key for key in keys if key.lower() in USUAL]
    if len(keys) > 1 and len(usual) != 1:
        raise UserError(
            f"Regions have the attributes {', '.join(keys)}: say which one is the class, such as "
            f"--via-class {keys[0]}."
        )
    return (usual or keys or [""])[0]


def _object(region: dict[str, Any], key: str) -> LabelledObject:
    name: Any = _attributes(region).get(key) if key else UNNAMED
    if isinstance(name, dict):  # of checkboxes: those that are ticked
        name = ",".join(option for option, is_ticked in name.items() if is_ticked)
    name = str(name or "").strip()
    if not name:
        raise Unreadable(f"regions without a value of {key!r}")
    shape = region.get("shape_attributes")
    shape = shape if isinstance(shape, dict) else {}
    kind = shape.get("name")
    try:
        if kind == "rect":
            x, y, width, height = (float(shape[k]) for k in ("x", "y", "width", "height"))
            return LabelledObject(name, box_of((x, y, x + width, y + height)))
        if kind == "polygon":
            xs, ys = shape["all_points_x"], shape["all_points_y"]
            corners = polygon_of(n for point in zip(xs, ys, strict=True) for n in point)
        elif kind in ("circle", "ellipse"):
            radii = ("r", "r") if kind == "circle" else ("rx", "ry")
            cx, cy, rx, ry = (float(shape[k]) for k in ("cx", "cy", *radii))
            theta = float(shape.get("theta") or 0)
            corners = polygon_of(ellipse_corners(cx, cy, rx, ry, theta))
        else:
            raise Unreadable(f"regions of shape {kind}, which are no boxes")
    except (KeyError, TypeError, ValueError):
        raise Unreadable(f"regions of shape {kind} without its numbers") from None
    return outlined(name, corners)
