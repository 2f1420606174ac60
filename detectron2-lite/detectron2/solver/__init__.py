"""Optimizers and learning rate schedules, built from a config."""

from torch.optim.lr_scheduler import LRScheduler

from detectron2._missing import missing_names
from detectron2.solver.build import (
    build_lr_scheduler,
    build_optimizer,
    get_default_optimizer_params,
)
from detectron2.solver.lr_scheduler import (
    LRMultiplier,
    WarmupParamScheduler,
)

__all__ = [
    "LRMultiplier",
    "LRScheduler",
    "WarmupParamScheduler",
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
]
__getattr__ = missing_names(__name__)
