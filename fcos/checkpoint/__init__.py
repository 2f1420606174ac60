"""Weights files: recognise their family, read, check, convert and write them."""

from fcos.checkpoint.checkpointer import AdetCheckpointer
from fcos.checkpoint.conversion import convert, inspect
from fcos.checkpoint.coverage import Coverage
from fcos.checkpoint.reading import local_file, read_checkpoint
from fcos.checkpoint.thresholds import (
    DEFAULT_SCORE,
    ClassThreshold,
    ScoreThresholds,
    add_thresholds,
    check_has_place,
    thresholds_in,
)

__all__ = [
    "DEFAULT_SCORE",
    "AdetCheckpointer",
    "ClassThreshold",
    "Coverage",
    "ScoreThresholds",
    "add_thresholds",
    "check_has_place",
    "convert",
    "inspect",
    "local_file",
    "read_checkpoint",
    "thresholds_in",
]
