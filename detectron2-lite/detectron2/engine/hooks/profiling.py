"""Hooks that measure: time by torch's profiler, GPU memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from detectron2.engine.train_loop import HookBase
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

logger = logging.getLogger(__package__)


class TorchProfiler(HookBase):
    """Profiles the iterations for which a predicate holds.

    Example::

        TorchProfiler(lambda trainer: 10 < trainer.iter < 20, cfg.OUTPUT_DIR)

    Args:
        enable_predicate: called with the trainer before every iteration.
        output_dir: the traces are written to ``log/profiler-tensorboard-iter<N>`` in it, or to
            ``profiler-trace-iter<N>.json``; open them with TensorBoard, or in chrome://tracing.
        activities: as of ``torch.profiler.profile``; by default, all there are.
        save_tensorboard: which of the two places.
    """

    def __init__(
        self,
        enable_predicate: Callable[[Any], bool],
        output_dir: str,
        *,
        activities: Iterable | None = None,
        save_tensorboard: bool = True,
    ) -> None:
        self._enable_predicate = enable_predicate
        self._output_dir = output_dir
        self._activities = activities
        self._save_tensorboard = save_tensorboard
        self._profiler: torch.profiler.profile | None = None

    def before_step(self) -> None:
        if not self._enable_predicate(self.trainer):
            return
        on_trace_ready = None
        if self._save_tensorboard:
            on_trace_ready = torch.profiler.tensorboard_trace_handler(
                os.path.join(
                    self._output_dir, "log", f"profiler-tensorboard-iter{self.trainer.iter}"
                ),
                f"worker{comm.get_rank()}",
            )
        self._profiler = torch.profiler.profile(
            on_trace_ready=on_trace_ready,
            activities=self._activities,
            acc_events=True,  # avoids a warning about cycles; there is only one
            with_flops=True,
            with_stack=True,
            record_shapes=True,
            profile_memory=True,
        )
        self._profiler.__enter__()

    def after_step(self) -> None:
        if self._profiler is None:
            return
        self._profiler.__exit__(None, None, None)
        if not self._save_tensorboard:
            PathManager.mkdirs(self._output_dir)
            name = f"profiler-trace-iter{self.trainer.iter}.json"
            self._profiler.export_chrome_trace(os.path.join(self._output_dir, name))
        self._profiler = None


class TorchMemoryStats(HookBase):
    """Logs how much GPU memory torch uses, every ``period`` iterations, ``max_runs`` times."""

    def __init__(self, period: int = 20, max_runs: int = 10) -> None:
        self._period = period
        self._runs_left = max_runs

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        is_due = done % self._period == 0 or done == self.trainer.max_iter
        if self._runs_left == 0 or not is_due or not torch.cuda.is_available():
            return
        self._runs_left -= 1
        figures = {
            "max_reserved_mem": torch.cuda.max_memory_reserved(),
            "reserved_mem": torch.cuda.memory_reserved(),
            "max_allocated_mem": torch.cuda.max_memory_allocated(),
            "allocated_mem": torch.cuda.memory_allocated(),
        }
        text = "  ".join(f"{name}: {value / 1e6:.0f}MB" for name, value in figures.items())
        logger.info(" iter: %d  %s", self.trainer.iter, text)
        if self._runs_left == 0:
            logger.info("\n%s", torch.cuda.memory_summary())
        torch.cuda.reset_peak_memory_stats()
