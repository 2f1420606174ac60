"""What is passed around: boxes, instances, batches of images."""

from detectron2._missing import missing_names
from detectron2.structures.boxes import (
    Boxes,
    BoxMode,
    pairwise_ioa,
    pairwise_iou,
    pairwise_point_box_distance,
)
from detectron2.structures.image_list import ImageList
from detectron2.structures.instances import Instances

__all__ = [
    "BoxMode",
    "Boxes",
    "ImageList",
    "Instances",
    "pairwise_ioa",
    "pairwise_iou",
    "pairwise_point_box_distance",
]

__getattr__ = missing_names(__name__)
