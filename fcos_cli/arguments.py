"""Arguments that several programs share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable

__all__ = [
    "add_config_file",
    "add_opts",
    "add_speed",
    "at_least",
    "check_opts",
    "check_speed",
    "score",
    "share",
]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the required --config-file."""
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML of the model")


def add_opts(parser: argparse.ArgumentParser) -> None:
    """Add --opts, the changes to the config, which come after all other arguments."""
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the config; comes last",
    )


def check_opts(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with exit code 2 if another argument follows --opts."""
    misplaced = [word for word in args.opts if word.startswith("--")]
    if misplaced:
        parser.error(f"--opts takes all that follows it: put {misplaced[0]} before it")


def add_speed(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add --optimize and --compile; ``note`` ends the help of the former."""
    parser.add_argument(
        "--optimize",
        nargs="?",
        const="auto",
        choices=PRECISIONS,
        metavar="PRECISION",
        help="run a faster copy of the model, in float32, bfloat16, float16 or (default: auto) "
        f"what the device is fast in{note}",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="with --optimize: compile the model too, which takes minutes at the first image",
    )


def check_speed(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with exit code 2 if there is --compile without --optimize."""
    if args.compile and args.optimize is None:
        parser.error("--compile belongs to --optimize")


def score(text: str) -> float:
    """Read a score, as the ``type`` of an argument.

    Raises:
        argparse.ArgumentTypeError: the text is no number in [0, 1].
    """
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a score between 0 and 1")


def share(text: str) -> float:
    """Read a precision or a recall, as the ``type`` of an argument.

    Raises:
        argparse.ArgumentTypeError: the text is no number in (0, 1].
    """
    with contextlib.suppress(ValueError):
        if 0 < float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to 1")


def at_least(least: int) -> Callable[[str], int]:
    """Make the ``type`` of an argument: a whole number of at least ``least``."""

    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if int(text) >= least:
                return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {least}")

    return read
