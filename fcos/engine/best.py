"""The best checkpoint of a training, whatever interrupts it."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence

from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.engine.thresholds import thresholds_entry
from fcos.utils.agree import in_all

__all__ = ["BestCheckpoint", "EvaluationAgain", "is_loss", "metrics_of"]

logger = logging.getLogger(__name__)


def is_loss(metric: str) -> bool:
    """Say whether less of a metric is better."""
    return "loss" in metric


def metrics_of(names: Iterable[str]) -> list[str]:
    """Choose those names of logged numbers that are results of an evaluation."""
    return sorted(name for name in names if "AP" in name or "validation" in name)


class BestCheckpoint(HookBase):
    """Keep ``model_best.pth``, the checkpoint with the best value of one metric.

    The largest is the best; of a loss, the smallest. Register it after the hook that evaluates. The
    file stores the metric and its value, under ``"best"``; a resumed training reads them, and
    starts over if it is to keep the best of another metric.

    Args:
        checkpointer: writes the file. Trainings are resumed from the periodic checkpoints.
        period: iterations between evaluations.
        metric: its name as the evaluation reports it, such as ``bbox/AP``.
        name: of the file, without its ending.

    Attributes:
        value: the best so far, NaN before the first; in the main process only.
        iteration: the one before the evaluation that gave it, or -1.
    """

    def __init__(
        self, checkpointer: AdetCheckpointer, period: int, metric: str, name: str = "model_best"
    ) -> None:
        self.checkpointer = checkpointer
        self.period = period
        self.metric = metric
        self.name = name
        self.value = math.nan
        self.iteration = -1

    def is_better(self, value: float) -> bool:
        """Say whether a value is better than the best so far."""
        if math.isnan(self.value):
            return not math.isnan(value)
        return value < self.value if is_loss(self.metric) else value > self.value

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            in_all(self._read_value)

    def _read_value(self) -> None:
        path = os.path.join(self.checkpointer.save_dir, f"{self.name}.pth")
        if comm.is_main_process() and os.path.isfile(path):
            best = read_checkpoint(path).get("best", {})
            if best.get("metric") == self.metric:
                self.value, self.iteration = best["value"], best["iteration"]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0 and done < self.trainer.max_iter:
            in_all(lambda: self.keep(self.trainer.iter))

    def after_train(self) -> None:
        # Also if no iteration was left: the evaluation may have been interrupted. The trainer's
        # iteration is one too many then, in detectron2 itself.
        if self.trainer.iter >= self.trainer.max_iter:
            done = max(self.trainer.start_iter, self.trainer.max_iter)
            in_all(lambda: self.keep(done - 1))

    def keep(self, iteration: int) -> None:
        """Save a checkpoint if the evaluation after ``iteration`` is the best so far."""
        if not comm.is_main_process():
            return
        latest = self.trainer.storage.latest()
        if self.metric not in latest:
            logger.warning(
                f"TEST.BEST_METRIC {self.metric} is not among the results, so no best checkpoint "
                f"is kept; there are: {', '.join(metrics_of(latest)) or 'none'}."
            )
            return
        value = float(latest[self.metric][0])
        if math.isnan(value):
            stays = "is not there yet" if self.iteration < 0 else "stays as it is"
            logger.warning(
                f"{self.metric} is NaN: nothing was detected, or there is nothing to find. "
                f"{self.name}.pth {stays}."
            )
            return
        if not self.is_better(value):
            logger.info(f"{self.metric} is {value:.3f}; the best so far is {self.value:.3f}.")
            return
        self.value, self.iteration = value, iteration
        best = {"metric": self.metric, "value": value, "iteration": iteration}
        more = {"best": best, **thresholds_entry(self.checkpointer.model)}
        now, self.trainer.iter = self.trainer.iter, iteration  # it is saved too
        try:
            self.checkpointer.save(self.name, tag=False, iteration=iteration, **more)
        finally:
            self.trainer.iter = now
        logger.info(f"{self.metric} is {value:.3f}, the best so far: kept as {self.name}.pth.")


class EvaluationAgain(HookBase):
    """Evaluate the checkpoint that a training goes on from, if its iteration is to be evaluated.

    A checkpoint is written before it is evaluated, so nobody knows whether the training was
    stopped before the evaluation, in it or after it. After the last iteration detectron2's hook
    evaluates anyway.

    Args:
        hooks: the hooks that evaluate, and those that use the results.
    """

    def __init__(self, hooks: Sequence[HookBase]) -> None:
        self.hooks = hooks

    def before_train(self) -> None:
        trainer, start = self.trainer, self.trainer.start_iter
        if not 0 < start < trainer.max_iter:
            return
        # As if the iteration had just ended: then they know whether it is their turn.
        trainer.iter = trainer.storage.iter = start - 1
        for hook in self.hooks:
            hook.after_step()
        trainer.iter = trainer.storage.iter = start
