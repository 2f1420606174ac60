"""What happens around an iteration: checkpoints, the best one, leaving on request, bad losses."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from typing import Any

import torch
from torch import distributed, nn

from detectron2.checkpoint import PeriodicCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.engine.loop import HostCopy
from fcos.utils.agree import in_all, raise_together
from fcos.utils.errors import UserError

__all__ = [
    "BestCheckpoint",
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
    """A signal asked the training to leave; a checkpoint has been written.

    Attributes:
        exit_code: for the process, 128 + number of the signal, as a shell would report.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class IterationSeed(HookBase):
    """Gives every iteration its own torch random numbers, so that no generator has to be saved.

    They follow from the trainer's ``seed``, which a checkpoint keeps, the iteration and the rank.
    """

    def before_step(self) -> None:
        step = self.trainer.iter * comm.get_world_size() + comm.get_rank()
        torch.manual_seed((self.trainer.seed * 1_000_003 + step) % 2**63)


class Checkpoints(HookBase):
    """A checkpoint every ``period`` iterations and ``model_final`` after the last.

    Unlike detectron2's hook it runs in every process: when the main one cannot write, all stop
    with the same message instead of waiting for it.
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
        # A finite loss can have a gradient that is not; the checkpoint before this one is better.
        for name, value in self.checkpointer.model.named_parameters():
            if not value.isfinite().all():
                raise UserError(
                    f"The parameter {name} is not finite after iteration {self.trainer.iter}, so "
                    f"no checkpoint of it is written; {_last_checkpoint(self.checkpointer)}. "
                    f"{_REMEDY}"
                )


class BestCheckpoint(HookBase):
    """Keeps ``model_best.pth``, the checkpoint with the largest value of one metric.

    Belongs behind the hook that evaluates. The value is stored in the file, under ``"best"``, and
    read from there when a training is resumed.

    Args:
        checkpointer: writes the file; the checkpoint to resume from stays the periodic one.
        period: iterations between evaluations.
        metric: its name as the evaluation reports it, such as ``bbox/AP``.
    """

    name = "model_best"

    def __init__(self, checkpointer: AdetCheckpointer, period: int, metric: str) -> None:
        self.checkpointer = checkpointer
        self.period = period
        self.metric = metric
        self.value = -math.inf

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            in_all(self._read_value)

    def _read_value(self) -> None:
        path = os.path.join(self.checkpointer.save_dir, f"{self.name}.pth")
        if comm.is_main_process() and os.path.isfile(path):
            best = read_checkpoint(path).get("best", {})
            if best.get("metric") == self.metric:
                self.value = best["value"]

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done % self.period == 0 and done < self.trainer.max_iter:
            in_all(lambda: self.keep(self.trainer.iter))

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter > self.trainer.start_iter:
            in_all(lambda: self.keep(self.trainer.iter - 1))

    def keep(self, iteration: int) -> None:
        """Compare the latest evaluation with the best so far; ``iteration`` is the last one run."""
        if not comm.is_main_process():
            return
        latest = self.trainer.storage.latest()
        if self.metric not in latest:
            names = sorted(name for name in latest if "AP" in name)
            logger.warning(
                f"TEST.BEST_METRIC {self.metric} is not among the results, so no best checkpoint "
                f"is kept; there are: {', '.join(names) or 'none'}."
            )
            return
        value = float(latest[self.metric][0])
        if not value > self.value:  # also when it is not a number
            logger.info(f"{self.metric} is {value:.3f}; the best so far is {self.value:.3f}.")
            return
        self.value = value
        best = {"metric": self.metric, "value": value, "iteration": iteration}
        self.checkpointer.save(self.name, tag=False, iteration=iteration, best=best)
        logger.info(f"{self.metric} is {value:.3f}, the best so far: kept as {self.name}.pth.")


class LossGuard(HookBase):
    """Stops before a loss that is not finite reaches the weights.

    Register it with the inner loop, whose ``after_backward`` lies between the backward pass and
    the optimizer. Whether the losses are finite is asked on the device, right behind the forward
    pass; the answer is waited for only after the backward pass has been queued, so that a GPU has
    work in the meantime and always some left.

    Args:
        model: what the loop calls; its losses and image files are noted by a forward hook.
        checkpointer: to say which checkpoint is intact.
    """

    def __init__(self, model: nn.Module, checkpointer: AdetCheckpointer) -> None:
        self.checkpointer = checkpointer
        self._losses: dict[str, torch.Tensor] = {}
        self._files: list[str] = []
        self._answer: HostCopy | None = None
        model.register_forward_hook(self._note)

    def _note(self, model: nn.Module, inputs: tuple, output: Any) -> None:
        if not (model.training and isinstance(output, dict) and output):
            return
        self._losses = {name: value.detach() for name, value in output.items()}
        self._files = [str(image.get("file_name", "?")) for image in inputs[0]]
        is_bad = ~torch.stack([v.float().sum() for v in self._losses.values()]).isfinite()
        somewhere = is_bad.any().int()
        if comm.get_world_size() > 1:
            distributed.all_reduce(somewhere, distributed.ReduceOp.MAX)
        self._answer = HostCopy(torch.cat((somewhere[None], is_bad.int())))

    def after_backward(self) -> None:
        if self._answer is None:
            return
        somewhere, *is_bad = self._answer.read()
        if somewhere:
            terms = [name for name, bad in zip(self._losses, is_bad, strict=True) if bad]
            raise_together(self._error(terms) if terms else None)

    def _error(self, terms: list[str]) -> UserError:
        values = ", ".join(f"{name} is {self._losses[name].item()}" for name in terms)
        last = _last_checkpoint(self.checkpointer)
        return UserError(
            f"The loss is not finite at iteration {self.trainer.iter}: {values}, for the images "
            f"{', '.join(self._files)}. The weights were not changed by it, and {last}. "
            f"{_REMEDY}"
        )


class StopOnSignal(HookBase):
    """Leaves after the running iteration when SIGTERM or SIGINT (Ctrl-C) comes, with a checkpoint.

    A second SIGINT leaves at once. Several processes leave together, even if one alone got the
    signal: they ask each other every few iterations.

    Args:
        checkpointer: writes the checkpoint, from which ``--resume`` goes on exactly.
        period: iterations between two questions to the other processes.
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
            return  # Python allows handlers in the main thread only
        self._process = os.getpid()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._handle)

    def after_train(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, _: Any) -> None:
        if os.getpid() != self._process:
            return  # a data worker, to which Ctrl-C goes as well; this process ends it
        # A terminal sends Ctrl-C to every process, and the first process hands it on once more.
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
