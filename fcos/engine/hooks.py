"""Hooks around an iteration: random seed, checkpoints, bad losses, and stopping on a signal."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from typing import Any

import torch

from detectron2.checkpoint import PeriodicCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer
from fcos.engine.loop import TrainingLoop
from fcos.utils.agree import in_all, raise_together
from fcos.utils.errors import UserError

__all__ = [
    "Checkpoints",
    "IterationSeed",
    "LossGuard",
    "StopOnSignal",
    "TrainingStopped",
]

logger = logging.getLogger(__name__)

_REMEDY = (
    "Lower SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set SOLVER.CLIP_GRADIENTS.ENABLED True."
)


class TrainingStopped(Exception):
    """A signal stopped the training, after a checkpoint was written.

    Attributes:
        exit_code: of the process: 128 + number of the signal, as shells report it.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class IterationSeed(HookBase):
    """Seed torch before every iteration, so that checkpoints need no state of a generator.

    The seed follows from the trainer's ``seed``, which checkpoints keep, the iteration and the
    rank: every process draws other numbers.
    """

    def before_step(self) -> None:
        step = self.trainer.iter * comm.get_world_size() + comm.get_rank()
        torch.manual_seed((self.trainer.seed * 1_000_003 + step) % 2**63)


class Checkpoints(HookBase):
    """Write a checkpoint every ``period`` iterations, and ``model_final`` after the last one.

    Unlike detectron2's hook it runs in every process: if the main process cannot write, all of
    them stop with its message instead of waiting for it.
    """

    def __init__(self, checkpointer: AdetCheckpointer, period: int) -> None:
        self.checkpointer = checkpointer
        self.period = period

    def after_step(self) -> None:
        done, last = self.trainer.iter + 1, self.trainer.max_iter
        if done % self.period == 0 or done >= last:
            periodic = PeriodicCheckpointer(self.checkpointer, self.period, last)
            in_all(self._check_finite)
            in_all(lambda: periodic.step(self.trainer.iter))

    def _check_finite(self) -> None:
        # A finite loss can have a gradient that is not finite. Keep the checkpoint before it.
        for name, value in self.checkpointer.model.named_parameters():
            if not value.isfinite().all():
                raise UserError(
                    f"The parameter {name} is not finite after iteration {self.trainer.iter}, so "
                    f"no checkpoint of it is written; {_last_checkpoint(self.checkpointer)}. "
                    f"{_REMEDY}"
                )


class LossGuard(HookBase):
    """Stop all processes when a loss of any process is not finite, before the weights change.

    Register it with a :class:`fcos.engine.loop.TrainingLoop`, which calls it between the backward
    pass and the update.

    Args:
        checkpointer: names the last checkpoint in the message.
    """

    trainer: TrainingLoop

    def __init__(self, checkpointer: AdetCheckpointer) -> None:
        self.checkpointer = checkpointer

    def after_backward(self) -> None:
        if not self.trainer.is_finite:  # the same in all processes
            losses = self.trainer.losses
            bad = [f"{name} is {v}" for name, v in losses.items() if not math.isfinite(v)]
            raise_together(self._error(bad) if bad else None)

    def _error(self, bad: list[str]) -> UserError:
        files = [str(image.get("file_name", "?")) for image in self.trainer.batch]
        return UserError(
            f"The loss is not finite at iteration {self.trainer.iter}: {', '.join(bad)}, for the "
            f"images {', '.join(files)}. The weights were not changed by it, and "
            f"{_last_checkpoint(self.checkpointer)}. {_REMEDY}"
        )


class StopOnSignal(HookBase):
    """On SIGTERM or SIGINT (Ctrl-C), finish the iteration, write a checkpoint and stop.

    A second SIGINT stops at once. Several processes stop together, even if only one of them gets
    the signal: they exchange it every few iterations.

    Args:
        checkpointer: writes the checkpoint, from which ``--resume`` goes on exactly.
        period: iterations between two exchanges of the processes.
    """

    def __init__(self, checkpointer: AdetCheckpointer, period: int = 5) -> None:
        self.checkpointer = checkpointer
        self.period = period
        self._signal = 0
        self._since = 0.0
        self._process = 0
        self._previous: dict[int, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # Python sets handlers in the main thread only
        self._process = os.getpid()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)

    def after_train(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:
            return  # a data worker, which inherits the handler; the training process ends it
        # A terminal sends Ctrl-C to every process, and the first process passes it on as well.
        is_new = time.monotonic() - self._since > 1
        if self._signal and number == signal.SIGINT and is_new:
            signal.signal(number, signal.SIG_DFL)
            os.kill(self._process, number)
        if not self._signal:
            self._signal, self._since = number, time.monotonic()
            logger.warning(f"{_name(number)}: leaving after this iteration, with a checkpoint.")

    def after_step(self) -> None:
        number = self._signal
        if comm.get_world_size() > 1:
            if (self.trainer.iter + 1) % self.period:
                return
            number = max(comm.all_gather(number))
        if number:
            self._leave(number)

    def _leave(self, number: int) -> None:
        iteration = self.trainer.iter
        name = f"model_{iteration:07d}"
        in_all(lambda: self.checkpointer.save(name, iteration=iteration))
        path = os.path.join(self.checkpointer.save_dir, f"{name}.pth")
        raise TrainingStopped(
            f"Stopped by {_name(number)} after iteration {iteration}; {path} is written, and "
            "--resume goes on from it.",
            128 + number,
        )


def _last_checkpoint(checkpointer: AdetCheckpointer) -> str:
    if not checkpointer.has_checkpoint():
        return "there is no checkpoint yet"
    return f"{checkpointer.get_checkpoint_file()} is intact"


def _name(number: int) -> str:
    return signal.Signals(number).name
