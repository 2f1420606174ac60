"""Train and evaluate what a report needs, one run after the other.

A run that is finished is kept; one that was stopped goes on where it was. The same command again
goes on with what is left.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fcos_cli.arguments import add_opts, check_opts
from fcos_cli.running import run_program, say

if TYPE_CHECKING:
    from fcos.evaluation.report import Planned

PROGRAM = "python -m fcos_cli.report_runs"
PROFILES = ("quick", "full")
_DIGITS = "configs/digits.yaml"
# Detectors beside the rows of FCOS: option -> what it is, and its config for the same data.
_OTHERS = {
    "retinanet": ("RetinaNet, for the full profile", "configs/digits_retinanet.yaml"),
    "masks": ("FCOS with masks", "configs/digits_mask.yaml"),
    "mask-rcnn": ("Mask R-CNN", "configs/digits_mask_rcnn.yaml"),
}


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument(
        "--profile",
        choices=PROFILES,
        default="quick",
        help="quick: the baseline, all improvements and the masks with one seed, in short "
        "trainings. full: every row of Table 3 and the masks with three seeds, hours (%(default)s)",
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
            return _list(planned) if args.list else _run_all(planned)

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


def _run_all(planned: Sequence[Planned]) -> int:
    for number, run in enumerate(planned, 1):
        where = f"[{number}/{len(planned)}] {run.name}"
        if run.is_finished():
            say(f"{where}: finished before")
            continue
        what = "evaluating" if run.weights else f"training, from iteration {run.done():,}"
        say(f"{where}: {what}; its log is {run.folder}/log.txt")
        started = time.monotonic()
        code = _run(run)
        if code:
            say(
                f"Error: {run.name} ended with exit code {code}: see {_console(run)}. The same "
                "command goes on from here.",
                file=sys.stderr,
            )
            return code
        say(f"{where}: {(time.monotonic() - started) / 60:.1f} minutes")
    return 0


def _run(run: Planned) -> int:
    """Start the program and wait for its end; return its exit code."""
    from fcos.utils.files import append_to, check_writable

    verb = ["eval"] if run.weights else ["train", "--resume"]
    command = [sys.executable, "-m", "fcos_cli", *verb, "--config-file", run.config_file]
    command += run.options
    check_writable(run.folder)
    with os.fdopen(append_to(_console(run)), "w", encoding="utf-8") as console:
        console.truncate(0)
        process = subprocess.Popen(command, stdout=console, stderr=subprocess.STDOUT)
        try:
            return process.wait()
        except KeyboardInterrupt:  # it got the same signal, and writes a checkpoint
            return process.wait()


def _console(run: Planned) -> str:
    return os.path.join(run.folder, "console.txt")


if __name__ == "__main__":
    sys.exit(main())
