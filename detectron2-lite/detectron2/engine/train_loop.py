"""The training loop: trainers, and the base class of hooks."""

from __future__ import annotations

import concurrent.futures
import logging
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

__all__ = ["AMPTrainer", "HookBase", "SimpleTrainer", "TrainerBase"]

logger = logging.getLogger(__name__)


class HookBase:
    """Base class of what runs around iterations; see :meth:`TrainerBase.register_hooks`.

    The methods do nothing until a subclass overrides them.  ``self.trainer`` is the trainer that
    the hook was registered with.  Slow work belongs into ``after_step``: the time between
    ``before_step`` and ``after_step`` is what counts as the time of an iteration.

    A hook with something to remember over a restart has ``state_dict`` and ``load_state_dict``;
    what they hold is saved in each checkpoint, under the name of the class.
    """

    trainer: TrainerBase = None  # type: ignore[assignment]  # set by register_hooks

    def before_train(self) -> None:
        """Called once, before the first iteration."""

    def after_train(self) -> None:
        """Called once at the end, also when an exception (or Ctrl-C) ended the training."""

    def before_step(self) -> None:
        """Called before every iteration."""

    def after_backward(self) -> None:
        """Called between the backward pass and the optimizer's step, by ``SimpleTrainer`` and
        ``AMPTrainer`` for the hooks registered with them; ``DefaultTrainer`` does not call it."""

    def after_step(self) -> None:
        """Called after every iteration."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint stores of this hook; nothing by default."""
        return {}


