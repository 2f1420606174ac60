"""Each step of the paper as a picture: for the notebook, the report and the page on a data set."""

from fcos.evaluation.teaching.detecting import (
    DetectionStep,
    RawOutputs,
    detection_steps,
    raw_outputs,
)
from fcos.evaluation.teaching.drawing import draw_learnt, draw_locations, draw_maps
from fcos.evaluation.teaching.drawing_steps import draw_detection_steps
from fcos.evaluation.teaching.learning import Learnt, learnt_boxes
from fcos.evaluation.teaching.maps import Map, score_maps, target_maps
from fcos.evaluation.teaching.skeleton import write_skeleton

__all__ = [
    "DetectionStep",
    "Learnt",
    "Map",
    "RawOutputs",
    "detection_steps",
    "draw_detection_steps",
    "draw_learnt",
    "draw_locations",
    "draw_maps",
    "learnt_boxes",
    "raw_outputs",
    "score_maps",
    "target_maps",
    "write_skeleton",
]
