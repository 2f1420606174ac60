"""Hooks that save checkpoints."""

from __future__ import annotations

import logging
import math
from typing import Literal

from fvcore.common.checkpoint import Checkpointer
from fvcore.common.checkpoint import PeriodicCheckpointer as _PeriodicCheckpointer

from detectron2.engine.train_loop import HookBase

logger = logging.getLogger(__package__)


class PeriodicCheckpointer(_PeriodicCheckpointer, HookBase):
    """``detectron2.checkpoint.PeriodicCheckpointer`` as a hook: saves what its checkpointer saves,
    every ``period`` iterations, and after the last one as ``model_final``."""

    def before_train(self) -> None:
        if self.period < 1:
            raise ValueError(
                f"The checkpoint period (SOLVER.CHECKPOINT_PERIOD) is {self.period}; "
                "it has to be at least 1 iteration"
            )
        self.max_iter = self.trainer.max_iter

    def after_step(self) -> None:
        self.step(self.trainer.iter)


class BestCheckpointer(HookBase):
    """Saves a checkpoint whenever a metric is better than it ever was in this run.

    To be registered after the hook that computes the metric, such as ``EvalHook``.

    Args:
        eval_period: that of the ``EvalHook``.
        checkpointer: saves the checkpoint.
        val_metric: name of the metric in the event storage, such as ``"bbox/AP50"``.
        mode: ``"max"`` if more is better, ``"min"`` if less is.
        file_prefix: name of the checkpoint, without ``.pth``.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: Checkpointer,
        val_metric: str,
        mode: Literal["max", "min"] = "max",
        file_prefix: str = "model_best",
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"BestCheckpointer: mode is {mode!r}, not 'max' or 'min'")
        self._period = eval_period
        self._checkpointer = checkpointer
        self._val_metric = val_metric
        self._sign = 1 if mode == "max" else -1
        self._file_prefix = file_prefix
        self.best_metric: float | None = None
        self.best_iter: int | None = None

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        # The evaluation of the last iteration comes in after_train.
        if self._period > 0 and done % self._period == 0 and done != self.trainer.max_iter:
            self._check()

    def after_train(self) -> None:
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            self._check()

    def _check(self) -> None:
        latest = self.trainer.storage.latest().get(self._val_metric)
        if latest is None:
            logger.warning(
                "The metric %r is not computed; no best checkpoint is saved.", self._val_metric
            )
            return
        metric, iteration = latest
        if not math.isfinite(metric):
            return
        if self.best_metric is None:
            self._save(iteration)
            logger.info("Saved first model at %.5f @ %d steps", metric, iteration)
        elif self._sign * (metric - self.best_metric) > 0:
            self._save(iteration)
            logger.info(
                "Saved best model: %s is %.5f, better than %.5f @ iteration %d",
                *(self._val_metric, metric, self.best_metric, self.best_iter),
            )
        else:
            logger.info(
                "Not saving a best model: %s is %.5f, not better than %.5f @ iteration %d",
                *(self._val_metric, metric, self.best_metric, self.best_iter),
            )
            return
        self.best_metric, self.best_iter = metric, iteration

    def _save(self, iteration: int) -> None:
        self._checkpointer.save(self._file_prefix, iteration=iteration)
