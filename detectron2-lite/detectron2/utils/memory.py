"""Going on after a GPU ran out of memory."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["retry_if_cuda_oom"]

__getattr__ = missing_names(__name__)


def retry_if_cuda_oom(func: Callable[..., Any]) -> Callable[..., Any]:
    """``func``, tried up to three times while the GPU runs out of memory.

    First as called, then with the GPU's cache emptied, then with the tensors among the arguments
    on the CPU.  The result may thus lie on the CPU; ``func`` must work there, change none of its
    arguments, and do nothing when its call is repeated.  Tensors inside of lists or dicts stay
    where they are.
    """

    def to_cpu(value: Any) -> Any:
        return value.to("cpu") if isinstance(value, Tensor) and value.is_cuda else value

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(2):
            try:
                return func(*args, **kwargs)
            except torch.cuda.OutOfMemoryError:
                # The cache is emptied after this block only: the exception holds the frames,
                # and with them the tensors, of the failed call.
                is_last = attempt == 1
            if not is_last:
                torch.cuda.empty_cache()
        logger = logging.getLogger(__name__)
        logger.info(
            "The GPU is out of memory; calling %s on the CPU", getattr(func, "__name__", func)
        )
        return func(*map(to_cpu, args), **{name: to_cpu(v) for name, v in kwargs.items()})

    return wrapped
