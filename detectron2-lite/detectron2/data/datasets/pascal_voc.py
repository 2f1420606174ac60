"""Datasets in Pascal VOC's layout: one XML file and one JPEG file per image."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from typing import Any

from detectron2._missing import missing_names
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager

__all__ = ["CLASS_NAMES", "load_voc_instances", "register_pascal_voc"]

__getattr__ = missing_names(__name__)

CLASS_NAMES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike "
    "person pottedplant sheep sofa train tvmonitor".split()
)


def load_voc_instances(
    dirname: str, split: str, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """Read the annotations of one split.  Images are not opened.

    Args:
        dirname: the folder with "Annotations", "ImageSets" and "JPEGImages".
        split: a file name under ImageSets/Main: "train", "val", "trainval" or "test".
        class_names: the classes in the order of their ids.

    Returns:
        One dict per image, in detectron2's dataset format.  VOC counts pixels from 1 and means
        whole pixels, so that 1 is taken off the left and top sides only.

    Raises:
        FileNotFoundError: the split or one of its annotation files is not there.
        ValueError: a file lacks a size, box or class, or has a class not in ``class_names``.
    """
    listing = os.path.join(dirname, "ImageSets", "Main", f"{split}.txt")
    if not PathManager.isfile(listing):
        raise FileNotFoundError(f"Pascal VOC: the list of images '{listing}' does not exist")
    with PathManager.open(listing) as file:
        names = file.read().split()
    return [_load_image(dirname, name, class_names) for name in names]


def _load_image(dirname: str, name: str, class_names: Sequence[str]) -> dict[str, Any]:
    path = os.path.join(dirname, "Annotations", f"{name}.xml")
    with PathManager.open(path) as file:
        root = ElementTree.parse(file).getroot()
    objects = []
    for obj in root.iter("object"):
        class_name = _text(obj, "name", path)
        if class_name not in class_names:
            raise ValueError(f"'{path}' has an object of class '{class_name}', which is not known")
        sides = ("xmin", "ymin", "xmax", "ymax")
        x1, y1, x2, y2 = (float(_text(obj, f"bndbox/{side}", path)) for side in sides)
        objects.append(
            {
                "category_id": class_names.index(class_name),
                "bbox": [x1 - 1.0, y1 - 1.0, x2, y2],
                "bbox_mode": BoxMode.XYXY_ABS,
            }
        )
    return {
        "file_name": os.path.join(dirname, "JPEGImages", f"{name}.jpg"),
        "image_id": name,
        "height": int(_text(root, "size/height", path)),
        "width": int(_text(root, "size/width", path)),
        "annotations": objects,
    }


def _text(element: ElementTree.Element, tag: str, path: str) -> str:
    text = element.findtext(tag)
    if text is None:
        raise ValueError(f"'{path}': <{element.tag}> has no <{tag}>")
    return text


def register_pascal_voc(
    name: str,
    dirname: str,
    split: str,
    year: int,
    class_names: Sequence[str] = CLASS_NAMES,
) -> None:
    """Make a dataset in Pascal VOC's layout known under a name.  The files are not looked at yet.

    Args:
        name: what DATASETS.TRAIN and DATASETS.TEST will call it.
        dirname, split, class_names: as for ``load_voc_instances``.
        year: 2007 or 2012, noted in the metadata.
    """
    DatasetCatalog.register(name, lambda: load_voc_instances(dirname, split, class_names))
    MetadataCatalog.get(name).set(
        thing_classes=list(class_names), dirname=dirname, year=year, split=split
    )
