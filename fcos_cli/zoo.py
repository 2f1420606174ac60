"""List the published models, or describe one: AP, licence, config, address of the weights.

Their names stand for their weights: fcos demo torchvision/R_50_FPN picture.jpg --output out/
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.running import run_program, say

PROGRAM = "fcos zoo"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="only models whose names contain all of these; the name of one describes it",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Print what was asked for; return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.checkpoint import describe_zoo

        def job() -> int:
            say(describe_zoo(args.words))
            return 0

        return job

    return run_program(load)
