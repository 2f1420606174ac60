"""An older import path of ``register_coco_instances``."""

from detectron2._missing import missing_names
from detectron2.data.datasets.coco import register_coco_instances

__all__ = ["register_coco_instances"]

__getattr__ = missing_names(__name__)
