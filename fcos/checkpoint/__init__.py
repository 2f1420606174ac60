"""Weights files: recognise their family, read, check, convert and write them."""

from fcos.checkpoint.checkpointer import AdetCheckpointer
from fcos.checkpoint.conversion import convert, inspect
from fcos.checkpoint.coverage import Coverage
from fcos.checkpoint.reading import local_file, read_checkpoint

__all__ = [
    "AdetCheckpointer",
    "Coverage",
    "convert",
    "inspect",
    "local_file",
    "read_checkpoint",
]
