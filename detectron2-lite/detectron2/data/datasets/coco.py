"""Datasets in COCO's JSON format for instances: reading, registering and writing them."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from iopath.common.file_io import file_lock

from detectron2._missing import missing_names
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode
from detectron2.utils.file_io import PathManager

__all__ = [
    "convert_to_coco_dict",
    "convert_to_coco_json",
    "load_coco_json",
    "register_coco_instances",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)

_ANNOTATION_KEYS = ("iscrowd", "bbox", "keypoints", "category_id")


def register_coco_instances(
    name: str, metadata: Mapping[str, Any], json_file: str, image_root: str | os.PathLike
) -> None:
    """Make a dataset in COCO's format known under a name.  The files are not looked at yet.

    Doing it again with the same files is allowed.

    Args:
        name: what DATASETS.TRAIN and DATASETS.TEST will call it.
        metadata: more to note about the dataset than what its file says; may be empty.
        json_file: the annotation file.
        image_root: the folder that its "file_name" entries are relative to.

    Raises:
        AssertionError: an argument of another type, or the name has other files or metadata.
    """
    if not isinstance(name, str):
        raise AssertionError(f"register_coco_instances: name must be a string, got {name!r}")
    for path in (json_file, image_root):
        if not isinstance(path, (str, os.PathLike)):
            raise AssertionError(f"register_coco_instances('{name}'): {path!r} is not a path")
    known = MetadataCatalog.get(name)
    if name not in DatasetCatalog or known.get("json_file") is None:
        DatasetCatalog.register(name, lambda: load_coco_json(json_file, image_root, name))
    known.set(json_file=json_file, image_root=image_root, evaluator_type="coco", **metadata)


def load_coco_json(
    json_file: str,
    image_root: str | os.PathLike,
    dataset_name: str | None = None,
    extra_annotation_keys: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Read a file in COCO's format for instances.  Images are not opened.

    Args:
        json_file: the annotation file.
        image_root: the folder that its "file_name" entries are relative to.
        dataset_name: if given, category ids become 0, 1, ... in ascending order, and the metadata
            of the dataset gets ``thing_classes`` and ``thing_dataset_id_to_contiguous_id``.
        extra_annotation_keys: more keys of the annotations to take over, as they are.

    Returns:
        One dict per image, ordered by image id, in detectron2's dataset format.  Boxes stay as
        they are in the file (XYWH_ABS).  Objects whose polygons all have fewer than 3 points are
        left out.

    Raises:
        FileNotFoundError: no such annotation file.
        ValueError: it is not JSON, lacks something required, or has an empty box.
        KeyError: an annotation has a category id that "categories" lacks.
        AssertionError: two annotations have the same id, one is marked "ignore", or the metadata
            already has other classes.
    """
    coco = _open_coco(json_file, dataset_name, image_root)
    id_map = _note_categories(coco, json_file, dataset_name) if dataset_name else None
    images = [coco.imgs[image_id] for image_id in sorted(coco.imgs)]
    _check_annotations(coco, json_file)
    logger.info("Loaded %d images in COCO format from %s", len(images), json_file)

    keys = [*_ANNOTATION_KEYS, *(extra_annotation_keys or ())]
    records, n_invalid = [], 0
    for image in images:
        record = _image_record(image, image_root, json_file)
        objects = [_object_record(a, keys, id_map, json_file) for a in coco.imgToAnns[image["id"]]]
        record["annotations"] = [obj for obj in objects if obj is not None]
        n_invalid += len(objects) - len(record["annotations"])
        records.append(record)
    if n_invalid:
        logger.warning(
            "Left out %d objects of %s: none of their polygons has 3 points or more, "
            "each with an x and a y",
            n_invalid,
            json_file,
        )
    return records


def _open_coco(
    json_file: str, dataset_name: str | None, image_root: str | os.PathLike | None = None
) -> Any:
    from pycocotools.coco import COCO

    path = PathManager.get_local_path(os.fspath(json_file))
    if not os.path.isfile(path):
        of = f" of dataset '{dataset_name}'" if dataset_name else ""
        images = f" (its images: '{os.path.abspath(image_root)}')" if image_root else ""
        raise FileNotFoundError(
            f"The annotation file{of} is expected at '{os.path.abspath(path)}'{images}, where "
            "there is none. The builtin datasets are looked for in the folder that the environment "
            "variable DETECTRON2_DATASETS names, 'datasets' if it is not set"
        )
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how long reading took
            return COCO(path)
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        reason = f"no '{error.args[0]}'" if isinstance(error, KeyError) else error
        raise ValueError(f"'{json_file}' is no COCO annotation file: {reason}") from error


