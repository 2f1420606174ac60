"""Who is compared first, and timed only if both compute the same; then turn by turn."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

from benchmarks.settings import Settings
from benchmarks.work import Agreement, Contestant, Match, Sample

__all__ = ["Measured", "Result", "measure", "not_built", "spread"]

# With less, a spread says nothing; with more, the last digit still moves with the machine.
LEAST, MOST = 3, 15
# Seconds from which on no run is made for memory alone.
SLOW = 2.0


@dataclasses.dataclass
class Measured:
    """What one contestant needed.

    Attributes:
        name: of the contestant.
        seconds: all samples, in the order in which they were taken.
        memory: peak in bytes, or None.
        memory_kind: how it was measured.
    """

    name: str
    seconds: list[float] = dataclasses.field(default_factory=list)
    memory: int | None = None
    memory_kind: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        return spread(self.seconds)


@dataclasses.dataclass
class Result:
    """One line of the table."""

    work: str
    title: str
    ours: Measured
    peer: Measured
    agreement: Agreement
    images: int = 0
    remark: str = ""

    @property
    def is_timed(self) -> bool:
        return bool(self.ours.seconds and self.peer.seconds)

    @property
    def ratio(self) -> float:
        """How many times as long the peer takes."""
        return self.peer.median / self.ours.median

    @property
    def is_clear(self) -> bool:
        """Whether the medians are further apart than the samples of both scatter."""
        return abs(self.ratio - 1) > self.ours.spread + self.peer.spread

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def spread(seconds: list[float]) -> float:
    """The range of the middle half of the samples, as a part of their median."""
    if len(seconds) < 2:
        return 0.0
    low, _, high = statistics.quantiles(seconds, n=4, method="inclusive")
    return (high - low) / statistics.median(seconds)


def measure(match: Match, settings: Settings) -> Result:
    """Compare the contestants of ``match`` and, if they agree, time them.

    A contestant that fails or computes something else gets no time: a faster answer to another
    question is no comparison.
    """
    ours = Measured(match.ours.name, memory_kind=match.ours.memory_kind)
    peer = Measured(match.peer.name, memory_kind=match.peer.memory_kind)
    agreement, first = _compare(match)
    result = Result(
        match.work, match.title, ours, peer, agreement, match.images, remark=match.remark
    )
    if not agreement.same:
        return result
    pairs = [(match.ours, ours), (match.peer, peer)]
    for (contestant, measured), sample in zip(pairs, first, strict=True):
        if contestant.first_counts:
            _note(measured, sample)
    _take_turns(pairs, settings)
    for (contestant, measured), sample in zip(pairs, first, strict=True):
        if measured.memory is None:  # the first run may have held what later ones do not
            is_quick = measured.median < SLOW or sample.memory is None
            measured.memory = contestant.memory() if is_quick else sample.memory
    return result


def not_built(work: str, title: str, error: Exception) -> Result:
    """The line of a piece of work whose contestants could not be made."""
    agreement = Agreement(False, f"could not be set up: {_one_line(error)}")
    return Result(work, title, Measured("fcos"), Measured("-"), agreement)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _compare(match: Match) -> tuple[Agreement, list[Sample]]:
    first = []
    for contestant in (match.ours, match.peer):
        try:
            first.append(contestant.sample(with_outcome=True))
        except Exception as error:  # whatever a peer raises is its result
            return Agreement(False, f"{contestant.name} failed: {_one_line(error)}"), first
    return match.agree(first[0].outcome, first[1].outcome), first


def _take_turns(pairs: list[tuple[Contestant, Measured]], settings: Settings) -> None:
    """A B A B ...: what else the machine does then meets both alike."""
    start = time.perf_counter()
    rounds = len(pairs[0][1].seconds)
    while not _is_enough(rounds, time.perf_counter() - start, settings):
        for contestant, measured in pairs:
            _note(measured, contestant.sample())
        rounds += 1


def _is_enough(rounds: int, elapsed: float, settings: Settings) -> bool:
    if settings.repeats is not None:
        return rounds >= settings.repeats
    slow = elapsed > 3 * settings.sizes.seconds  # even two rounds are long
    least = 2 if slow else LEAST
    return rounds >= MOST or (rounds >= least and elapsed > settings.sizes.seconds)


def _note(measured: Measured, sample: Sample) -> None:
    measured.seconds.append(sample.seconds)
    if sample.memory is not None:
        measured.memory = max(measured.memory or 0, sample.memory)
