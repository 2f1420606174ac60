"""Training and evaluation: the trainer, its hooks, and the processes that run it."""

from fcos.engine.hooks import TrainingStopped
from fcos.engine.launching import run
from fcos.engine.startup import setup
from fcos.engine.trainer import Trainer

__all__ = ["Trainer", "TrainingStopped", "run", "setup"]
