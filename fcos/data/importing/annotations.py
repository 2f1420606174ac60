"""Labels written as COCO's JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from fcos.data.importing.labels import LabelledImage, LabelledObject
from fcos.utils.errors import UserError
from fcos.utils.files import copy_file
from fcos.utils.folders import subfolder

__all__ = ["coco_pieces", "common_folder", "copy_images"]

AT_ONCE = 1000  # records that become text at once


def coco_pieces(
    images: Iterable[LabelledImage], class_names: Sequence[str], image_root: str, **info: Any
) -> Iterator[str]:
    """Yield the text of an annotation file in pieces; ``info`` is all of the first one.

    Args:
        images: with their objects, all inside their image; iterated twice.
        class_names: get the ids 1, 2, ... in this order.
        image_root: folder that the images lie below; their names start there.
        info: what is written down about the file, such as a description.
    """
    ids = {name: number for number, name in enumerate(class_names, start=1)}
    yield f'{{"info": {json.dumps(info)},\n'
    yield '"images": [\n'
    yield from _joined(_image_records(images, image_root))
    yield '\n],\n"annotations": [\n'
    yield from _joined(_annotation_records(images, ids))
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    yield f'\n],\n"categories": {json.dumps(categories)}}}\n'


def _joined(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    separator = ""
    while chunk := list(islice(records, AT_ONCE)):
        yield separator + ",\n".join(map(json.dumps, chunk))
        separator = ",\n"


def _image_records(images: Iterable[LabelledImage], root: str) -> Iterator[dict[str, Any]]:
    for number, image in enumerate(images, start=1):
        name = os.path.relpath(image.path, root).replace(os.sep, "/")
        size = {"width": image.width, "height": image.height}
        yield {"id": number, "file_name": name, **size}


def _annotation_records(
    images: Iterable[LabelledImage], ids: dict[str, int]
) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, image in enumerate(images, start=1):
        for labelled in image.objects:
            number += 1
            left, top, right, bottom = labelled.xyxy
            bbox = [_short(n) for n in (left, top, right - left, bottom - top)]
            record = {
                "id": number,
                "image_id": image_id,
                "category_id": ids[labelled.name],
                "bbox": bbox,
                "area": _short(_area(labelled)),
                "iscrowd": int(labelled.is_crowd),
            }
            if isinstance(labelled.segmentation, list):
                parts = labelled.segmentation
                record["segmentation"] = [[_short(n) for n in corners] for corners in parts]
            elif labelled.segmentation is not None:
                record["segmentation"] = labelled.segmentation
            yield record


def _short(number: float) -> float:
    """Round to a thousandth of a pixel."""
    return round(number, 3)


def _area(labelled: LabelledObject) -> float:
    """Return the area that the labels say, or that of the polygons, or that of the box."""
    if labelled.area is not None:
        return labelled.area
    left, top, right, bottom = labelled.xyxy
    whole = (right - left) * (bottom - top)
    if not isinstance(labelled.segmentation, list):
        return whole
    return min(sum(map(_polygon_area, labelled.segmentation)), whole) or whole


def _polygon_area(corners: list[float]) -> float:
    """Return the area inside a polygon, by the shoelace formula."""
    xs, ys = corners[0::2], corners[1::2]
    twice = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))
    return abs(twice) / 2


def common_folder(paths: Iterable[str]) -> str:
    """Return the innermost folder that all images lie below.

    Raises:
        UserError: they are on several drives.
    """
    try:
        return os.path.commonpath({os.path.dirname(os.path.abspath(path)) for path in paths})
    except ValueError:
        raise UserError("The images are on several drives: put them on one.") from None


def copy_images(images: list[LabelledImage], target: str) -> None:
    """Copy images below ``target``, and let ``images`` name the copies.

    Raises:
        UserError: one cannot be copied.
    """
    root = common_folder(image.path for image in images)
    for image in images:
        *folders, name = os.path.relpath(image.path, root).split(os.sep)
        path = os.path.join(subfolder(target, *folders), name)
        image.path = copy_file(image.path, path)
