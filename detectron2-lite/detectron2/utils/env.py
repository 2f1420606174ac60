"""The process's surroundings: random seeds, user modules."""

from __future__ import annotations

import importlib
import logging
import os
import random
from datetime import datetime

import numpy as np
import torch

from detectron2._missing import missing_names

__all__ = ["seed_all_rng", "setup_environment"]

__getattr__ = missing_names(__name__)


def seed_all_rng(seed: int | None = None) -> None:
    """Seed torch, numpy and ``random``.

    Args:
        seed: None for one made of the process, the time and the system's randomness, which is
            logged.
    """
    if seed is None:
        now = datetime.now()
        seed = os.getpid() + int(now.strftime("%S%f")) + int.from_bytes(os.urandom(2), "big")
        logging.getLogger(__name__).info("Using a generated random seed %d", seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)


_is_set_up = False


def setup_environment() -> None:
    """Run the user's set-up, once.

    If the environment variable ``DETECTRON2_ENV_MODULE`` names a module, its
    ``setup_environment()`` is called.
    """
    global _is_set_up
    if _is_set_up:
        return
    _is_set_up = True
    name = os.environ.get("DETECTRON2_ENV_MODULE")
    if name:
        module = importlib.import_module(name)
        if not callable(getattr(module, "setup_environment", None)):
            raise ValueError(f"DETECTRON2_ENV_MODULE={name} has no function setup_environment")
        module.setup_environment()
