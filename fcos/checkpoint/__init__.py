"""Weights files: recognise their family, read, check, convert and write them."""

from fcos.checkpoint.checkpointer import AdetCheckpointer
from fcos.checkpoint.conversion import convert, inspect
from fcos.checkpoint.coverage import Coverage
from fcos.checkpoint.detector_config import cfg_of_weights, detector_cfg, weights_file
from fcos.checkpoint.reading import local_file, read_checkpoint
from fcos.checkpoint.stored_config import CONFIG, cfg_in, stored_text
from fcos.checkpoint.thresholds import (
    DEFAULT_SCORE,
    ClassThreshold,
    ScoreThresholds,
    add_thresholds,
    check_has_place,
    thresholds_in,
)
from fcos.checkpoint.zoo import describe_zoo

__all__ = [
    "CONFIG",
    "DEFAULT_SCORE",
    "AdetCheckpointer",
    "ClassThreshold",
    "Coverage",
    "ScoreThresholds",
    "add_thresholds",
    "cfg_in",
    "cfg_of_weights",
    "check_has_place",
    "convert",
    "describe_zoo",
    "detector_cfg",
    "inspect",
    "local_file",
    "read_checkpoint",
    "stored_text",
    "thresholds_in",
    "weights_file",
]
