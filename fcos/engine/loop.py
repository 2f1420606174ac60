"""One iteration of a training, in float32 or mixed precision, on a CPU or a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, distributed, nn

from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from fcos.config import CfgNode
from fcos.config.keys import check_keys
from fcos.utils.device import gpu_has_bfloat16
from fcos.utils.errors import UserError

__all__ = ["AMP_DTYPES", "HostCopy", "TrainingLoop", "amp_dtype", "losses_and_verdict"]

AMP_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def amp_dtype(cfg: CfgNode) -> torch.dtype | None:
    """Return the data type of a mixed-precision forward pass; ``None`` without SOLVER.AMP.ENABLED.

    Raises:
        UserError: SOLVER.AMP.PRECISION is unknown, or MODEL.DEVICE cannot compute in it.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    check_keys(cfg, "SOLVER.AMP.")
    precision, device = cfg.SOLVER.AMP.PRECISION, torch.device(cfg.MODEL.DEVICE)
    if precision == "float16" and device.type != "cuda":
        raise UserError(
            f"SOLVER.AMP.PRECISION is float16, but MODEL.DEVICE is {device}: float16 needs a GPU; "
            "set it to bfloat16, or SOLVER.AMP.ENABLED False."
        )
    if precision == "bfloat16" and device.type == "cuda" and not gpu_has_bfloat16(device):
        raise UserError(
            "SOLVER.AMP.PRECISION is bfloat16, which this GPU lacks; set it to float16."
        )
    return AMP_DTYPES[precision]


class HostCopy:
    """A copy of a small tensor, on its way from the device to the CPU.

    Reading it waits for the work that was queued on the device before the copy, not for work
    queued after it. On the CPU there is nothing to wait for.

    Args:
        values: a tensor of any shape.
    """

    def __init__(self, values: Tensor) -> None:
        # From a GPU this goes into pinned memory, and the CPU does not wait.
        self._copy = values.detach().to("cpu", non_blocking=True)
        self._done: torch.cuda.Event | None = None
        if values.is_cuda:
            self._done = torch.cuda.current_stream(values.device).record_event()

    def read(self) -> list[Any]:
        """Return the numbers, as nested lists."""
        if self._done is not None:
            self._done.synchronize()
        return self._copy.tolist()


class TrainingLoop(SimpleTrainer):
    """detectron2's SimpleTrainer, with mixed precision on the CPU too, and with less waiting.

    The losses are copied to the CPU right after the forward pass, and read when the backward pass
    has been queued. So a GPU always has work queued while the CPU waits for the losses, and the
    weights have not changed yet when :class:`fcos.engine.hooks.LossGuard` looks at them. This is
    the only wait in an iteration. (With float16, torch's gradient scaler adds another one.)

    Args:
        model: called with a batch, returns a dict of named scalar losses, which are added up.
        data_loader: an endless iterable of batches.
        optimizer: updates the model.
        device_type: "cuda" or "cpu", where the model is.
        precision: float16 or bfloat16 for mixed precision, ``None`` for float32. Weights, losses
            and gradients of weights stay float32. float16 has a gradient scaler, whose state is
            saved as detectron2's AMPTrainer saves it.

    Attributes:
        batch: of the current iteration; only there during an iteration.
        losses: of the current iteration, by name; set before ``after_backward`` is called.
        is_finite: whether these losses are finite in all processes.
    """

    batch: list[dict[str, Any]]
    losses: dict[str, float]
    is_finite: bool

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
        """Run one iteration: batch, losses, gradients, metrics, update.

        Raises:
            FloatingPointError: a loss is not finite, and there is no LossGuard. The weights have
                not changed.
        """
        assert self.model.training, "the model was put into evaluation mode during training"
        asked = time.perf_counter()
        if self._batches is None:  # not before the first iteration: this starts worker processes
            self._batches = iter(self.data_loader)
        self.batch = next(self._batches)
        data_time = time.perf_counter() - asked

        names, on_cpu = self.compute_gradients()
        *values, is_finite = on_cpu.read()
        self.losses, self.is_finite = dict(zip(names, values, strict=True)), bool(is_finite)
        self.after_backward()
        tensors = {name: torch.tensor(value) for name, value in self.losses.items()}
        self.write_metrics(tensors, data_time, self.iter)
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()
        del self.batch  # or it would stay in memory until the next one has been made

    def compute_gradients(self) -> tuple[list[str], HostCopy]:
        """Compute the gradients of the batch.

        Returns:
            The names of the losses, and their values with a verdict (:func:`losses_and_verdict`).
        """
        losses = self.forward(self.batch)
        total: Any = sum(losses.values())
        on_cpu = HostCopy(losses_and_verdict(list(losses.values())))
        self.optimizer.zero_grad()
        self.grad_scaler.scale(total).backward()
        return list(losses), on_cpu

    def forward(self, batch: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the losses of images, in the precision of the training."""
        is_mixed = self.precision is not None
        with torch.autocast(self.device_type, dtype=self.precision, enabled=is_mixed):
            losses: dict[str, Tensor] = self.model(batch)
        return losses

    def reset_data_loader(self, data_loader_builder: Callable[[], Iterable]) -> None:
        """Replace the data loader by the one that ``data_loader_builder()`` returns."""
        self._batches = self.data_loader = None
        self.data_loader = data_loader_builder()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of hooks, optimizer and, with float16, gradient scaler."""
        scaler = {"grad_scaler": self.grad_scaler.state_dict()}
        return {**super().state_dict(), **(scaler if self.grad_scaler.is_enabled() else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned, perhaps in a training of another precision."""
        super().load_state_dict(state_dict)
        if self.grad_scaler.is_enabled() and "grad_scaler" in state_dict:
            self.grad_scaler.load_state_dict(state_dict["grad_scaler"])


def losses_and_verdict(losses: list[Tensor]) -> Tensor:
    """(number of losses + 1,) float32: the losses, and 1 if those of all processes are finite."""
    values = torch.stack([value.detach().float() for value in losses])
    is_finite = values.isfinite().all().float()
    if comm.get_world_size() > 1:
        distributed.all_reduce(is_finite, distributed.ReduceOp.MIN)
    return torch.cat((values, is_finite[None]))
