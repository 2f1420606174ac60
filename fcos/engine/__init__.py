from fcos.engine.hooks import TrainingStopped
from fcos.engine.launching import argument_parser, run
from fcos.engine.startup import setup
from fcos.engine.trainer import Trainer

__all__ = ["Trainer", "TrainingStopped", "argument_parser", "run", "setup"]
