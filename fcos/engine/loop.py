"""One iteration of a training, in float32 or mixed precision, on a CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.engine import SimpleTrainer
from fcos.utils.device import gpu_has_bfloat16
from fcos.utils.errors import UserError

__all__ = ["PRECISIONS", "HostCopy", "TrainingLoop", "check_precision"]

PRECISIONS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def check_precision(precision: str, device: str) -> None:
    """Refuse mixed precision that a device cannot compute in.

    Args:
        precision: the value of SOLVER.AMP.PRECISION.
        device: the value of MODEL.DEVICE.

    Raises:
        UserError: there is no such precision, or the device lacks it.
    """
    wanted = torch.device(device)
    if precision not in PRECISIONS:
        raise UserError(
            f"SOLVER.AMP.PRECISION is {precision!r}: expected one of {', '.join(PRECISIONS)}."
        )
    if precision == "float16" and wanted.type != "cuda":
        raise UserError(
            f"SOLVER.AMP.PRECISION is float16, but MODEL.DEVICE is {device}: float16 needs a GPU; "
            "set it to bfloat16, or SOLVER.AMP.ENABLED False."
        )
    if wanted.type == "cuda" and precision == "bfloat16" and not gpu_has_bfloat16(wanted):
        raise UserError(
            "SOLVER.AMP.PRECISION is bfloat16, which this GPU lacks; set it to float16."
        )


class HostCopy:
    """A few numbers on their way from the device to the CPU.

    Reading them waits for what was queued on the device before this object was made, and not for
    what was queued after it. On the CPU there is nothing to wait for.

    Args:
        values: a tensor of any shape.
    """

    def __init__(self, values: Tensor) -> None:
        # From a GPU this goes into pinned memory, while the CPU goes on.
        self._copy = values.detach().to("cpu", non_blocking=True)
        self._done: torch.cuda.Event | None = None
        if values.is_cuda:
            self._done = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> list[Any]:
        """The numbers, as nested lists."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy.tolist()


class TrainingLoop(SimpleTrainer):
    """detectron2's SimpleTrainer, with mixed precision on the CPU too and without idle GPUs.

    The losses are copied to the CPU between the forward and the backward pass. What is logged, and
    what :class:`fcos.engine.hooks.LossGuard` looks at, is known when the forward pass is done, so
    the CPU queues the optimizer's step and the next iteration while the GPU is still at the
    backward pass. That wait for the forward pass is the only one in an iteration, and it is the
    price of stopping before the weights change. (With float16, torch's gradient scaler has another
    one of its own.)

    Args:
        model: called with a batch, returns a dict of named scalar losses, which are added up.
        data_loader: an endless iterable of batches.
        optimizer: updates the model.
        device_type: "cuda" or "cpu", where the model is.
        precision: what the forward pass computes in where that is accurate enough, float16 or
            bfloat16; ``None`` for float32. Weights, losses and gradients of weights stay float32.
            float16 has a gradient scaler, whose state is saved as detectron2's AMPTrainer saves it.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable,
        optimizer: torch.optim.Optimizer,
        device_type: str = "cpu",
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.device_type = device_type
        self.precision = precision
        needs_scaler = precision is torch.float16
        self.grad_scaler = torch.amp.GradScaler(device_type, enabled=needs_scaler)
        self.data_loader: Any = data_loader
        self._batches: Iterator | None = None

    def run_step(self) -> None:
        """One iteration: batch, losses, gradients, metrics, update.

        Raises:
            FloatingPointError: a loss is not finite, and no hook stopped before; the weights are as
                they were.
        """
        assert self.model.training, "the model was put into evaluation mode during training"
        asked = time.perf_counter()
        if self._batches is None:  # not before: that starts the workers of the loader
            self._batches = iter(self.data_loader)
        batch = next(self._batches)
        data_time = time.perf_counter() - asked

        is_mixed = self.precision is not None
        with torch.autocast(self.device_type, dtype=self.precision, enabled=is_mixed):
            losses = self.model(batch)
        on_cpu = HostCopy(torch.stack([value.detach().float() for value in losses.values()]))
        self.optimizer.zero_grad()
        self.grad_scaler.scale(sum(losses.values())).backward()
        self.after_backward()
        values = map(torch.tensor, on_cpu.read())
        self.write_metrics(dict(zip(losses, values, strict=True)), data_time, self.iter)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Drop the data loader and go on with the one that ``data_loader_builder()`` returns."""
        self._batches = self.data_loader = None
        self.data_loader = data_loader_builder()

    def state_dict(self) -> dict[str, Any]:
        """Of the hooks, the optimizer and, with float16, the gradient scaler."""
        scaler = {"grad_scaler": self.grad_scaler.state_dict()}
        return {**super().state_dict(), **(scaler if self.grad_scaler.is_enabled() else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state that :meth:`state_dict` gave, of whatever precision."""
        super().load_state_dict(state_dict)
        if self.grad_scaler.is_enabled() and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])
