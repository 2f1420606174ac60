"""Datasets in COCO's and Pascal VOC's formats; importing this registers the builtin ones."""

from detectron2._missing import missing_names
from detectron2.data.datasets import builtin, builtin_meta  # registers  # noqa: F401
from detectron2.data.datasets.coco import (
    convert_to_coco_json,
    load_coco_json,
    register_coco_instances,
)
from detectron2.data.datasets.pascal_voc import load_voc_instances, register_pascal_voc

__all__ = [
    "convert_to_coco_json",
    "load_coco_json",
    "load_voc_instances",
    "register_coco_instances",
    "register_pascal_voc",
]

__getattr__ = missing_names(__name__)
