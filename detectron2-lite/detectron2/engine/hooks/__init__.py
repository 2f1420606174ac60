"""Hooks: what a training does around its iterations."""

from detectron2._missing import missing_names
from detectron2.engine.hooks.checkpoints import BestCheckpointer, PeriodicCheckpointer
from detectron2.engine.hooks.evaluation import EvalHook, PreciseBN
from detectron2.engine.hooks.profiling import TorchMemoryStats, TorchProfiler
from detectron2.engine.hooks.training import (
    CallbackHook,
    IterationTimer,
    LRScheduler,
    PeriodicWriter,
)

__all__ = [
    "BestCheckpointer",
    "CallbackHook",
    "EvalHook",
    "IterationTimer",
    "LRScheduler",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "TorchMemoryStats",
    "TorchProfiler",
]

__getattr__ = missing_names(__name__)
