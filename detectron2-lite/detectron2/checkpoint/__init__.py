"""Saving and loading of weights and training state."""

from fvcore.common.checkpoint import Checkpointer, PeriodicCheckpointer

from detectron2._missing import missing_names
from detectron2.checkpoint.detection_checkpoint import DetectionCheckpointer

__all__ = ["Checkpointer", "DetectionCheckpointer", "PeriodicCheckpointer"]

__getattr__ = missing_names(__name__)