def _note_categories(coco: Any, json_file: str, dataset_name: str) -> dict[int, int]:
    """Write the classes into the metadata; return the class of each category id."""
    if not coco.cats:
        raise ValueError(f"'{json_file}' has no 'categories'")
    ids = sorted(coco.cats)
    metadata = MetadataCatalog.get(dataset_name)
    metadata.thing_classes = [coco.cats[category]["name"] for category in ids]
    if ids != list(range(1, len(ids) + 1)) and "coco" not in dataset_name:
        logger.warning(
            "Category ids in %s are not 1, ..., %d: they are mapped to 0, ..., %d in their order",
            json_file,
            len(ids),
            len(ids) - 1,
        )
    id_map = {category: index for index, category in enumerate(ids)}
    metadata.thing_dataset_id_to_contiguous_id = id_map
    return id_map


def _check_annotations(coco: Any, json_file: str) -> None:
    all_annotations = coco.dataset.get("annotations", ())
    n_used = sum(len(coco.imgToAnns[image_id]) for image_id in coco.imgs)
    if n_used < len(all_annotations):
        logger.warning(
            "%s has %d annotations, but only %d of them belong to an image in it",
            json_file,
            len(all_annotations),
            n_used,
        )
    # The published "minival" files of COCO 2014 repeat ids.
    if "minival" not in str(json_file) and len(coco.anns) < len(all_annotations):
        raise AssertionError(f"Annotation ids in '{json_file}' are not unique!")


def _image_record(image: dict, image_root: str | os.PathLike, json_file: str) -> dict[str, Any]:
    absent = [key for key in ("file_name", "height", "width") if key not in image]
    if absent:
        raise ValueError(f"'{json_file}': image {image['id']} has no '{absent[0]}'")
    return {
        "file_name": os.path.join(image_root, image["file_name"]),
        "height": image["height"],
        "width": image["width"],
        "image_id": image["id"],
    }


def _object_record(
    annotation: dict, keys: Sequence[str], id_map: dict[int, int] | None, json_file: str
) -> dict[str, Any] | None:
    """One annotation in detectron2's format; None if nothing of its segmentation is valid."""
    where = f"'{json_file}': annotation {annotation.get('id')} of image {annotation['image_id']}"
    if annotation.get("ignore", 0) != 0:
        raise AssertionError(f'{where} is marked "ignore", which is not supported')
    obj = {key: annotation[key] for key in keys if key in annotation}
    if "bbox" in obj and len(obj["bbox"]) == 0:
        raise ValueError(f"{where} has an empty 'bbox'")
    if annotation.get("segmentation"):
        obj["segmentation"] = _valid_segmentation(annotation["segmentation"])
        if not obj["segmentation"]:
            return None
    if obj.get("keypoints"):
        # COCO counts pixels; here the middle of a pixel is at .5.
        obj["keypoints"] = [
            number if i % 3 == 2 else number + 0.5 for i, number in enumerate(obj["keypoints"])
        ]
    obj["bbox_mode"] = BoxMode.XYWH_ABS
    if id_map is not None:
        category = obj["category_id"]
        if category not in id_map:
            raise KeyError(f"{where} has category id {category}, which is not in 'categories'")
        obj["category_id"] = id_map[category]
    return obj


def _valid_segmentation(segmentation: Any) -> Any:
    """A compressed mask, or those polygons that are ones."""
    if isinstance(segmentation, dict):
        if isinstance(segmentation["counts"], list):
            from pycocotools import mask as mask_api

            return mask_api.frPyObjects(segmentation, *segmentation["size"])
        return segmentation
    return [polygon for polygon in segmentation if len(polygon) % 2 == 0 and len(polygon) >= 6]


