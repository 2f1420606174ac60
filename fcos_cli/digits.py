"""Write the demo data set: handwritten digits on photographs, as COCO JSON."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import Any

from fcos_cli.arguments import at_least
from fcos_cli.running import run_program, say

PROGRAM = "python -m fcos.data.digits"


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog)
    add_arguments(parser)
    return parser.parse_args(argv)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command line takes, also below ``fcos data``."""
    parser.description = __doc__
    default_root = os.path.join(os.environ.get("DETECTRON2_DATASETS", "datasets"), "digits")
    parser.add_argument("--root", default=default_root, help="folder to make (%(default)s)")
    parser.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--train",
        type=at_least(1),
        default=1000,
        metavar="N",
        help="training images (%(default)s)",
    )
    parser.add_argument(
        "--val",
        type=at_least(1),
        default=200,
        metavar="N",
        help="validation images (%(default)s)",
    )


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Write the data set; return the exit code."""
    given = vars(parse_args(argv, prog))
    return run_program(lambda: load(given))


def load(given: dict[str, Any]) -> Callable[[], int]:
    """Import the job, and return it."""
    from fcos.data.demo import write_digits

    def job() -> int:
        is_new = write_digits(**given)
        say(f"{given['root']}: {'written' if is_new else 'already there, made the same way'}")
        return 0

    return job
