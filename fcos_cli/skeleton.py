"""Write the exercise: this package without the bodies of the four steps of the paper, and tests.

The copy is made from the installed package itself. Its README says what to do; the tests fail
until the steps are written.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.running import run_program, say

PROGRAM = "fcos skeleton"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", required=True, metavar="FOLDER", help="folder to make")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Write the exercise; return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation.teaching import write_skeleton

        def job() -> int:
            folder = write_skeleton(args.output)
            say(f"Written: {folder}. Begin with {folder / 'README.md'}")
            return 0

        return job

    return run_program(load)
