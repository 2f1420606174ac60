"""A step in a process of its own: within a time limit, and written down whatever happens."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["CPU", "ROOT", "Step", "Table", "Work", "commit", "environment", "run_step", "said"]

ROOT = Path(__file__).resolve().parents[2]
CPU = "cpu.json"  # in the prepared folder: losses and AP of the demo, recorded on the CPU
LAST_LINES = 20

Table = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to find out.

    Attributes:
        module: started as ``python -m <module>``; its main gets a :class:`Work`.
        title: in the report.
        seconds: it may take.
    """

    module: str
    title: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step's process is told.

    Attributes:
        device: "cuda" or "cpu".
        kit: folder that ``benchmarks.gpu.prepare`` made.
        is_smoke: tiny work, whose figures mean nothing.
        result: file that :meth:`write` writes.
    """

    device: str
    kit: str
    is_smoke: bool
    result: str

    @classmethod
    def of_this_process(cls) -> Work:
        """The work that :func:`run_step` gave this process."""
        return cls(**json.loads(sys.argv[1]))

    def write(
        self,
        facts: list[str] | None = None,
        tables: list[Table] | None = None,
        problems: list[str] | None = None,
        data: Any = None,
    ) -> None:
        """Write down what is known so far. A step that is ended later keeps it.

        Args:
            facts: sentences.
            tables: each with a "title" and "rows" of strings, the head first.
            problems: what is wrong with the program that was looked at, one line each.
            data: all figures, for the JSON file.
        """
        content = {"facts": facts, "tables": tables, "problems": problems, "data": data}
        partial = Path(self.result + ".partial")
        partial.write_text(json.dumps(content))
        partial.replace(self.result)


def environment(**more: str) -> dict[str, str]:
    """Of a process that finds the same packages as this one."""
    path = os.pathsep.join([str(ROOT), *(p for p in sys.path if p)])
    return {**os.environ, "PYTHONPATH": path, **more}


def said(*words: str) -> str:
    """What a command prints, or "unknown" where it fails."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()


def commit() -> str:
    """The state of the code; a copy of its files alone does not know it."""
    return said("git", "-C", str(ROOT), "describe", "--always", "--dirty")


def run_step(step: Step, device: str, kit: str, is_smoke: bool, limit: float) -> dict[str, Any]:
    """Run a step to its end or its limit.

    Args:
        step: what to run.
        device, kit, is_smoke: see :class:`Work`.
        limit: seconds.

    Returns:
        "title", "state" ("done", "failed" or "timed out"), "seconds", what the step wrote down,
        "output" (all that it printed) and, unless it is done, its "last_lines".
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Work(device, kit, is_smoke, os.path.join(folder, "result.json"))
        start = time.monotonic()
        state, output = _run(step, work, limit, Path(folder, "output.txt"))
        record: dict[str, Any] = {"title": step.title, "state": state}
        record["seconds"] = round(time.monotonic() - start, 1)
        if os.path.exists(work.result):
            record.update(json.loads(Path(work.result).read_text()))
        elif state == "done":
            record["state"] = "failed"
        record["output"] = output
        if record["state"] != "done":
            record["last_lines"] = output.splitlines()[-LAST_LINES:]
        return record


def _run(step: Step, work: Work, limit: float, output: Path) -> tuple[str, str]:
    words = [sys.executable, "-m", step.module, json.dumps(dataclasses.asdict(work))]
    with open(output, "w") as file:
        process = subprocess.Popen(
            words,
            cwd=ROOT,
            env=environment(PYTHONUNBUFFERED="1"),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that it is ended with all processes that it started
        )
        try:
            state = "failed" if process.wait(limit) else "done"
        except subprocess.TimeoutExpired:
            state = "timed out"
        finally:
            _end(process)
    return state, output.read_text(errors="replace")


def _end(process: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):  # all have ended
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
