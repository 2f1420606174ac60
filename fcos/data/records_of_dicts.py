"""Records of a data set that a Python function gives, in detectron2's form."""

from __future__ import annotations

import math
import os
import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.structures import BoxMode, PolygonMasks
from fcos.data.boxes import corners, expected_box, is_degenerate
from fcos.data.coco_lists import equal_ids, mixed_ids
from fcos.data.mask_forms import BROKEN_POLYGONS, POLYGONS, RUN_LENGTHS, loadable, mask_form
from fcos.data.records import (
    DatasetRecords,
    ImageRecord,
    ObjectRecord,
    is_marked_crowd,
)
from fcos.utils.errors import UserError
from fcos.utils.json_files import is_id
from fcos.utils.values import is_number, is_size, is_text

__all__ = ["records_of_dicts"]

_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS)


def records_of_dicts(
    name: str,
    dicts: Iterable[dict[str, Any]],
    class_names: list[str],
    category_ids: Sequence[Any] = (),
    with_masks: bool = True,
) -> DatasetRecords:
    """Return records of images in detectron2's form, which they keep as their ``source``.

    In the source, numbers of NumPy and PyTorch become numbers of Python. Without any "image_id",
    images are numbered from 0.

    Args:
        name: of the data set, for messages.
        dicts: the images.
        class_names: of the data set; empty if they are not known.
        category_ids: of the classes; empty: their numbers.
        with_masks: also read segmentations. Without, they are not even looked at.

    Raises:
        UserError: an image or an annotation cannot be used.
    """
    sources = list(dicts)
    where = f"Data set {name!r}"
    for number, source in enumerate(sources):
        if not isinstance(source, dict):
            raise UserError(
                f"{where}: image {number} is {reprlib.repr(source)}, expected a dict in "
                "detectron2's form."
            )
    ids = _image_ids(where, sources)
    images = [
        _image(where, source, image_id, with_masks)
        for source, image_id in zip(sources, ids, strict=True)
    ]
    ids_of_classes = list(category_ids) or list(range(len(class_names)))
    return DatasetRecords(images, class_names, ids_of_classes)


def _image_ids(where: str, sources: Sequence[dict[str, Any]]) -> list[Any]:
    if not any("image_id" in source for source in sources):
        return list(range(len(sources)))
    ids = [_plain(source.get("image_id")) for source in sources]
    for number, image_id in enumerate(ids):
        if not is_id(image_id):
            raise UserError(
                f"{where}: image {number} has the image_id {reprlib.repr(image_id)}; expected a "
                "number or a text."
            )
    if problem := equal_ids("images", ids) or mixed_ids("images", ids):
        raise UserError(f"{where}: {problem}")
    return ids


def _image(where: str, source: dict[str, Any], image_id: Any, with_masks: bool) -> ImageRecord:
    path = source.get("file_name", "")
    if not isinstance(path, (str, os.PathLike)) or not is_text(os.fspath(path)):
        raise UserError(
            f"{where}: image {image_id!r} has the file_name {path!r}; expected the path of a file."
        )
    source = {**source, "image_id": image_id}
    if path:
        source["file_name"] = os.fspath(path)
    for key in ("width", "height"):
        if key in source:
            source[key] = _plain(source[key])
            if not is_size(source[key]):
                raise UserError(
                    f"{where}: image {image_id!r} has the {key} {reprlib.repr(source[key])}; "
                    "expected a positive whole number, of pixels."
                )
    size = source.get("width", math.inf), source.get("height", math.inf)
    image = ImageRecord(image_id, os.fspath(path), *size, source=source)
    if "annotations" in source:
        given = () if source["annotations"] is None else source["annotations"]
        if not isinstance(given, (list, tuple)):
            raise UserError(
                f"{where}: image {image_id!r} has the annotations {reprlib.repr(given)}; expected "
                "a list of dicts."
            )
        source["annotations"] = [
            _add_object(
                f"{where}: annotation {number} of {image.file_name}",
                image,
                given,
                number,
                with_masks,
            )
            for number in range(len(given))
        ]
    return image


def _add_object(
    where: str, image: ImageRecord, given: Sequence[dict[str, Any]], number: int, with_masks: bool
) -> dict[str, Any]:
    """Add an object to its image; returns its annotation with numbers of Python."""
    if not isinstance(given[number], dict):
        raise UserError(f"{where} is {reprlib.repr(given[number])}, expected a dict.")
    category_id = _plain(given[number].get("category_id"))
    if is_number(category_id) and category_id == int(category_id):
        category_id = int(category_id)  # 1.0 is class 1
    annotation = {**given[number], "category_id": category_id}
    annotation["bbox_mode"] = mode = _mode(where, annotation)
    annotation["bbox"] = box = _box(where, annotation, mode)
    try:
        is_crowd = is_marked_crowd(_plain(annotation.get("iscrowd")))
    except ValueError as error:
        raise UserError(f"{where} {error}.") from error
    if "iscrowd" in annotation:
        annotation["iscrowd"] = int(is_crowd)
    form, segmentation = "", None
    if not with_masks:
        annotation.pop("segmentation", None)
    elif annotation.get("segmentation") is not None:
        annotation["segmentation"] = segmentation = _plain_masks(annotation["segmentation"])
        form = mask_form(segmentation, image.height, image.width)
        if form == BROKEN_POLYGONS:  # what such a function gives is loaded
            form = ""
    image.objects.append(
        ObjectRecord(
            number,
            category_id,
            box,
            mode,
            is_degenerate(corners(box, mode), image.width, image.height),
            is_crowd,
            form,
            segmentation,
            _area(segmentation, form),
        )
    )
    return annotation


def _mode(where: str, annotation: dict[str, Any]) -> BoxMode:
    mode = annotation.get("bbox_mode")
    if not isinstance(mode, int) or mode not in _MODES:
        raise UserError(
            f"{where} has the bbox_mode {mode!r}; expected BoxMode.XYXY_ABS or BoxMode.XYWH_ABS."
        )
    return BoxMode(mode)


def _box(where: str, annotation: dict[str, Any], mode: BoxMode) -> list[float]:
    box = _plain(annotation.get("bbox"))
    length = 5 if mode == BoxMode.XYWHA_ABS else 4
    if not (isinstance(box, (list, tuple)) and len(box) == length and all(map(is_number, box))):
        raise UserError(f"{where} has the bbox {expected_box(box)}.")
    return list(map(float, box))


def _area(segmentation: Any, form: str) -> float | None:
    """Square pixels of a mask, as detectron2 converts it for an evaluation."""
    if form == RUN_LENGTHS:
        from pycocotools import mask as mask_api

        return float(mask_api.area(loadable(segmentation)))
    if form != POLYGONS:
        return None
    return float(PolygonMasks([loadable(segmentation)]).area())


def _plain(value: Any) -> Any:
    """Lists and numbers of Python in place of those of NumPy and PyTorch."""
    if isinstance(value, (list, tuple)):
        return list(map(_plain, value))
    return value.tolist() if isinstance(value, (np.generic, np.ndarray, torch.Tensor)) else value


def _plain_masks(segmentation: Any) -> Any:
    if not isinstance(segmentation, dict):
        return _plain(segmentation)
    counts = _plain(segmentation.get("counts"))
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    return {**segmentation, "counts": counts, "size": _plain(segmentation.get("size"))}
