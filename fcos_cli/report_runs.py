"""Train and evaluate what a report needs, as many runs at once as there are cores.

A run that is finished is kept; one that was stopped goes on where it was. The same command again
goes on with what is left.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from fcos_cli.arguments import add_opts, at_least, check_opts
from fcos_cli.running import run_program, say

if TYPE_CHECKING:
    from fcos.evaluation.report import Planned

PROGRAM = "python -m fcos_cli.report_runs"
PROFILES = ("quick", "full")
_MOST_AT_ONCE = 8  # by default: each takes 1 to 2 GB
_DIGITS = "configs/digits.yaml"
# Detectors beside the rows of FCOS: option -> what it is, and its config for the same data.
_OTHERS = {
    "retinanet": ("RetinaNet, for the full profile", "configs/digits_retinanet.yaml"),
    "masks": ("FCOS with masks", "configs/digits_mask.yaml"),
    "mask-rcnn": ("Mask R-CNN", "configs/digits_mask_rcnn.yaml"),
}
_BETWEEN_LOOKS = 0.2  # seconds


@dataclasses.dataclass(frozen=True)
class _Running:
    """A run that was started, as ``place`` says, at a time of the monotonic clock."""

    run: Planned
    place: str
    started: float
    process: subprocess.Popen[bytes]


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="quick",
        help="quick: the baseline, all improvements and the masks with one seed, in short "
        "trainings. full: every row of Table 3 and the masks with three seeds (%(default)s)",
    )
    parser.add_argument(
        "--config-file",
        default=_DIGITS,
        metavar="FILE",
        help="an FCOS, with the data and the schedule; the rows are made of it (%(default)s)",
    )
    for name, (what, file) in _OTHERS.items():
        parser.add_argument(
            f"--{name}",
            metavar="FILE",
            help=f"config of {what}; '' leaves it out (with {_DIGITS}: {file}; else left out)",
        )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where each run gets a folder of its own (output/report/PROFILE)",
    )
    parser.add_argument(
        "--at-once",
        type=at_least(1),
        metavar="N",
        help=f"how many runs at once (on CPU one for each core, at most {_MOST_AT_ONCE}; on GPU 1)",
    )
    parser.add_argument("--list", action="store_true", help="only say what is to be done")
    add_opts(parser)
    args = parser.parse_args(argv)
    check_opts(parser, args)
    args.output = args.output or f"output/report/{args.profile}"
    for name, (_, file) in _OTHERS.items():
        name = name.replace("-", "_")
        if getattr(args, name) is None:
            setattr(args, name, file if args.config_file == _DIGITS else "")
    return args


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run what is not finished; return 0, or the exit code of a run that failed."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation.report import PROFILES, plan_runs
        from fcos.evaluation.report.rows import RETINANET

        def job() -> int:
            files = {
                RETINANET: args.retinanet,
                "mask_rcnn": args.mask_rcnn,
                "fcos_masks": args.masks,
            }
            planned = plan_runs(
                PROFILES[args.profile],
                args.output,
                args.config_file,
                {name: file for name, file in files.items() if file},
                args.opts,
            )
            return _list(planned) if args.list else _run_all(planned, args.at_once)

        return job

    return run_program(load)


def _list(planned: Sequence[Planned]) -> int:
    for run in planned:
        if run.is_finished():
            state = "finished"
        elif run.weights:
            state = f"to evaluate, with {run.weights}"
        else:
            state = f"{run.done():,} of {run.cfg.SOLVER.MAX_ITER:,} iterations"
        say(f"{run.name}: {state}")
    return 0


def _run_all(planned: Sequence[Planned], at_once: int | None) -> int:
    at_once = at_once or _default_at_once(planned)
    for each in planned:
        each.is_finished()  # refuses a folder of other settings before hours have gone by
    left = list(planned)
    running: list[_Running] = []
    code = 0
    with _ending_together(running):
        while running or (left and not code):
            while not code and len(running) < at_once and (run := _next(left, running)):
                left.remove(run)
                place = f"[{planned.index(run) + 1}/{len(planned)}] {run.name}"
                running += _begin(run, place, at_once)
            time.sleep(_BETWEEN_LOOKS)
            for one in [one for one in running if one.process.poll() is not None]:
                running.remove(one)
                ended = _ended(one)
                code = code or ended
    return code


@contextlib.contextmanager
def _ending_together(running: Sequence[_Running]) -> Iterator[None]:
    """Pass SIGTERM on to what runs, as Ctrl-C is anyway, and wait until all have ended."""

    def stop(*_: object) -> None:
        for one in running:
            one.process.terminate()
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        for one in running:
            one.process.wait()
        signal.signal(signal.SIGTERM, before)


def _default_at_once(planned: Sequence[Planned]) -> int:
    """On the CPU, trainings with one thread each do more than one with all threads."""
    from fcos.utils.device import usable_cores

    on_cpu = all(run.cfg.MODEL.DEVICE == "cpu" for run in planned)
    return min(usable_cores(), len(planned), _MOST_AT_ONCE) if on_cpu else 1


def _next(left: Sequence[Planned], running: Sequence[_Running]) -> Planned | None:
    """Return the first run whose weights are not still to be trained."""
    to_come = {run.folder for run in [*left, *(one.run for one in running)]}
    return next((run for run in left if os.path.dirname(run.weights) not in to_come), None)


def _begin(run: Planned, place: str, at_once: int) -> list[_Running]:
    """Start a run and say so; none if it is finished."""
    if run.is_finished():
        say(f"{place}: finished before")
        return []
    what = "evaluating" if run.weights else f"training, from iteration {run.done():,}"
    say(f"{place}: {what}; its log is {run.folder}/log.txt")
    return [_Running(run, place, time.monotonic(), _start(run, at_once))]


def _start(run: Planned, at_once: int) -> subprocess.Popen[bytes]:
    from fcos.utils.device import usable_cores
    from fcos.utils.files import append_to, check_writable

    verb = ["eval"] if run.weights else ["train", "--resume"]
    command = [sys.executable, "-m", "fcos_cli", *verb, "--config-file", run.config_file]
    command += run.options
    environment = dict(os.environ)
    if at_once > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // at_once)))
    check_writable(run.folder)
    with os.fdopen(append_to(_console(run)), "w", encoding="utf-8") as console:
        console.truncate(0)
        return subprocess.Popen(command, stdout=console, stderr=subprocess.STDOUT, env=environment)


def _ended(one: _Running) -> int:
    """Say how a run ended, and return its exit code."""
    code = one.process.returncode
    if code:
        say(
            f"Error: {one.run.name} ended with exit code {code}: see {_console(one.run)}. The same "
            "command goes on from here.",
            file=sys.stderr,
        )
    else:
        say(f"{one.place}: {(time.monotonic() - one.started) / 60:.1f} minutes")
    return int(code)


def _console(run: Planned) -> str:
    return os.path.join(run.folder, "console.txt")


if __name__ == "__main__":
    sys.exit(main())