def convert_to_coco_json(dataset_name: str, output_file: str, allow_cached: bool = True) -> None:
    """Write a registered dataset as a JSON file in COCO's format.

    Args:
        dataset_name: a dataset whose items are in detectron2's format, with ``thing_classes`` in
            its metadata.
        output_file: the file; its folder is made.
        allow_cached: leave a file alone that is already there (said in a warning).
    """
    os.makedirs(os.path.dirname(output_file) or ".", exist_ok=True)
    with file_lock(output_file):  # several processes may want the same file
        if allow_cached and os.path.exists(output_file):
            logger.warning(
                "Using '%s', written earlier, as the annotations of '%s': delete the file if the "
                "dataset has changed since",
                output_file,
                dataset_name,
            )
            return
        logger.info("Writing the annotations of '%s' to '%s' ...", dataset_name, output_file)
        unfinished = f"{output_file}.tmp"
        with open(unfinished, "w") as file:
            json.dump(convert_to_coco_dict(dataset_name), file)
        os.replace(unfinished, output_file)


def convert_to_coco_dict(dataset_name: str) -> dict[str, Any]:
    """A registered dataset as what a JSON file in COCO's format holds.

    Category ids are those of ``thing_dataset_id_to_contiguous_id`` in the metadata, the classes
    themselves if there is no such map.  Boxes are rounded to 3 decimals, areas are those of the
    segmentation or else of the box.
    """
    records = DatasetCatalog.get(dataset_name)  # first: loading may fill in the metadata
    metadata = MetadataCatalog.get(dataset_name)
    id_map = metadata.get("thing_dataset_id_to_contiguous_id")
    if id_map is None:
        id_map = {class_: class_ for class_ in range(len(metadata.thing_classes))}
    category_ids = {class_: category for category, class_ in id_map.items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, record in enumerate(records):
        image_id = record.get("image_id", index)
        images.append(
            {
                "id": image_id,
                "width": int(record["width"]),
                "height": int(record["height"]),
                "file_name": str(record["file_name"]),
            }
        )
        for obj in record.get("annotations", ()):
            ids = {"id": len(annotations) + 1, "image_id": image_id}
            annotations.append({**ids, **_coco_annotation(obj, category_ids)})
    logger.info("Converted %d images, %d annotations", len(images), len(annotations))
    return {
        "info": {
            "date_created": str(datetime.datetime.now()),
            "description": f"Dataset '{dataset_name}' in COCO's format, written by detectron2-lite",
        },
        "images": images,
        "categories": [
            {"id": category_ids[class_], "name": name}
            for class_, name in enumerate(metadata.thing_classes)
        ],
        "licenses": None,
        "annotations": annotations,
    }


def _coco_annotation(obj: dict[str, Any], category_ids: dict[int, int]) -> dict[str, Any]:
    box: Any = [float(number) for number in obj["bbox"]]
    if obj["bbox_mode"] != BoxMode.XYWHA_ABS:
        box = BoxMode.convert(box, obj["bbox_mode"], BoxMode.XYWH_ABS)
    segmentation = obj.get("segmentation")
    annotation = {
        "bbox": [round(number, 3) for number in box],
        "area": _mask_area(segmentation) if segmentation else _box_area(box),
        "iscrowd": int(obj.get("iscrowd", 0)),
        "category_id": category_ids[obj["category_id"]],
    }
    if "keypoints" in obj:
        numbers = obj["keypoints"]
        annotation["keypoints"] = [n if i % 3 == 2 else n - 0.5 for i, n in enumerate(numbers)]
        annotation["num_keypoints"] = sum(visible > 0 for visible in numbers[2::3])
    if segmentation:
        if isinstance(segmentation, dict) and isinstance(segmentation["counts"], bytes):
            segmentation = {**segmentation, "counts": segmentation["counts"].decode("ascii")}
        annotation["segmentation"] = segmentation
    return annotation


def _box_area(box: list[float]) -> float:
    """Square pixels of a box x, y, width, height, in float32 as everywhere in ``Boxes``."""
    if len(box) != 4:
        return float(box[2] * box[3])
    corners = BoxMode.convert(box, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS)
    return Boxes(torch.as_tensor(corners)[None]).area().item()


def _mask_area(segmentation: dict | Sequence[Sequence[float]]) -> float:
    """Square pixels of a compressed mask, or of polygons (by the shoelace formula)."""
    if isinstance(segmentation, dict):
        from pycocotools import mask as mask_api

        return float(mask_api.area(segmentation))
    areas = []
    for polygon in segmentation:
        x, y = np.asarray(polygon, dtype=np.float64).reshape(-1, 2).T
        areas.append(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)
    return float(sum(areas))