class TrainerBase:
    """A loop over iterations with hooks; what an iteration does is up to ``run_step``.

    Attributes:
        iter: the current iteration, counted from 0; equal to ``max_iter`` after the last one.
        start_iter: the iteration that this run began with.
        max_iter: the iteration before which it ends.
        storage: the ``EventStorage`` that is open during ``train``.
    """

    max_iter: int
    storage: EventStorage

    def __init__(self) -> None:
        self._hooks: list[HookBase] = []
        self.iter = 0
        self.start_iter = 0

    def register_hooks(self, hooks: Iterable[HookBase | None]) -> None:
        """Append hooks, to be called in the order of registration; every ``None`` is left out.

        Raises:
            TypeError: one of them is not a ``HookBase``.
        """
        added = [hook for hook in hooks if hook is not None]
        for hook in added:
            if not isinstance(hook, HookBase):
                raise TypeError(f"register_hooks: {hook!r} is not a HookBase")
            # A strong reference would be a cycle, which keeps the model in GPU memory until the
            # garbage collector happens to run.
            hook.trainer = weakref.proxy(self)
        self._hooks.extend(added)

    def train(self, start_iter: int, max_iter: int) -> None:
        """Run the iterations ``start_iter`` (inclusive) to ``max_iter`` (exclusive)."""
        logger.info("Starting training from iteration %d", start_iter)
        self.start_iter = self.iter = start_iter
        self.max_iter = max_iter
        with EventStorage(start_iter) as self.storage:
            try:
                self.before_train()
                while self.iter < max_iter:
                    for part in (self.before_step, self.run_step, self.after_step):
                        part()
                    self.iter += 1
            except Exception:
                logger.exception("Exception during training:")
                raise
            finally:
                self.after_train()

    def before_train(self) -> None:
        self._call_hooks("before_train")

    def after_train(self) -> None:
        self.storage.iter = self.iter
        self._call_hooks("after_train")

    def before_step(self) -> None:
        # From here to the end of after_step the storage is at the same iteration as the trainer.
        self.storage.iter = self.iter
        self._call_hooks("before_step")

    def after_backward(self) -> None:
        self._call_hooks("after_backward")

    def after_step(self) -> None:
        self._call_hooks("after_step")

    def run_step(self) -> None:
        """One iteration."""
        raise NotImplementedError(f"{type(self).__name__} does not define run_step()")

    def state_dict(self) -> dict[str, Any]:
        """Return the iteration and the state of hooks; of two hooks of a class, the first's."""
        states: dict[str, Any] = {}
        for hook in self._hooks:
            state = hook.state_dict()
            if state:
                states.setdefault(type(hook).__qualname__, state)
        return {"iteration": self.iter, "hooks": states} if states else {"iteration": self.iter}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load what ``state_dict`` returned; skip the state of hooks that are not registered."""
        self.iter = state_dict["iteration"]
        for name, state in state_dict.get("hooks", {}).items():
            takers = [hook for hook in self._hooks if type(hook).__qualname__ == name]
            if takers:
                takers[0].load_state_dict(state)
            else:
                logger.warning("Cannot find the hook %r, its state_dict is ignored.", name)

    def _call_hooks(self, event: str) -> None:
        for hook in self._hooks:
            getattr(hook, event)()


class SimpleTrainer(TrainerBase):
    """One model, one optimizer, one stream of batches: loss, gradient, update.

    Args:
        model: called with a batch, returns a scalar loss or a dict of named scalar losses, which
            are added up.  It is put into training mode.
        data_loader: an iterable of batches; must not end before the training does.
        optimizer: updates the model.
        gather_metric_period: metrics are gathered from all processes and stored in every so
            many-th iteration.
        zero_grad_before_forward: clear the gradients before the forward pass, not after it.
        async_write_metrics: read the losses back in a thread, so that the GPU need not be waited
            for.  A loss that is not finite then ends the training an iteration later.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__()
        # In training mode from the start: hooks such as PreciseBN look at it when they are built.
        model.train()
        self.model = model
        self.data_loader = data_loader
        self.optimizer = optimizer
        self.gather_metric_period = gather_metric_period
        self.zero_grad_before_forward = zero_grad_before_forward
        self.async_write_metrics = async_write_metrics
        self._data_loader_iter_obj: Iterator | None = None
        self._reader: concurrent.futures.Executor | None = None
        self._last_metrics: tuple[concurrent.futures.Future, float, int, str] | None = None

    def run_step(self) -> None:
        """One iteration: batch, losses, gradients, metrics, update.

        Raises:
            FloatingPointError: a loss is NaN or infinite; the weights are as before.
        """
        assert self.model.training, (
            f"[{type(self).__name__}] the model was put into evaluation mode during training"
        )
        data, data_time = self._next_batch()
        if self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        loss_dict = self._forward(data)
        if not self.zero_grad_before_forward:
            self.optimizer.zero_grad()
        self._backward(sum(loss_dict.values()))
        self.after_backward()
        self._write_metrics(loss_dict, data_time)
        self._update()

    def _next_batch(self) -> tuple[Any, float]:
        """Return a batch and the seconds that this process waited for it."""
        asked = time.perf_counter()
        batch = next(self._data_loader_iter)
        return batch, time.perf_counter() - asked

    def _forward(self, data: Any) -> dict[str, Tensor]:
        losses = self.model(data)
        return {"total_loss": losses} if isinstance(losses, Tensor) else losses

    def _backward(self, loss: Tensor) -> None:
        loss.backward()

    def _update(self) -> None:
        self.optimizer.step()

    @property
    def _data_loader_iter(self) -> Iterator:
        # Made when the first batch is needed, because it starts the workers of the loader.
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = iter(self.data_loader)
        return self._data_loader_iter_obj

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Replace the data loader by the one that ``data_loader_builder()`` returns."""
        # Before the new one is built: two sets of workers at a time may not fit into memory.
        self._data_loader_iter_obj = self.data_loader = None
        self.data_loader = data_loader_builder()

    def _write_metrics(
        self, loss_dict: Mapping[str, Tensor], data_time: float, prefix: str = ""
    ) -> None:
        if (self.iter + 1) % self.gather_metric_period != 0:
            return
        if not self.async_write_metrics:
            self.write_metrics(loss_dict, data_time, self.iter, prefix)
            return
        self._store_last_metrics()
        if self._reader is None:
            self._reader = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        # Detached, or the graph of this iteration would be in memory beside that of the next one.
        losses = {name: torch.as_tensor(loss).detach() for name, loss in loss_dict.items()}
        reading = self._reader.submit(_gather_metrics, losses, data_time)
        self._last_metrics = (reading, data_time, self.iter, prefix)

    def _store_last_metrics(self) -> None:
        # Storing is left to this thread: writers read the storage at any time.
        last, self._last_metrics = self._last_metrics, None
        if last is not None:
            reading, data_time, iteration, prefix = last
            _store_metrics(reading.result(), data_time, iteration, prefix)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Store the losses, averaged over all processes, and the time that the data took.

        Args:
            loss_dict: name -> scalar.
            data_time: seconds for which this process waited for its batch; the largest of all
                processes is stored.
            cur_iter: iteration to store them for.
            prefix: put before ``total_loss``.

        Raises:
            FloatingPointError: their sum is NaN or infinite.
        """
        _store_metrics(_gather_metrics(loss_dict, data_time), data_time, cur_iter, prefix)

    def after_train(self) -> None:
        """Store what is still being read back, then call the hooks."""
        try:
            self._store_last_metrics()
        finally:
            if self._reader is not None:
                self._reader.shutdown()
                self._reader = None
            super().after_train()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])


