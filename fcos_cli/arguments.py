"""Arguments that several programs share."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence

__all__ = [
    "add_dataset",
    "add_detector",
    "add_opts",
    "add_shown",
    "add_speed",
    "at_least",
    "check_dataset",
    "check_opts",
    "check_speed",
    "parse_detector",
    "score",
    "share",
]

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def add_detector(parser: argparse.ArgumentParser, images: str = "") -> None:
    """Add what names a detector: its weights, and --config-file.

    Args:
        parser: parses the command line with :func:`parse_detector`.
        images: metavar of the images that the words behind the weights are; "" for none.
    """
    parser.add_argument(
        "words",
        nargs="*" if images else "?",
        default=[],
        metavar=f"WEIGHTS {images}".rstrip(),
        help="the trained weights: a file, an address, a name of fcos zoo or the OUTPUT_DIR of a "
        "training; by default MODEL.WEIGHTS of the config"
        + (". Behind them the images, as with --input" if images else ""),
    )
    parser.add_argument(
        "--config-file", metavar="FILE", help="YAML of the model (default: that of the weights)"
    )


def parse_detector(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None
) -> argparse.Namespace:
    """Parse a command line with a detector; its ``words`` become ``weights`` and ``input``.

    A mistake ends the program with exit code 2.
    """
    args = parser.parse_intermixed_args(argv)
    check_opts(parser, args)
    words = [args.words] if isinstance(args.words, str) else list(args.words)
    del args.words
    args.weights, images = (words[0] if words else ""), words[1:]
    if not (args.weights or args.config_file or "MODEL.WEIGHTS" in args.opts):
        parser.error("name the trained weights, such as output/my_data/model_best.pth")
    if images:
        if args.input:
            parser.error(f"--input, or images behind the weights: {images[0]} is neither")
        args.input = images
    return args


def add_dataset(parser: argparse.ArgumentParser, text: str) -> None:
    """Add what names the data set that results are of; ``text`` is the help of --dataset."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--dataset", metavar="NAME", help=text)
    source.add_argument("--annotations", metavar="FILE", help="the data set, in COCO's format")
    parser.add_argument(
        "--images", default="", metavar="FOLDER", help="the images of --annotations"
    )
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="a config whose DATASETS.CUSTOM declares the data set; by default the results' own",
    )


def add_shown(parser: argparse.ArgumentParser, text: str) -> None:
    """Add what says which images and detections are shown; ``text`` is the help of --score."""
    parser.add_argument(
        "--num-images",
        type=at_least(0),
        default=12,
        metavar="N",
        help="how many images to show at most (%(default)s); 0 reads no image files",
    )
    parser.add_argument("--score", type=score, metavar="SCORE", help=text)


def check_dataset(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """End the program with exit code 2 if the arguments of the data set do not fit."""
    if args.annotations and args.num_images and not args.images:
        parser.error("--annotations needs --images FOLDER, or --num-images 0")
    if args.images and not args.annotations:
        parser.error("--images belongs to --annotations")


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


def at_least(least: int, most: int = 1_000_000_000) -> Callable[[str], int]:
    """Make the ``type`` of an argument: a whole number from ``least`` to ``most``."""

    def read(text: str) -> int:
        with contextlib.suppress(ValueError):
            if least <= int(text) <= most:
                return int(text)
            if int(text) > most:
                raise argparse.ArgumentTypeError(f"{text[:20]!r} is more than {most:,}")
        raise argparse.ArgumentTypeError(f"{text[:80]!r} is not a whole number of at least {least}")

    return read
