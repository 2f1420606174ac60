"""Contestants that do their work in a fresh process each time, whose resident size is measured.

    python -m benchmarks.fresh benchmarks.rows.evaluation:ours '{"settings": {...}, ...}'

The function gets the arguments and returns what to time; the process prints one line of JSON.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.settings import Settings
from benchmarks.work import Sample

__all__ = ["Fresh", "command", "environment"]

ROOT = Path(__file__).resolve().parent.parent


class Fresh:
    """Calls a function in a process of its own.

    Args:
        name: in the table.
        function: ``module:name``; called with the settings and ``arguments``, it returns the work
            as a function, whose result is the outcome and made of plain values. Only the call of
            that function is timed.
        settings: also says how many threads the process has.
        arguments: plain values.
        first_counts: the run that is compared is a sample too. Not so where the first one warms
            up what is outside of the process, such as the disk's cache.
    """

    memory_kind = "process"

    def __init__(
        self,
        name: str,
        function: str,
        settings: Settings,
        first_counts: bool = True,
        **arguments: Any,
    ) -> None:
        self.name = name
        self.first_counts = first_counts
        self._function = function
        self._settings = settings
        self._arguments = arguments

    def sample(self, with_outcome: bool = False) -> Sample:
        task = json.dumps({"settings": self._settings.as_dict(), **self._arguments})
        said = command(
            [sys.executable, "-m", "benchmarks.fresh", self._function, task], self._settings
        )
        answer = json.loads(said.splitlines()[-1])
        return Sample(answer["seconds"], answer["outcome"], answer["bytes"])

    def memory(self) -> None:
        return None


def environment(threads: int) -> dict[str, str]:
    """Of a process that finds the same packages as this one."""
    path = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}


def command(words: list[str], settings: Settings) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        RuntimeError: it failed; with the last line of what it said.
    """
    done = subprocess.run(
        words, cwd=ROOT, env=environment(settings.threads), capture_output=True, text=True
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"a process ended with code {done.returncode} and said: {last}")
    return done.stdout


def main(function: str, task: str) -> None:
    """The process that :class:`Fresh` starts."""
    import torch

    from benchmarks.memory import PeakOfProcess

    arguments = json.loads(task)
    settings = Settings(**arguments.pop("settings"))
    torch.set_num_threads(settings.threads)
    module, _, name = function.partition(":")
    with contextlib.redirect_stdout(sys.stderr):  # the answer is all that stdout gets
        run = getattr(importlib.import_module(module), name)(settings, **arguments)
        peak = PeakOfProcess()
        start = time.perf_counter()
        outcome = run()
        seconds = time.perf_counter() - start
        answer = {"seconds": seconds, "bytes": peak.bytes(), "outcome": outcome}
    print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
