"""Pack what is handed in: the report, the code, and the best weights with what they are."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from fcos_cli.running import run_program, say

PROGRAM = "python -m fcos_cli.submission"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.add_argument("name", metavar="NAME", help="of the ZIP file, such as your own")
    parser.add_argument(
        "--report",
        default="output/report/quick",
        metavar="FOLDER",
        help="with report.html and report.json (%(default)s)",
    )
    parser.add_argument(
        "--output", default="output", metavar="FOLDER", help="for the ZIP file (%(default)s)"
    )
    parser.add_argument(
        "--most-megabytes",
        type=float,
        default=1000,
        metavar="MB",
        help="refuse to write a larger file (%(default)s)",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Pack the submission and return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation.report import pack

        def job() -> int:
            done = pack(args.name, args.report, args.output, args.most_megabytes)
            say("\n".join(done.lines))
            return 0

        return job

    return run_program(load)


if __name__ == "__main__":
    sys.exit(main())