def _gather_metrics(
    loss_dict: Mapping[str, Tensor], data_time: float
) -> list[tuple[float, dict[str, float]]]:
    """(data time, losses) of every process; empty but in the main one.  Waits for the GPU."""
    losses = {name: torch.as_tensor(loss).item() for name, loss in loss_dict.items()}
    return comm.gather((data_time, losses))


def _store_metrics(
    gathered: list[tuple[float, dict[str, float]]], data_time: float, cur_iter: int, prefix: str
) -> None:
    storage = get_event_storage()
    storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
    if not comm.is_main_process():
        return
    times, per_rank = zip(*gathered, strict=True)
    # The slowest process sets the pace.
    storage.put_scalar("data_time", max(times), cur_iter=cur_iter)
    means = {name: float(np.mean([losses[name] for losses in per_rank])) for name in per_rank[0]}
    total = sum(means.values())
    if not np.isfinite(total):
        raise FloatingPointError(
            f"Loss became infinite or NaN at iteration={cur_iter}!\nloss_dict = {means}"
        )
    storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
    if len(means) > 1:
        storage.put_scalars(cur_iter=cur_iter, **means)


class AMPTrainer(SimpleTrainer):
    """``SimpleTrainer`` with torch's automatic mixed precision on CUDA.

    Args:
        model, data_loader, optimizer, gather_metric_period, zero_grad_before_forward,
            async_write_metrics: as of ``SimpleTrainer``.
        grad_scaler: a ``torch.amp.GradScaler``; a default one is made if ``None``.  Its state is
            part of the checkpoint.
        precision: ``torch.float16`` or ``torch.bfloat16``, the type that autocast computes in.
        log_grad_scaler: store the scale of every iteration as ``[metric]grad_scaler``.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        gather_metric_period: int = 1,
        zero_grad_before_forward: bool = False,
        grad_scaler: torch.amp.GradScaler | None = None,
        precision: torch.dtype = torch.float16,
        log_grad_scaler: bool = False,
        async_write_metrics: bool = False,
    ) -> None:
        super().__init__(
            model,
            data_loader,
            optimizer,
            gather_metric_period=gather_metric_period,
            zero_grad_before_forward=zero_grad_before_forward,
            async_write_metrics=async_write_metrics,
        )
        self.grad_scaler = torch.amp.GradScaler("cuda") if grad_scaler is None else grad_scaler
        self.precision = precision
        self.log_grad_scaler = log_grad_scaler

    def run_step(self) -> None:
        """As of ``SimpleTrainer``, with autocast in the forward pass and a scaled loss."""
        assert torch.cuda.is_available(), (
            f"[{type(self).__name__}] mixed precision needs a CUDA GPU and there is none: "
            "set SOLVER.AMP.ENABLED to False, or use SimpleTrainer"
        )
        super().run_step()

    def _forward(self, data: Any) -> dict[str, Tensor]:
        with torch.autocast("cuda", dtype=self.precision):
            return super()._forward(data)

    def _backward(self, loss: Tensor) -> None:
        self.grad_scaler.scale(loss).backward()
        if self.log_grad_scaler:
            get_event_storage().put_scalar("[metric]grad_scaler", self.grad_scaler.get_scale())

    def _update(self) -> None:
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "grad_scaler": self.grad_scaler.state_dict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
