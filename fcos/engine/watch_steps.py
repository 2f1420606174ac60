"""Hooks that say, once each, that steps of a training wait for data or are cut short.

They look every few iterations, in the main process, and change nothing, as those of
:mod:`fcos.engine.watch`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from detectron2.engine import HookBase
from detectron2.utils import comm
from fcos.config import CfgNode
from fcos.engine.loop import HostCopy, TrainingLoop
from fcos.engine.watch import InARow

__all__ = ["ClippingWatch", "DataWatch"]

logger = logging.getLogger(__name__)

# Clipping that leaves less than this share of the gradient decides how large a step is.
_LEFT = 0.5


class DataWatch(HookBase):
    """Warn where an iteration waits for its batch longer than it computes.

    Args:
        workers: DATALOADER.NUM_WORKERS.
        window: iterations that medians are taken over; the first ones are left out.
    """

    def __init__(self, workers: int, window: int = 100) -> None:
        self.workers = workers
        self.window = window
        self._is_over = False

    def after_step(self) -> None:
        windows, rest = divmod(self.trainer.iter + 1 - self.trainer.start_iter, self.window)
        if rest or windows < 2 or self._is_over or not comm.is_main_process():
            return
        histories = self.trainer.storage.histories()
        if not {"time", "data_time"} <= histories.keys():
            return
        whole, data = (histories[name].median(self.window) for name in ("time", "data_time"))
        if data <= whole - data:
            return
        self._is_over = True
        more = "more of them" if self.workers else "some, which load images meanwhile,"
        logger.warning(
            f"Training waits for its images: {data:.3g} of {whole:.3g} seconds of an iteration "
            f"(median of {self.window}). DATALOADER.NUM_WORKERS is {self.workers}; {more} help if "
            "there are idle CPU cores. Smaller image files are read faster too."
        )


class ClippingWatch(HookBase):
    """Warn where clipping leaves less than half of the gradient, in every step looked at.

    Then the length of a step no longer says anything of the slope. Register it with a
    :class:`fcos.engine.loop.TrainingLoop`, which calls it between the backward pass and the update.

    Args:
        cfg: with SOLVER.CLIP_GRADIENTS.
        period: iterations between two looks.
        looks: how often in a row.
    """

    trainer: TrainingLoop

    def __init__(self, cfg: CfgNode, period: int = 20, looks: int = 15) -> None:
        self.node = cfg.SOLVER.CLIP_GRADIENTS
        self.period = period
        self._steps = InARow(looks)
        self._seen: HostCopy | None = None

    def after_backward(self) -> None:
        is_due = (self.trainer.iter + 1) % self.period == 0 and comm.is_main_process()
        if not self.node.ENABLED or not is_due or self._steps.is_over:
            return
        if self._seen is not None:  # of the last look, so that nothing has to be waited for
            before, after = self._seen.read()
            if self._steps.add(after < before * _LEFT):
                self._warn()
        self._seen = HostCopy(self.lengths())

    @torch.no_grad()
    def lengths(self) -> Tensor:
        """Return (2,): the length of the whole gradient, and what clipping leaves of it."""
        limit = self.node.CLIP_VALUE * self.trainer.grad_scaler.get_scale()
        groups = self.trainer.optimizer.param_groups
        gradients = [p.grad for group in groups for p in group["params"] if p.grad is not None]
        clip = _clipped_norm(self.node, limit)
        norms = [torch.stack((gradient.norm(), clip(gradient))) for gradient in gradients]
        return torch.stack(norms).norm(dim=0) if norms else torch.zeros(2)

    def _warn(self) -> None:
        logger.warning(
            "SOLVER.CLIP_GRADIENTS has cut off more than half of the gradient in every iteration "
            f"that was looked at, for about {self._steps.needed * self.period} iterations. Lower "
            "SOLVER.BASE_LR if the loss jumps; if it falls steadily, raise "
            f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE ({self.node.CLIP_VALUE:g})."
        )


def _clipped_norm(node: CfgNode, limit: float) -> Callable[[Tensor], Tensor]:
    """Return a function from the gradient of a parameter to its length after clipping."""
    if node.CLIP_TYPE == "value":
        return lambda gradient: gradient.clamp(-limit, limit).norm()

    def clipped(gradient: Tensor) -> Tensor:
        size = torch.linalg.vector_norm(gradient, node.NORM_TYPE)
        return gradient.norm() * (limit / size.clamp(min=1e-12)).clamp(max=1.0)

    return clipped
