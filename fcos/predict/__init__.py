"""Images in, detections out: for one image, a video, a data set or a million files."""

from fcos.predict.classes import choose_names, configured_classes
from fcos.predict.draw import (
    class_colors,
    draw_instances,
    ground_truth_instances,
    side_by_side,
)
from fcos.predict.predictor import Predictor, resized
from fcos.predict.samples import bgr_of_sample, draw_sample

__all__ = [
    "Predictor",
    "bgr_of_sample",
    "choose_names",
    "class_colors",
    "configured_classes",
    "draw_instances",
    "draw_sample",
    "ground_truth_instances",
    "resized",
    "side_by_side",
]
