"""Learning rate schedules with a warm-up at the start of training."""

from __future__ import annotations

from typing import Any, Literal

from fvcore.common import param_scheduler as schedules
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from detectron2._missing import missing_names

__all__ = ["LRMultiplier", "WarmupParamScheduler"]

__getattr__ = missing_names(__name__)

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
