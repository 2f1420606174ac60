"""Metrics of a training: the storage that collects them, and the writers that output them.

``EventStorage`` holds scalars, images and histograms by name.  Whoever measures something calls
``get_event_storage().put_scalar(...)``; writers read the storage from time to time.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from fvcore.common.history_buffer import HistoryBuffer
from torch import Tensor

from detectron2._missing import missing_names
from detectron2.utils.file_io import PathManager

__all__ = [
    "CommonMetricPrinter",
    "EventStorage",
    "EventWriter",
    "JSONWriter",
    "TensorboardXWriter",
    "get_event_storage",
    "has_event_storage",
]

__getattr__ = missing_names(__name__)

# Shared by all threads, so that metrics can be written from another one.
_active: list[EventStorage] = []


def get_event_storage() -> EventStorage:
    """The storage of the innermost ``with EventStorage(...)`` block.

    Raises:
        AssertionError: there is none.
    """
    assert _active, "get_event_storage() needs a surrounding `with EventStorage(...):`"
    return _active[-1]


def has_event_storage() -> bool:
    """Whether the call is inside of a ``with EventStorage(...)`` block."""
    return bool(_active)


class EventStorage:
    """Scalars with their history, images and histograms, each put at an iteration."""

    def __init__(self, start_iter: int = 0):
        """
        Args:
            start_iter: number of the first iteration.
        """
        self._history: dict[str, HistoryBuffer] = defaultdict(HistoryBuffer)
        self._smoothing_hints: dict[str, bool] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._iter = start_iter
        self._prefix = ""
        self._images: list[tuple[str, Tensor, int]] = []
        self._histograms: list[dict[str, Any]] = []

    def put_image(self, img_name: str, img_tensor: Tensor) -> None:
        """Put an image for TensorBoard.

        Args:
            img_name: its name; a later image of that name is another step of it.
            img_tensor: (3, H, W), RGB, uint8 in 0..255 or float in 0..1.
        """
        self._images.append((img_name, img_tensor, self._iter))

    def put_scalar(
        self,
        name: str,
        value: float | Tensor,
        smoothing_hint: bool = True,
        cur_iter: int | None = None,
    ) -> None:
        """Put a number into the history of ``name``.

        Args:
            name: within a ``name_scope``, that is put before it.
            value: a number, or a tensor of one element (reading it waits for the GPU).
            smoothing_hint: whether the number is noisy, so that writers show a median of the last
                ones; the same for all numbers of that name.
            cur_iter: the iteration it belongs to; None for the current one.

        Raises:
            AssertionError: another smoothing hint than before.
        """
        name = self._prefix + name
        number = float(value)
        known = self._smoothing_hints.setdefault(name, smoothing_hint)
        assert known == smoothing_hint, (
            f"Scalar '{name}' was put with smoothing_hint={known} before"
        )
        iteration = self._iter if cur_iter is None else cur_iter
        self._history[name].update(number, iteration)
        self._latest[name] = (number, iteration)

    def put_scalars(
        self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: float | Tensor
    ) -> None:
        """Put several numbers, given by keyword; see ``put_scalar``."""
        for name, value in kwargs.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def put_histogram(self, hist_name: str, hist_tensor: Tensor, bins: int = 1000) -> None:
        """Put the distribution of a tensor's values for TensorBoard.

        Args:
            hist_name: its name.
            hist_tensor: any shape.
            bins: into how many equal parts the range of the values is divided.
        """
        values = hist_tensor.detach().float().flatten()
        low, high = values.min().item(), values.max().item()
        edges = torch.linspace(low, high, bins + 1)
        self._histograms.append(
            {
                "tag": hist_name,
                "min": low,
                "max": high,
                "num": values.numel(),
                "sum": values.sum().item(),
                "sum_squares": values.square().sum().item(),
                "bucket_limits": edges[1:].tolist(),
                "bucket_counts": torch.histc(values, bins=bins).tolist(),
                "global_step": self._iter,
            }
        )

    def history(self, name: str) -> HistoryBuffer:
        """All numbers put under ``name``; KeyError if there are none."""
        if name not in self._history:
            raise KeyError(f"No scalar called '{name}' has been put")
        return self._history[name]

    def histories(self) -> Mapping[str, HistoryBuffer]:
        """All histories by name."""
        return self._history

    def latest(self) -> Mapping[str, tuple[float, int]]:
        """By name: the last number, and its iteration."""
        return self._latest

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """``latest()``, with the median of the last ``window_size`` iterations for noisy numbers.

        The median is over the numbers of those iterations only, however many there are.
        """
        smoothed = {}
        for name, (number, iteration) in self._latest.items():
            if self._smoothing_hints[name]:
                samples = self.count_samples(name, window_size)
                number = self._history[name].median(samples)
            smoothed[name] = (number, iteration)
        return smoothed

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """How many numbers of ``name`` belong to the ``window_size`` iterations up to its last."""
        if name not in self._history:
            return 0
        iterations = [iteration for _, iteration in self._history[name].values()]
        return sum(iteration > iterations[-1] - window_size for iteration in iterations)

    def smoothing_hints(self) -> dict[str, bool]:
        """By name: whether the numbers are noisy."""
        return self._smoothing_hints

    def step(self) -> None:
        """Go on to the next iteration; call it once at the end of each."""
        self._iter += 1

    @property
    def iter(self) -> int:
        """The current iteration."""
        return self._iter

    @iter.setter
    def iter(self, value: int) -> None:
        self._iter = int(value)

    @property
    def iteration(self) -> int:
        """The current iteration."""
        return self._iter

    def __enter__(self) -> EventStorage:
        _active.append(self)
        return self

    def __exit__(self, *exception: object) -> None:
        assert _active[-1] is self, "EventStorage blocks are left in the order they were entered"
        _active.pop()

    @contextlib.contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """A block in which ``name/`` is put before the names of scalars.

        Blocks in blocks do not add up; the inner name holds.
        """
        outer, self._prefix = self._prefix, name.rstrip("/") + "/"
        try:
            yield
        finally:
            self._prefix = outer

    def clear_images(self) -> None:
        """Forget the images; a writer does so once it has written them."""
        self._images = []

    def clear_histograms(self) -> None:
        """Forget the histograms; a writer does so once it has written them."""
        self._histograms = []


class EventWriter:
    """Base class of objects that output the content of the current storage."""

    def write(self) -> None:
        """Output what is new."""
        raise NotImplementedError

    def close(self) -> None:
        """Finish; nothing can be written afterwards."""


class _NewScalars:
    """The scalars of the current storage that this object has not returned before."""

    def __init__(self, window_size: int):
        self._window_size = window_size
        self._last_iteration = -1

    def get(self) -> list[tuple[str, float, int]]:
        scalars = get_event_storage().latest_with_smoothing_hint(self._window_size)
        new = [(k, v, i) for k, (v, i) in scalars.items() if i > self._last_iteration]
        self._last_iteration = max([i for _, _, i in new], default=self._last_iteration)
        return new


class JSONWriter(EventWriter):
    """Appends scalars to a file, one JSON object per line and iteration.

    An object has the iteration under ``iteration`` and the scalars under their names; read the
    file with ``[json.loads(line) for line in open(path)]``.  NaN and Infinity are written so.
    """

    def __init__(self, json_file: str, window_size: int = 20):
        """
        Args:
            json_file: path of the file; a file that is there is continued.
            window_size: iterations that the median of a noisy scalar is over.
        """
        self._file = PathManager.open(json_file, "a")
        self._new_scalars = _NewScalars(window_size)

    def write(self) -> None:
        """Append what is new since the last call, and see that it is on the disk."""
        by_iteration: dict[int, dict[str, float]] = defaultdict(dict)
        for name, value, iteration in self._new_scalars.get():
            by_iteration[iteration][name] = value
        for iteration, scalars in sorted(by_iteration.items()):
            self._file.write(json.dumps({**scalars, "iteration": iteration}, sort_keys=True) + "\n")
        self._file.flush()
        # A file that is not on a local disk may have no descriptor.
        with contextlib.suppress(AttributeError, OSError):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class TensorboardXWriter(EventWriter):
    """Writes scalars, images and histograms for TensorBoard."""

    def __init__(self, log_dir: str, window_size: int = 20, **kwargs: Any):
        """
        Args:
            log_dir: folder of the event files; made when there is something to write.
            window_size: iterations that the median of a noisy scalar is over.
            kwargs: of ``torch.utils.tensorboard.SummaryWriter``.
        """
        self._arguments = {"log_dir": log_dir, **kwargs}
        self._new_scalars = _NewScalars(window_size)

    @functools.cached_property
    def _writer(self) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(**self._arguments)

    def write(self) -> None:
        """Write what is new since the last call; images and histograms leave the storage."""
        storage = get_event_storage()
        for name, value, iteration in self._new_scalars.get():
            self._writer.add_scalar(name, value, iteration)
        for name, image, iteration in storage._images:
            self._writer.add_image(name, image, iteration)
        for histogram in storage._histograms:
            self._writer.add_histogram_raw(**histogram)
        storage.clear_images()
        storage.clear_histograms()

    def close(self) -> None:
        """Close the event file, if there is one."""
        if "_writer" in self.__dict__:
            self._writer.close()


class CommonMetricPrinter(EventWriter):
    """Logs one line: time left, iteration, losses, time per iteration, learning rate, memory."""

    def __init__(self, max_iter: int | None = None, window_size: int = 20):
        """
        Args:
            max_iter: number of iterations of the training, for the time left; None leaves it out.
            window_size: iterations that medians and averages are over.
        """
        self.logger = logging.getLogger(__name__)
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None

    def write(self) -> None:
        """Log the line; nothing once the training is over."""
        storage = get_event_storage()
        if storage.iter == self._max_iter and self._max_iter:
            # The hooks run once more after the last iteration, which has been logged.
            return
        parts = [
            f" {self._eta(storage)}iter: {storage.iter}",
            self._medians(storage, "loss"),
            self._medians(storage, "[metric]"),
            f"{self._times(storage)} lr: {_learning_rate(storage)}",
            _gpu_memory(),
        ]
        self.logger.info("  ".join(parts))

    def _medians(self, storage: EventStorage, part_of_name: str) -> str:
        return "  ".join(
            f"{name}: {history.median(storage.count_samples(name, self._window_size)):.4g}"
            for name, history in storage.histories().items()
            if part_of_name in name
        )

    def _eta(self, storage: EventStorage) -> str:
        if not self._max_iter:
            return ""
        left = self._max_iter - storage.iter - 1
        if "time" in storage.histories():
            seconds = storage.history("time").median(1000) * left
            storage.put_scalar("eta_seconds", seconds, smoothing_hint=False)
            return f"eta: {datetime.timedelta(seconds=int(seconds))}  "
        # Without an IterationTimer: take the time since the last line.
        now, previous = (storage.iter, time.perf_counter()), self._last_write
        self._last_write = now
        if previous is None or now[0] == previous[0]:
            return ""
        seconds = (now[1] - previous[1]) / (now[0] - previous[0]) * left
        return f"eta: {datetime.timedelta(seconds=int(seconds))}  "

    def _times(self, storage: EventStorage) -> str:
        text = ""
        if "time" in storage.histories():
            times = storage.history("time")
            text += f"time: {times.global_avg():.4f}  last_time: {times.latest():.4f}  "
        if "data_time" in storage.histories():
            times = storage.history("data_time")
            average = times.avg(storage.count_samples("data_time", self._window_size))
            text += f"data_time: {average:.4f}  last_data_time: {times.latest():.4f}  "
        return text


def _learning_rate(storage: EventStorage) -> str:
    if "lr" not in storage.histories():
        return "N/A"
    return f"{storage.history('lr').latest():.5g}"


def _gpu_memory() -> str:
    if not torch.cuda.is_available():
        return ""
    return f"max_mem: {torch.cuda.max_memory_allocated() / 2**20:.0f}M"
