"""What a training writes down: numbers that every parser reads, and tracebacks of bugs only."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence

from detectron2.engine import HookBase, TrainerBase
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    get_event_storage,
)
from fcos.engine.hooks import TrainingStopped
from fcos.utils.errors import UserError
from fcos.utils.files import append_to
from fcos.utils.json_files import for_json
from fcos.utils.lifelines import wait_for_news

__all__ = ["MetricsFile", "WriteEvaluations", "strict_writers", "traceback_for_bugs_only"]


class MetricsFile(EventWriter):
    """``metrics.json`` as detectron2's JSONWriter writes it, but with null for what is not finite.

    Python writes NaN, which JSON does not have.

    Args:
        path: of the file; one that is there is continued.
        window: iterations whose median stands for a number that varies.
    """

    def __init__(self, path: str, window: int = 20) -> None:
        self._file = os.fdopen(append_to(path), "a", encoding="utf-8")
        self._window = window
        self._last = -1  # iteration that was written

    def write(self) -> None:
        """Append a line for each iteration with numbers that are new."""
        lines: dict[int, dict[str, float]] = defaultdict(dict)
        latest = get_event_storage().latest_with_smoothing_hint(self._window)
        for name, (value, iteration) in latest.items():
            if iteration > self._last:
                lines[iteration][name] = value
        for iteration, numbers in sorted(lines.items()):
            line = for_json({**numbers, "iteration": iteration})
            self._file.write(json.dumps(line, sort_keys=True, allow_nan=False) + "\n")
        self._last = max([self._last, *lines])
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class WriteEvaluations(HookBase):
    """Write the results of every evaluation as soon as it is over.

    detectron2 writes every 20 iterations, the latest value of each number: of two evaluations
    between, the first would be lost, and the last one if the process is killed.

    Args:
        period: iterations between two evaluations.
        writers: of the log; what shows the progress in the terminal is left to detectron2.
    """

    def __init__(self, period: int, writers: Sequence[EventWriter]) -> None:
        self.period = period
        self.writers = [w for w in writers if not isinstance(w, CommonMetricPrinter)]

    def after_step(self) -> None:
        if (self.trainer.iter + 1) % self.period == 0:
            for writer in self.writers:
                writer.write()


def strict_writers(writers: Sequence[EventWriter], folder: str) -> list[EventWriter]:
    """Return writers with a :class:`MetricsFile` in ``folder`` in place of detectron2's own."""
    kept = []
    for writer in writers:
        if isinstance(writer, JSONWriter):
            writer.close()
            writer = MetricsFile(os.path.join(folder, "metrics.json"))
        kept.append(writer)
    return kept


@contextlib.contextmanager
def traceback_for_bugs_only() -> Iterator[None]:
    """Keep detectron2 from logging a traceback of an error that has a clear message."""

    def is_bug(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (UserError, TrainingStopped)):
            return False
        wait_for_news()
        return True

    log = logging.getLogger(TrainerBase.train.__module__)
    log.addFilter(is_bug)
    try:
        yield
    finally:
        log.removeFilter(is_bug)
