"""Read what a training logged: ``metrics.json``, and from ``log.txt`` what that does not hold.

Both files are only ever appended to. A training that was killed may leave half a line, and one that
was resumed from a checkpoint has iterations twice; then the later ones count, because only they
are part of the training whose weights there are.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import datetime

import numpy as np

from fcos.evaluation.runs import RunFolder
from fcos.utils.errors import UserError
from fcos.utils.nested import flat
from fcos.utils.reading import STATE, open_file

__all__ = ["History", "Series", "read_history"]

METRICS, LOG = "metrics.json", "log.txt"
MEMORY = "max_mem"  # the name of a series in MiB, as detectron2's log lines call it
_LONGEST_LINE = 2**20
_STARTED = re.compile(r"Starting training from iteration (\d{1,15})")
_LOGGED = re.compile(r"\biter: (\d{1,15}) .*\bmax_mem: (\d{1,15})M")


@dataclasses.dataclass(frozen=True)
class Series:
    """The numbers that were logged under one name.

    Attributes:
        iterations: (n,) int64, increasing.
        values: (n,) float64; NaN and infinity are what was logged.
    """

    iterations: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> Series:
        is_finite = np.isfinite(self.values)
        return Series(self.iterations[is_finite], self.values[is_finite])


@dataclasses.dataclass(frozen=True)
class History:
    """What a training logged.

    Attributes:
        label: of the run.
        path: its OUTPUT_DIR.
        series: name -> numbers; none of them is empty.
        resumed: iterations that it went on from after an interruption, increasing.
        max_iter: how many iterations there are to be; None if that is not known.
        best_metric: what the best checkpoint is chosen by.
        unreadable: lines of ``metrics.json`` that are not complete.
        last_written: when the last line was written, to the minute.
    """

    label: str
    path: str
    series: dict[str, Series]
    resumed: list[int]
    max_iter: int | None
    best_metric: str
    unreadable: int
    last_written: str

    @property
    def done(self) -> int:
        """How many iterations are done, as far as was logged."""
        # Evaluations after the last iteration have a number more.
        counted = [self.series[n] for n in ("lr", "total_loss") if n in self.series]
        return 1 + max(int(s.iterations[-1]) for s in counted or self.series.values())


def read_history(folder: RunFolder) -> History:
    """Read what a training logged, also one that is still going on.

    Args:
        folder: the OUTPUT_DIR, of this repository's trainings or of detectron2's.

    Raises:
        UserError: there is no ``metrics.json``, it cannot be read, or nothing is in it.
    """
    path = os.path.join(folder.path, METRICS)
    if not os.path.isfile(path):
        raise UserError(
            f"{folder.path} has no {METRICS}: expected the OUTPUT_DIR of a training, which writes "
            "its first line after 20 iterations."
        )
    record, starts, unreadable = _Record(), [], 0
    try:
        for line in _lines_of(path):
            found = _read_line(line)
            if found is None:
                unreadable += 1
            elif record.put(*found):
                starts.append(found[0])
        log = os.path.join(folder.path, LOG)
        memory, logged_starts = _read_log(log) if os.path.isfile(log) else (_Record(), [])
        written = datetime.fromtimestamp(os.path.getmtime(path))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}.") from error
    series = record.series()
    if not series:
        raise UserError(f"{path} has no complete line yet; the first is written at iteration 20.")
    config = flat(folder.config)
    return History(
        label=folder.label,
        path=folder.path,
        series={**memory.series(), **series},
        resumed=[at for at in _last_of_each(logged_starts or starts) if at > 0],
        max_iter=_max_iter(config),
        best_metric=str(config.get("TEST.BEST_METRIC", "bbox/AP")),
        unreadable=unreadable,
        last_written=written.strftime("%Y-%m-%d %H:%M"),
    )


class _Record:
    """Numbers by name, in which an iteration that comes again replaces what came after it."""

    def __init__(self) -> None:
        self._numbers: dict[str, tuple[list[int], list[float]]] = {}

    def put(self, iteration: int, values: Mapping[str, float]) -> bool:
        """Add numbers; return whether the training went back to that iteration.

        Lines need not be in order: a number of an earlier iteration may be written after the next
        line. The training went back where the numbers of one name do.
        """
        known = [self._numbers[name][0] for name in values if name in self._numbers]
        went_back = any(iterations and iteration < iterations[-1] for iterations in known)
        if went_back:
            for name in self._numbers:
                self._cut(name, iteration + 1)
        for name, value in values.items():
            iterations, numbers = self._numbers.setdefault(name, ([], []))
            self._cut(name, iteration)
            iterations.append(iteration)
            numbers.append(value)
        return went_back

    def _cut(self, name: str, end: int) -> None:
        """Forget the numbers from an iteration on."""
        iterations, numbers = self._numbers[name]
        kept = bisect_left(iterations, end)
        del iterations[kept:], numbers[kept:]

    def series(self) -> dict[str, Series]:
        return {
            name: Series(np.array(iterations, np.int64), np.array(numbers, np.float64))
            for name, (iterations, numbers) in self._numbers.items()
            if iterations
        }


def _lines_of(path: str) -> Iterator[str]:
    """Read a text file line by line; a line that has no end is given in parts."""
    with open_file(path, STATE) as file:
        while line := file.readline(_LONGEST_LINE):
            yield line.decode("utf-8", errors="replace")


def _read_line(line: str) -> tuple[int, dict[str, float]] | None:
    """Return the iteration and the numbers of a line; None if it is not complete."""
    try:
        # Behind the half of a line that a kill left, a resumed training goes on.
        found = json.loads(line[max(line.rfind("{"), 0) :])
        iteration = found.pop("iteration")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return None
    if type(iteration) is not int or not 0 <= iteration < 2**53:
        return None
    numbers = {name: _number(value) for name, value in found.items()}
    return iteration, {name: value for name, value in numbers.items() if value is not None}


def _number(value: object) -> float | None:
    if value is None:  # what is not finite
        return math.nan
    try:
        return float(value) if type(value) in (int, float) else None  # type: ignore[arg-type]
    except OverflowError:  # an int of more than 308 digits
        return None


def _read_log(path: str) -> tuple[_Record, list[int]]:
    """Find the GPU memory and the iterations that the training started from."""
    memory, starts = _Record(), []
    for line in _lines_of(path):
        if "max_mem: " in line and (found := _LOGGED.search(line)):
            memory.put(int(found[1]), {MEMORY: float(found[2])})
        elif "Starting training" in line and (found := _STARTED.search(line)):
            starts.append(int(found[1]))
    return memory, starts


def _last_of_each(starts: list[int]) -> list[int]:
    """Leave out the starts that a later one went back behind."""
    kept: list[int] = []
    for start in starts:
        kept = [at for at in kept if at < start] + [start]
    return kept


def _max_iter(config: Mapping[str, object]) -> int | None:
    """Read SOLVER.MAX_ITER, where no other number of processes scales it."""
    number = config.get("SOLVER.MAX_ITER")
    is_scaled = bool(config.get("SOLVER.REFERENCE_WORLD_SIZE"))
    return number if isinstance(number, int) and number > 0 and not is_scaled else None
