"""Images in, detections out: for one image, a video, a data set or a million files."""

from fcos.predict.classes import choose_names, configured_classes
from fcos.predict.draw import class_colors, draw_instances, ground_truth_instances
from fcos.predict.predictor import Predictor, resized

__all__ = [
    "Predictor",
    "choose_names",
    "class_colors",
    "configured_classes",
    "draw_instances",
    "ground_truth_instances",
    "resized",
]
