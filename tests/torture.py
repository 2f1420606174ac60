"""Stop trainings in every way, go on with them, and compare with one that was not stopped.

Not a part of the test suite: ``make torture`` runs it, in some minutes. It kills trainings of a
small detector with batch normalisation, of one and of two processes, in their evaluations and at
random, and sends SIGTERM. ``model_final.pth`` and ``model_best.pth`` have to be the same, with all
that is in them; with ``--keys``, those of the averaged weights too.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fcos.engine import TrainingStopped
from fcos.utils.processes import Ending, Processes, run_processes
from tests.engine.test_all_keys import KEYS as ALL_KEYS
from tests.engine.test_best import files, train
from tests.tiny import ROOT, write_project

OPTIONS = ["SOLVER.MAX_ITER", 24, "TEST.EVAL_PERIOD", 4, "SOLVER.STEPS", (10, 20)]
EVALUATIONS = 6
# Further keys that a training may have; it is long enough to end by itself.
KEYS = [*ALL_KEYS, "SOLVER.MAX_ITER", 40]
WITH_KEYS = "keys-"  # begins the names of their folders
MOST_SECONDS = 300.0


def run_training(folder: str) -> Ending:
    """Train in this process, or go on; what a process of :func:`start` does."""
    try:
        keys = KEYS if folder.startswith(WITH_KEYS) else []
        train(folder, resume=True, options=[*OPTIONS, *keys])
        return Ending()
    except TrainingStopped as stopped:
        return Ending(stopped.exit_code)


def start(root: Path, folder: str, processes: int) -> subprocess.Popen:
    """Start a training in ``root``, with a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.torture", "--train", folder, "--processes", str(processes)],
        cwd=root,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(root: Path, folder: str, processes: int) -> dict:
    """Train to the end; return what is in the files."""
    process = start(root, folder, processes)
    _, errors = process.communicate(timeout=MOST_SECONDS)
    if process.returncode:
        raise SystemExit(f"{folder} ended with {process.returncode}:\n{errors}")
    return files(root / folder)


def stop(
    root: Path, folder: str, processes: int, number: int, is_time: Callable[[Path], bool]
) -> bool:
    """Start a training and send it a signal when ``is_time``; return whether that ended it."""
    process, begun = start(root, folder, processes), time.monotonic()
    while not is_time(root / folder) and process.poll() is None:
        if time.monotonic() - begun > MOST_SECONDS:
            raise SystemExit(f"{folder} takes more than {MOST_SECONDS:g} s")
        time.sleep(0.002)
    if process.poll() is None:
        # A kill is for all processes of the training, SIGTERM for the first one.
        os.killpg(process.pid, number) if number == signal.SIGKILL else process.send_signal(number)
    process.communicate(timeout=MOST_SECONDS)
    return process.returncode in (-number, 128 + number)


def in_evaluation(number: int, delay: float) -> Callable[[Path], bool]:
    """Say when ``delay`` seconds have passed since an evaluation began."""
    return _later(delay, lambda folder: _evaluations(folder) >= number)


def after_start(delay: float) -> Callable[[Path], bool]:
    """Say when ``delay`` seconds have passed since the training began."""
    return _later(delay, lambda folder: (folder / "started").exists())


def _later(delay: float, has_begun: Callable[[Path], bool]) -> Callable[[Path], bool]:
    since: list[float] = []

    def is_time(folder: Path) -> bool:
        if not since and has_begun(folder):
            since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= delay

    return is_time


def _evaluations(folder: Path) -> int:
    path = folder / "evaluations"
    return path.stat().st_size if path.exists() else 0


def torture(
    root: Path, in_evaluations: int, by_signal: int, at_random: int, seed: int, prefix: str = ""
) -> int:
    """Run all cases, one after the other; return how many ended otherwise."""
    draw, whole, seconds = random.Random(seed), {}, {}
    for processes in (1, 2):
        whole[processes] = finish(root, f"{prefix}whole{processes}", processes)
        path = root / f"{prefix}whole{processes}"
        seconds[processes] = time.time() - (path / "started").stat().st_mtime
    cases = [("kill -9 in evaluation", signal.SIGKILL)] * in_evaluations
    cases += [("SIGTERM in evaluation", signal.SIGTERM)] * by_signal
    cases += [("kill -9 at random", signal.SIGKILL)] * at_random
    wrong = 0
    for index, (name, number) in enumerate(cases):
        processes = 1 + index % 2
        for attempt in itertools.count():
            folder = f"{prefix}case{index}-{attempt}"
            evaluation = 1 + (index // 2) % EVALUATIONS
            delay = draw.uniform(0, 0.3 if "evaluation" in name else seconds[processes])
            if "evaluation" in name:
                is_time, at = in_evaluation(evaluation, delay), f"{evaluation} + {delay:.2f} s"
            else:
                is_time, at = after_start(delay), f"{delay:.2f} s"
            if stop(root, folder, processes, number, is_time):
                break  # otherwise it had ended before
        found = finish(root, folder, processes)
        differing = [
            f"{key} of {file}"
            for file, content in whole[processes].items()
            for key in content
            if found.get(file, {}).get(key) != content[key]
        ]
        wrong += bool(differing)
        said = f"differs: {', '.join(differing)}" if differing else "same"
        print(f"{name} {at}, processes: {processes}: {said}", flush=True)
    print(f"{len(cases) - wrong} of {len(cases)} ended as those that were not stopped.")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--evaluations", type=int, default=12, help="kill -9 in evaluations")
    parser.add_argument("--signals", type=int, default=4, help="SIGTERM in evaluations")
    parser.add_argument("--random", type=int, default=12, help="kill -9 at any time")
    parser.add_argument("--seed", type=int, default=0, help="of the times")
    parser.add_argument("--keys", action="store_true", help="with all keys of a training")
    parser.add_argument("--train", help=argparse.SUPPRESS)
    parser.add_argument("--processes", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.train:
        run = functools.partial(run_training, args.train)
        return run_processes(run, Processes(args.processes))
    with tempfile.TemporaryDirectory() as folder:
        write_project(Path(folder))
        cases = args.evaluations, args.signals, args.random
        wrong = torture(Path(folder), *cases, args.seed, WITH_KEYS if args.keys else "")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
