"""Learning rate schedules with a warm-up at the start of training."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, Literal

from fvcore.common import param_scheduler as schedules
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["LRMultiplier", "WarmupCosineLR", "WarmupMultiStepLR", "WarmupParamScheduler"]

Method = Literal["linear", "constant"]


class WarmupParamScheduler(schedules.CompositeParamScheduler):
    """Puts a warm-up in front of another scheduler.

    Args:
        scheduler: maps progress through training, 0 to 1, to a value.
        warmup_factor: the warm-up starts at this times the first value of ``scheduler``.
        warmup_length: its part of the whole training, from 0 to 1.
        warmup_method: "linear" climbs to the value at which ``scheduler`` takes over, "constant"
            stays where it starts.
        rescale_interval: whether ``scheduler`` runs from its beginning in the time that is left
            after the warm-up; if not, the part of it under the warm-up is skipped.

    Raises:
        ValueError: the method or the length is not one of these.
    """

    def __init__(
        self,
        scheduler: schedules.ParamScheduler,
        warmup_factor: float,
        warmup_length: float,
        warmup_method: Method = "linear",
        rescale_interval: bool = False,
    ):
        if not 0 <= warmup_length <= 1:
            raise ValueError(f"warmup_length: expected 0 to 1, got {warmup_length}")
        start = warmup_factor * scheduler(0.0)
        if warmup_method == "linear":
            end = scheduler(0.0 if rescale_interval else warmup_length)
            warmup: schedules.ParamScheduler = schedules.LinearParamScheduler(start, end)
        elif warmup_method == "constant":
            warmup = schedules.ConstantParamScheduler(start)
        else:
            raise ValueError(
                "warmup_method (SOLVER.WARMUP_METHOD): expected 'linear' or 'constant', "
                f"got {warmup_method!r}"
            )
        super().__init__(
            [warmup, scheduler],
            lengths=[warmup_length, 1 - warmup_length],
            interval_scaling=["rescaled", "rescaled" if rescale_interval else "fixed"],
        )


class LRMultiplier(LRScheduler):
    """Learning rate of every parameter group = its first one * the value of a scheduler.

    Args:
        optimizer: whose rates are set.
        multiplier: maps progress through training, 0 to 1, to a factor.
        max_iter: how many iterations the whole training has.
        last_iter: the iteration that was finished last, -1 at the start of training.

    Raises:
        ValueError: ``multiplier`` is not a ``ParamScheduler`` of fvcore.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        multiplier: schedules.ParamScheduler,
        max_iter: int,
        last_iter: int = -1,
    ):
        if not isinstance(multiplier, schedules.ParamScheduler):
            raise ValueError(f"multiplier: expected a ParamScheduler of fvcore, got {multiplier!r}")
        self._multiplier = multiplier
        self._max_iter = max_iter
        super().__init__(optimizer, last_epoch=last_iter)

    def state_dict(self) -> dict[str, Any]:
        """First rates and the iteration; the schedule itself comes from the config again."""
        return {"base_lrs": self.base_lrs, "last_epoch": self.last_epoch}

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at the present iteration."""
        factor = self._multiplier(self.last_epoch / self._max_iter)
        return [base_lr * factor for base_lr in self.base_lrs]


class _WarmupLR(LRScheduler):
    """The common part of the two schedules below, which count in iterations."""

    def __init__(
        self,
        optimizer: Optimizer,
        warmup_factor: float,
        warmup_iters: int,
        warmup_method: Method,
        last_epoch: int,
    ):
        self.warmup_factor = warmup_factor
        self.warmup_iters = warmup_iters
        self.warmup_method = warmup_method
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float | Tensor]:
        """The rate of each parameter group at the present iteration."""
        factor = self._warmup() * self._decay()
        return [base_lr * factor for base_lr in self.base_lrs]

    def _warmup(self) -> float:
        if self.last_epoch >= self.warmup_iters:
            return 1.0
        if self.warmup_method == "constant":
            return self.warmup_factor
        if self.warmup_method == "linear":
            done = self.last_epoch / self.warmup_iters
            return self.warmup_factor * (1 - done) + done
        raise ValueError(
            f"warmup_method: expected 'linear' or 'constant', got {self.warmup_method!r}"
        )

    def _decay(self) -> float:
        raise NotImplementedError


class WarmupMultiStepLR(_WarmupLR):
    """Multiplies the rate by ``gamma`` at each milestone.

    The older form, kept for code that uses it; :class:`LRMultiplier` with fvcore's
    ``MultiStepParamScheduler`` in a :class:`WarmupParamScheduler` gives the same rates.

    Args:
        optimizer: whose rates are set.
        milestones: increasing iterations; each is the first with the lower rate.
        gamma: factor per milestone.
        warmup_factor, warmup_method: see :class:`WarmupParamScheduler`.
        warmup_iters: length of the warm-up in iterations.
        last_epoch: the iteration that was finished last, -1 at the start of training.

    Raises:
        ValueError: the milestones do not increase, or the method is unknown.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        milestones: list[int],
        gamma: float = 0.1,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: Method = "linear",
        last_epoch: int = -1,
    ):
        if list(milestones) != sorted(milestones):
            raise ValueError(f"milestones: expected increasing iterations, got {milestones}")
        self.milestones = milestones
        self.gamma = gamma
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def _decay(self) -> float:
        return self.gamma ** bisect_right(self.milestones, self.last_epoch)


class WarmupCosineLR(_WarmupLR):
    """Lowers the rate to 0 along half a cosine; the warm-up is a factor on top of that.

    The older form, kept for code that uses it. Unlike with :class:`WarmupParamScheduler` a
    linear warm-up is not a straight line here, as the cosine falls under it.

    Args:
        optimizer: whose rates are set.
        max_iters: the iteration at which the rate is 0.
        warmup_factor, warmup_method: see :class:`WarmupParamScheduler`.
        warmup_iters: length of the warm-up in iterations.
        last_epoch: the iteration that was finished last, -1 at the start of training.

    Raises:
        ValueError: the method is unknown.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_iters: int,
        warmup_factor: float = 0.001,
        warmup_iters: int = 1000,
        warmup_method: Method = "linear",
        last_epoch: int = -1,
    ):
        self.max_iters = max_iters
        super().__init__(optimizer, warmup_factor, warmup_iters, warmup_method, last_epoch)

    def _decay(self) -> float:
        return (1 + math.cos(math.pi * self.last_epoch / self.max_iters)) / 2
