"""Hooks of the loop itself: callbacks, times, writers, learning rate."""

from __future__ import annotations

import datetime
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from fvcore.common.param_scheduler import ParamScheduler

from detectron2.engine.train_loop import HookBase
from detectron2.solver import LRMultiplier
from detectron2.utils.events import EventWriter

logger = logging.getLogger(__package__)


class CallbackHook(HookBase):
    """A hook made of functions, each called with the trainer as its only argument."""

    def __init__(
        self,
        *,
        before_train: Callable[[Any], Any] | None = None,
        after_train: Callable[[Any], Any] | None = None,
        before_step: Callable[[Any], Any] | None = None,
        after_step: Callable[[Any], Any] | None = None,
    ) -> None:
        self._callbacks = {
            "before_train": before_train,
            "after_train": after_train,
            "before_step": before_step,
            "after_step": after_step,
        }

    def _call(self, event: str) -> None:
        callback = self._callbacks[event]
        if callback is not None:
            callback(self.trainer)

    def before_train(self) -> None:
        self._call("before_train")

    def after_train(self) -> None:
        self._call("after_train")
        # The functions may hold on to the trainer, a cycle that would keep the model in memory.
        self._callbacks = dict.fromkeys(self._callbacks)

    def before_step(self) -> None:
        self._call("before_step")

    def after_step(self) -> None:
        self._call("after_step")


class IterationTimer(HookBase):
    """Stores the seconds of every iteration as ``time``; logs a summary at the end.

    To be registered first: what hooks before it do in ``after_step`` would be timed, too.

    Args:
        warmup_iter: the first iteration to be timed, counted from 1; those before are slower.
    """

    def __init__(self, warmup_iter: int = 3) -> None:
        self._warmup_iter = warmup_iter

    def before_train(self) -> None:
        self._forget()

    def _forget(self) -> None:
        self._begin = time.perf_counter()
        self._num_timed = 0
        self._in_steps = 0.0

    def before_step(self) -> None:
        self._step_begin = time.perf_counter()

    def after_step(self) -> None:
        if self.trainer.iter - self.trainer.start_iter + 1 < self._warmup_iter:
            self._forget()
            return
        seconds = time.perf_counter() - self._step_begin
        self.trainer.storage.put_scalars(time=seconds)
        self._num_timed += 1
        self._in_steps += seconds

    def after_train(self) -> None:
        total = time.perf_counter() - self._begin
        if self._num_timed:
            logger.info(
                "Overall training speed: %d iterations in %s (%.4f s / it)",
                self._num_timed,
                _clock(self._in_steps),
                self._in_steps / self._num_timed,
            )
        hooks_time = _clock(total - self._in_steps)
        logger.info("Total training time: %s (%s on hooks)", _clock(total), hooks_time)


def _clock(seconds: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=int(seconds))


class PeriodicWriter(HookBase):
    """Calls ``write()`` of the writers every ``period`` iterations, and at the end; closes them.

    Args:
        writers: the ``EventWriter`` objects.
        period: iterations; it has no influence on how a writer smooths.
    """

    def __init__(self, writers: Sequence[EventWriter], period: int = 20) -> None:
        for writer in writers:
            if not isinstance(writer, EventWriter):
                raise TypeError(f"PeriodicWriter: {writer!r} is not an EventWriter")
        self._writers = writers
        self._period = period

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self._period == 0 or done == self.trainer.max_iter:
            for writer in self._writers:
                writer.write()

    def after_train(self) -> None:
        for writer in self._writers:
            # Once more, for what other hooks stored after the last iteration.
            writer.write()
            writer.close()


class LRScheduler(HookBase):
    """Steps a learning rate schedule after every iteration; stores the rate as ``lr``.

    Args:
        optimizer: of which the rate is stored; the trainer's ``optimizer`` by default.
        scheduler: a torch scheduler, or a fvcore ``ParamScheduler``, which then multiplies the
            optimizer's rates; the trainer's ``scheduler`` by default.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer | None = None,
        scheduler: torch.optim.lr_scheduler.LRScheduler | ParamScheduler | None = None,
    ) -> None:
        self._optimizer = optimizer
        self._scheduler = scheduler

    @property
    def scheduler(self) -> torch.optim.lr_scheduler.LRScheduler | ParamScheduler:
        return self.trainer.scheduler if self._scheduler is None else self._scheduler

    def before_train(self) -> None:
        if self._optimizer is None:
            self._optimizer = self.trainer.optimizer
        multiplier = self.scheduler
        if isinstance(multiplier, ParamScheduler):
            total, done = self.trainer.max_iter, self.trainer.iter
            self._scheduler = LRMultiplier(self._optimizer, multiplier, total, last_iter=done - 1)
        self._best_param_group_id = self.get_best_param_group_id(self._optimizer)

    @staticmethod
    def get_best_param_group_id(optimizer: torch.optim.Optimizer) -> int:
        """Index of the parameter group whose learning rate stands for all: that of the group with
        the most parameters, or, if every group has just one, the most frequent rate."""
        groups = optimizer.param_groups
        sizes = [len(group["params"]) for group in groups]
        if max(sizes) > 1:
            return sizes.index(max(sizes))
        rates = [group["lr"] for group in groups]
        return rates.index(Counter(rates).most_common(1)[0][0])

    def after_step(self) -> None:
        rate = self._optimizer.param_groups[self._best_param_group_id]["lr"]
        self.trainer.storage.put_scalar("lr", rate, smoothing_hint=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            return self.scheduler.state_dict()
        return {}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            logger.info("Loading scheduler from state_dict ...")
            self.scheduler.load_state_dict(state_dict)
