"""The words of this package: a row, its matches, the contestants, and what they bring."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from benchmarks.memory import peak_of_tensors
from benchmarks.settings import Settings
from fcos.utils.device import exact_float32

__all__ = ["Agreement", "Contestant", "InProcess", "Match", "Row", "Sample"]

# Seconds that a sample takes at least: of quicker work, it is the mean of as many calls.
SHORTEST = 0.05


@dataclasses.dataclass(frozen=True)
class Sample:
    """One run of a contestant.

    Attributes:
        seconds: wall-clock time; of quick work, the mean of several calls.
        outcome: what it computed, in the form that its match compares.
        memory: bytes, where the same run measured them.
    """

    seconds: float
    outcome: Any = None
    memory: int | None = None


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Whether two contestants computed the same, and a sentence with how that was found out."""

    same: bool
    text: str


class Contestant(Protocol):
    """Somebody who does the work of a match.

    Attributes:
        name: in the table.
        memory_kind: "tensors", "process" or "" (see docs/BENCHMARKS.md).
        first_counts: the run that is compared is a sample too; otherwise it is the warm-up.
    """

    name: str
    memory_kind: str
    first_counts: bool

    def sample(self, with_outcome: bool = False) -> Sample:
        """Do the work once."""

    def memory(self) -> int | None:
        """Peak of one more run, in bytes; None if only samples bring it along."""


class InProcess:
    """Does its work in this process.

    Args:
        name: in the table.
        run: the timed work.
        outcome: makes of what ``run`` returned the form that is compared; not timed.
        device: that the work runs on.
        context: what the work is done in, such as autocast.
    """

    first_counts = False
    memory_kind = "tensors"

    def __init__(
        self,
        name: str,
        run: Callable[[], Any],
        outcome: Callable[[Any], Any],
        device: str,
        context: Callable[[], AbstractContextManager] = nullcontext,
    ) -> None:
        self.name = name
        self._work = run
        self._context = context
        self._outcome = outcome
        self._device = torch.device(device)
        self._calls = 0

    def sample(self, with_outcome: bool = False) -> Sample:
        if with_outcome:  # the first run, of which memory is wanted and time is not
            start = time.perf_counter()
            with exact_float32():  # or contestants differ on a GPU by how they are rounded
                peak, result = peak_of_tensors(self._run, self._device)
            return Sample(time.perf_counter() - start, self._outcome(result), peak)
        if not self._calls:
            once = self._seconds(1)
            self._calls = max(1, round(SHORTEST / max(once, 1e-6)))
            if self._calls == 1:
                return Sample(once)
        return Sample(self._seconds(self._calls) / self._calls)

    def _run(self) -> Any:
        with self._context():
            return self._work()

    def _seconds(self, calls: int) -> float:
        self._wait()
        start = time.perf_counter()
        for _ in range(calls):
            self._run()
        self._wait()
        return time.perf_counter() - start

    def memory(self) -> int:
        return peak_of_tensors(self._run, self._device)[0]

    def _wait(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)


@dataclasses.dataclass(frozen=True)
class Match:
    """Two contestants for one piece of work: one line of the table.

    Attributes:
        work: name of the piece of work, as ``--only`` takes it.
        title: what it is, in words.
        ours, peer: who does it.
        agree: compares their outcomes.
        images: how many a run works on, or 0 where that says nothing.
        remark: what a reader of the line has to know.
    """

    work: str
    title: str
    ours: Contestant
    peer: Contestant
    agree: Callable[[Any, Any], Agreement]
    images: int = 0
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """A kind of work.

    Attributes:
        title: for ``--list``.
        works: names of its pieces of work under some settings.
        matches: makes the matches of one of them; a match is built when it is asked for.
    """

    title: str
    works: Callable[[Settings], Iterable[str]]
    matches: Callable[[Settings, str], Iterable[Match]]
