"""The datasets that are known by name from the start: COCO 2014 and 2017, Pascal VOC 2007 and 2012.

They are looked for under the folder that the environment variable DETECTRON2_DATASETS names when
this is first imported, ``datasets`` if it is not set.
"""

from __future__ import annotations

import os
from typing import Any

from detectron2._missing import missing_names
from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from detectron2.data.datasets.coco import register_coco_instances
from detectron2.data.datasets.pascal_voc import register_pascal_voc

__all__ = ["register_all_coco", "register_all_pascal_voc"]

__getattr__ = missing_names(__name__)

# Name: (folder of images, annotation file), both under coco/.
_COCO = {
    "coco_2014_train": ("train2014", "annotations/instances_train2014.json"),
    "coco_2014_val": ("val2014", "annotations/instances_val2014.json"),
    "coco_2014_minival": ("val2014", "annotations/instances_minival2014.json"),
    "coco_2014_valminusminival": ("val2014", "annotations/instances_valminusminival2014.json"),
    "coco_2017_train": ("train2017", "annotations/instances_train2017.json"),
    "coco_2017_val": ("val2017", "annotations/instances_val2017.json"),
    "coco_2017_test": ("test2017", "annotations/image_info_test2017.json"),
    "coco_2017_test-dev": ("test2017", "annotations/image_info_test-dev2017.json"),
    "coco_2017_val_100": ("val2017", "annotations/instances_val2017_100.json"),
}

_VOC = {2007: ("trainval", "train", "val", "test"), 2012: ("trainval", "train", "val")}


def register_all_coco(root: str) -> None:
    """Register coco_2014_* and coco_2017_*, whose files lie in ``root``/coco."""
    folder = os.path.join(root, "coco")
    for name, (images, json_file) in _COCO.items():
        paths = os.path.join(folder, json_file), os.path.join(folder, images)
        register_coco_instances(name, _coco_metadata(), *paths)


def register_all_pascal_voc(root: str) -> None:
    """Register voc_2007_* and voc_2012_*, whose files lie in ``root``/VOC2007 and /VOC2012."""
    for year, splits in _VOC.items():
        for split in splits:
            name = f"voc_{year}_{split}"
            register_pascal_voc(name, os.path.join(root, f"VOC{year}"), split, year)
            MetadataCatalog.get(name).evaluator_type = "pascal_voc"


def _coco_metadata() -> dict[str, Any]:
    """Names and colors of the 80 classes of instances, and class by id in the annotation files."""
    things = [category for category in COCO_CATEGORIES if category["isthing"]]
    return {
        "thing_dataset_id_to_contiguous_id": {c["id"]: i for i, c in enumerate(things)},
        "thing_classes": [c["name"] for c in things],
        "thing_colors": [c["color"] for c in things],
    }


_root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
register_all_coco(_root)
register_all_pascal_voc(_root)
