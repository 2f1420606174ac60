"""Hooks that evaluate, or prepare the model for an evaluation."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from detectron2.engine.train_loop import HookBase
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

logger = logging.getLogger(__package__)


class EvalHook(HookBase):
    """Evaluates every ``eval_period`` iterations and at the end; stores the metrics.

    All processes have to have this hook, or none.

    Args:
        eval_period: iterations; 0 evaluates at the end only.
        eval_function: called without arguments; returns a dict, possibly nested, of numbers, which
            are stored under their path (``bbox/AP``), or something empty where there are none.
        eval_after_train: whether to evaluate after the last iteration.
    """

    def __init__(
        self, eval_period: int, eval_function: Callable[[], Any], eval_after_train: bool = True
    ) -> None:
        self._period = eval_period
        self._func: Callable[[], Any] | None = eval_function
        self._eval_after_train = eval_after_train

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        # after_train evaluates after the last iteration.
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._evaluate()

    def after_train(self) -> None:
        # Not after an exception or Ctrl-C in the middle of the training.
        if self._eval_after_train and self.trainer.iter + 1 >= self.trainer.max_iter:
            self._evaluate()
        # It most likely refers to the trainer, a cycle that would keep the model in memory.
        self._func = None

    def _evaluate(self) -> None:
        results = self._func()
        if results:
            if not isinstance(results, dict):
                raise TypeError(f"EvalHook: the function returned {results!r}, not a dict")
            numbers = {}
            for name, value in flatten_results_dict(results).items():
                try:
                    numbers[name] = float(value)
                except (TypeError, ValueError):
                    raise ValueError(
                        f"EvalHook: the function returned {value!r} as {name!r}, not a number"
                    ) from None
            self.trainer.storage.put_scalars(**numbers, smoothing_hint=False)
        # Some processes may have more to evaluate than others; the next step needs all of them.
        comm.synchronize()


class PreciseBN(HookBase):
    """Replaces the moving averages of BatchNorm layers by true ones, every ``period`` iterations
    and after the last one.

    Args:
        period: iterations; 0 for the last one only.
        model: its BatchNorm layers that are in training mode are updated.
        data_loader: an iterable of batches to call ``model`` with; read on from where it was left.
        num_iter: the number of batches that are averaged.
    """

    def __init__(self, period: int, model: nn.Module, data_loader: Iterable, num_iter: int) -> None:
        self._period = period
        self._model = model
        self._data_loader = data_loader
        self._num_iter = num_iter
        self._data_iter: Iterator | None = None
        self._disabled = not get_bn_modules(model)
        if self._disabled:
            logger.info("PreciseBN is off: the model has no BatchNorm layers in training mode.")

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        is_due = self._period > 0 and done % self._period == 0
        if is_due or done == self.trainer.max_iter:
            self.update_stats()

    def update_stats(self) -> None:
        """Compute the averages now."""
        if self._disabled:
            return
        if self._data_iter is None:
            self._data_iter = iter(self._data_loader)
        logger.info(
            "Running precise-BN for %d iterations; its result depends on the batches it gets.",
            self._num_iter,
        )
        # The losses of these batches are not those of the training.
        with EventStorage():
            update_bn_stats(self._model, self._batches(), self._num_iter)

    def _batches(self) -> Iterator:
        for count, batch in enumerate(self._data_iter, start=1):
            if count % 100 == 0:
                logger.info("Running precise-BN ... %d/%d iterations.", count, self._num_iter)
            yield batch
