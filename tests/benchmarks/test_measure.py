"""The order of samples, who gets a time, and the arithmetic of the columns. No clock is read."""

import pytest
import torch

from benchmarks.measure import Measured, Result, measure, spread
from benchmarks.memory import peak_of_tensors
from benchmarks.settings import Settings
from benchmarks.work import Agreement, InProcess, Match, Sample

SETTINGS = Settings(repeats=3, size="smoke")


class Scripted:
    """A contestant with given seconds that notes each of its turns."""

    memory_kind = "tensors"

    first_memory = None

    def __init__(self, name, seconds, outcome, turns, first_counts=False):
        self.name, self.seconds, self.outcome = name, list(seconds), outcome
        self.turns, self.first_counts = turns, first_counts

    def sample(self, with_outcome=False):
        self.turns.append(self.name)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        if not with_outcome:
            return Sample(self.seconds.pop(0))
        return Sample(self.seconds.pop(0), self.outcome, self.first_memory)

    def memory(self):
        return 1000


def play(outcome="the same", first_counts=False, first_memory=None, factor=1):
    turns = []
    ours = Scripted("fcos", [factor * s for s in (9, 1, 2, 3)], "the same", turns, first_counts)
    peer = Scripted("peer", [factor * s for s in (9, 2, 4, 6)], outcome, turns, first_counts)
    ours.first_memory = peer.first_memory = first_memory
    match = Match("work", "a title", ours, peer, lambda a, b: Agreement(a == b, "compared"))
    return measure(match, SETTINGS), turns


def test_contestants_alternate_and_the_first_run_is_a_warm_up():
    result, turns = play()
    assert turns == ["fcos", "peer"] * 4
    assert result.ours.seconds == [1, 2, 3]
    assert result.peer.seconds == [2, 4, 6]
    assert result.ratio == 2
    assert result.ours.memory == 1000


def test_memory_of_a_slow_contestant_is_that_of_its_first_run():
    result, _ = play(first_memory=2000)
    assert result.ours.memory == 2000  # 2 seconds
    assert result.peer.memory == 2000
    result, _ = play(first_memory=2000, factor=0.1)
    assert result.ours.memory == result.peer.memory == 1000


def test_the_first_run_counts_where_it_says_so():
    result, turns = play(first_counts=True)
    assert result.ours.seconds == [9, 1, 2]
    assert turns == ["fcos", "peer"] * 3


def test_who_computes_something_else_gets_no_time():
    result, turns = play("something else")
    assert not result.agreement.same
    assert not result.is_timed
    assert turns == ["fcos", "peer"]
    assert result.ours.memory is None


def test_a_peer_that_fails_is_reported():
    result, turns = play(RuntimeError("no\n  such thing"))
    assert not result.is_timed
    assert result.agreement.text == "peer failed: RuntimeError: no such thing"
    assert turns == ["fcos", "peer"]


@pytest.mark.parametrize(
    "seconds, want",
    [
        ([5.0], 0.0),
        ([1.0, 1.0, 1.0], 0.0),
        ([1.0, 2.0, 3.0], 0.5),  # quartiles 1.5 and 2.5, median 2
        ([1.0, 2.0, 3.0, 4.0, 100.0], 2 / 3),  # quartiles 2 and 4, median 3
    ],
)
def test_spread_by_hand(seconds, want):
    assert spread(seconds) == pytest.approx(want)


def test_a_ratio_within_the_spread_is_not_clear():
    def result(ours, peer):
        parts = Measured("fcos", ours), Measured("peer", peer)
        return Result("work", "a title", *parts, Agreement(True, ""))

    assert result([1.0, 1.0, 1.0], [1.1, 1.1, 1.1]).is_clear
    assert not result([1.0, 1.2, 1.4], [1.1, 1.3, 1.5]).is_clear


def test_peak_memory_of_tensors():
    def run():
        large = torch.empty(1_000_000)  # 4 MB, gone before the next is made
        del large
        return torch.empty(500_000)

    assert peak_of_tensors(run, torch.device("cpu"))[0] == 4_000_000


def test_in_process_compares_what_the_timed_run_returned():
    contestant = InProcess("fcos", lambda: 20, lambda result: result + 1, "cpu")
    assert contestant.sample(with_outcome=True).outcome == 21
    assert contestant.sample().outcome is None


def test_a_sample_of_quick_work_is_the_mean_of_several_calls(monkeypatch):
    now, calls = [0.0], []
    monkeypatch.setattr("benchmarks.work.time.perf_counter", lambda: now[0])

    def run():
        calls.append(len(calls))
        now[0] += 0.01 if calls[-1] % 2 else 0.02

    contestant = InProcess("fcos", run, lambda result: result, "cpu")
    # One call of 20 ms says that a sample takes round(50 / 20) = 2: of 10 and 20 ms.
    assert contestant.sample().seconds == pytest.approx(0.015)
    assert len(calls) == 3
    assert contestant.sample().seconds == pytest.approx(0.015)
    assert len(calls) == 5
