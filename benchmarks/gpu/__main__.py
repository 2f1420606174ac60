"""All that a GPU has to show, within minutes, as one report.

The steps run in order of importance, each in a process of its own and within a time limit. The
report is written anew after each of them. docs/BENCHMARKS.md says how to prepare it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.report import write_report
from benchmarks.gpu.running import CPU, Step, commit, run_step, said

STEPS = (
    Step("benchmarks.gpu.suite", "Tests on the GPU", 150),
    Step("benchmarks.gpu.demo", "200 iterations of the demo beside the CPU's", 120),
    Step("benchmarks.gpu.rows", "The benchmark, beside torchvision", 180),
    Step("benchmarks.gpu.profiles", "Where the time goes: R-50 at 800x1333", 90),
    Step("benchmarks.gpu.photographs", "R_50_1x on photographs", 90),
)
# With less time left, no step begins.
LEAST = 10.0


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="(%(default)s)")
    parser.add_argument("--smoke", action="store_true", help="tiny work: a rehearsal, no figures")
    parser.add_argument(
        "--kit", type=Path, default=Path("gpu_kit"), help="the prepared folder (%(default)s)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("output/gpu"), help="for the report (%(default)s)"
    )
    parser.add_argument(
        "--budget", type=float, default=480, metavar="SECONDS", help="for all steps (%(default)s)"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all steps; returns 0 if all were done and found no problem, else 3, or 1 at a mistake."""
    args = parse_args(argv)
    try:
        from benchmarks.gpu.kit import check_kit  # imports torch
        from fcos.utils.errors import UserError
    except ImportError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    try:
        check_kit(args.kit)
        args.output.mkdir(parents=True, exist_ok=True)
    except (UserError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    try:
        records = run(STEPS, args)
    except KeyboardInterrupt:
        print(f"Stopped. The report so far: {args.output}/report.md", file=sys.stderr)
        return 130
    print(f"The report: {args.output}/report.md")
    is_well = all(r["state"] == "done" and not r.get("problems") for r in records)
    return 0 if is_well else 3


def run(steps: Sequence[Step], args: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the steps one after the other, and write the report after each.

    Args:
        steps: the most important first.
        args: of :func:`parse_args`.

    Returns:
        a record of each step.
    """
    start, about = time.monotonic(), about_this_run(args)
    records = [{"title": step.title, "state": "not run yet"} for step in steps]
    for number, step in enumerate(steps):
        left = args.budget - (time.monotonic() - start)
        if left < LEAST:
            records[number]["state"] = f"not run: the {args.budget:.0f} seconds were used up"
        else:
            limit = left if args.smoke else min(step.seconds, left)
            kit = str(args.kit.resolve())
            records[number] = run_step(step, args.device, kit, args.smoke, limit)
        record = records[number]
        print(f"{step.title}: {record['state']} ({record.get('seconds', 0)} s)", flush=True)
        write_report(args.output, about, records)
    return records


def about_this_run(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on, as far as no package has to be imported for it."""
    return {
        "device": args.device,
        "GPU": said("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"),
        "size": "smoke: the figures mean nothing" if args.smoke else "full",
        "Python": platform.python_version(),
        "commit": commit(),
        "kit of commit": json.loads((args.kit / CPU).read_text())["commit"],
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


if __name__ == "__main__":
    sys.exit(main())
