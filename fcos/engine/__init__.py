"""Training and evaluation: the trainer, its hooks, and the processes that run it."""

from fcos.engine.hooks import TrainingStopped
from fcos.engine.launching import train_or_evaluate
from fcos.engine.startup import setup
from fcos.engine.trainer import Trainer

__all__ = ["Trainer", "TrainingStopped", "setup", "train_or_evaluate"]
