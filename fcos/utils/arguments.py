"""Words that several command lines share."""

from __future__ import annotations

import argparse
import contextlib

__all__ = ["add_opts", "check_opts", "score"]


def add_opts(parser: argparse.ArgumentParser) -> None:
    """The changes to the config, behind all other arguments."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the config; comes last",
    )


def check_opts(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with exit code 2 where another argument follows --opts."""
    misplaced = [word for word in args.opts if word.startswith("--")]
    if misplaced:
        parser.error(f"--opts takes all that follows it: put {misplaced[0]} before it")


def score(text: str) -> float:
    """A score, as the ``type`` of an argument.

    Raises:
        argparse.ArgumentTypeError: it is no number in [0, 1].
    """
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a score between 0 and 1")
