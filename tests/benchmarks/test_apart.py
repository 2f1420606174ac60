"""Contestants in a process of their own."""

import os
import time

import pytest
import torch

from benchmarks.apart import Apart
from benchmarks.settings import Settings
from benchmarks.work import InProcess

ADDS = f"{__name__}:adds"
SETTINGS = Settings(threads=1, size="smoke")


def adds(settings, number):
    if number < 0:
        raise ValueError("a negative number")

    def run():
        if number == 13:
            raise ArithmeticError("unlucky")
        if number == 99:
            os._exit(1)
        return torch.ones(250_000) * number

    def outcome(ones):
        return {"sum": ones.sum(), "process": os.getpid(), "threads": torch.get_num_threads()}

    return InProcess("adds", run, outcome, settings.device)


def test_it_answers_from_another_process():
    first, second = (Apart("adds", ADDS, SETTINGS, number=n) for n in (2, 3))
    outcomes = [contestant.sample(with_outcome=True).outcome for contestant in (first, second)]
    assert [float(outcome["sum"]) for outcome in outcomes] == [500_000, 750_000]
    assert [outcome["threads"] for outcome in outcomes] == [1, 1]
    assert len({os.getpid(), *(outcome["process"] for outcome in outcomes)}) == 3
    assert 0 < first.sample().seconds < 1
    assert first.memory() == pytest.approx(2_000_000, rel=0.01)  # the ones and the product


def test_its_end_is_that_of_its_process():
    contestant = Apart("adds", ADDS, SETTINGS, number=2)
    process = contestant.sample(with_outcome=True).outcome["process"]
    del contestant
    for _ in range(100):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("the process still runs")


@pytest.mark.parametrize(
    "number, message",
    [
        (-1, "ValueError: a negative number"),
        (13, "ArithmeticError: unlucky"),
        (99, "its process ended"),
    ],
)
def test_a_failure_is_told(number, message):
    with pytest.raises(RuntimeError, match=message):
        Apart("adds", ADDS, SETTINGS, number=number).sample()
