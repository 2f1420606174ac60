"""Draw the curves of a training, or of several in the same panels, on one page.

Losses by term with those on the validation set, learning rate, AP, time and GPU memory over the
iterations. A training writes this page when it ends; this makes it again, also in the middle.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.running import run_program, say

PROGRAM = "fcos curves"

EPILOG = """examples:
  fcos curves output/digits
  fcos curves before=output/baseline after=output/improved --output improved.html

A folder is the OUTPUT_DIR of a training, by this package or by detectron2's own. Read there are
metrics.json, and config.yaml and log.txt where there are any.
"""


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", metavar="[LABEL=]FOLDER", help="of trainings")
    parser.add_argument(
        "--output",
        default="",
        metavar="FILE",
        help="the page (curves.html, in the FOLDER if there is only one)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Draw the page and return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation import write_curves

        def job() -> int:
            output, summaries = write_curves(args.runs, args.output)
            for summary in summaries:
                say(str(summary))
            say(f"Written: {output}")
            return 0

        return job

    return run_program(load)
