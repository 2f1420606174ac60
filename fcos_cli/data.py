"""Bring labels of any usual format into a data set that can be trained on.

fcos data import FOLDER_OR_FILE --output my_data
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence

from fcos_cli.arguments import at_least
from fcos_cli.running import run_program

PROGRAM = "fcos data"
IMPORT_PROGRAM = "python -m fcos.data.importing"
FORMATS = ("coco", "cvat", "via", "labelme", "voc", "open_images", "yolo", "csv")


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    alone = prog if prog == IMPORT_PROGRAM else f"{prog} import"
    _add_import(commands.add_parser("import", prog=alone, help="read labels, write a data set"))
    return parser.parse_args(argv)


def _add_import(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Read Pascal VOC, YOLO, CVAT, LabelMe, VIA, Open Images, CSV or COCO labels; write COCO "
        "annotations for training and validation, and a config that trains on them."
    )
    add = command.add_argument
    add("source", metavar="FOLDER_OR_FILE", help="the labels, with the images or without")
    add("--output", required=True, metavar="FOLDER", help="where the data set is written")
    add("--overwrite", action="store_true", help="replace an earlier import there")
    add("--images", default="", metavar="FOLDER", help="of the images, if they lie elsewhere")
    add("--copy-images", action="store_true", help="copy them to the data set; else they stay")
    add("--format", choices=FORMATS, default="", help="of the labels, if there are several")
    add("--drop", nargs="+", default=[], metavar="CLASS", help="leave classes out")
    add(
        "--rename",
        nargs="+",
        default=[],
        metavar="OLD=NEW",
        help="rename classes; those that get one name become one",
    )
    add(
        "--val-fraction",
        type=_fraction,
        default=0.2,
        metavar="F",
        help="for validation, if the labels have no split (%(default)s)",
    )
    add("--seed", type=at_least(0), default=0, metavar="N", help="of that split (%(default)s)")
    add(
        "--voc-one-based",
        action="store_true",
        help="the first pixel of a VOC box is 1, as in the official VOC, not 0",
    )
    add("--via-class", default="", metavar="KEY", help="attribute of a VIA region: its class")
    add("--masks", action="store_true", help="learn masks as well, from the outlines")
    add(
        "--start-from",
        default="",
        metavar="NAME",
        help="published weights to fine-tune, such as torchvision/R_50_FPN",
    )
    add("--batch", type=at_least(1), default=0, metavar="N", help="images in a batch of training")


def _fraction(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 < float(text) < 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number between 0 and 1")


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run a verb; returns the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.data.importing import Options, Request, import_labels

        given = vars(args)
        options = Options(given.pop("voc_one_based"), given.pop("via_class"))
        given.pop("command")

        def job() -> int:
            print(import_labels(Request(**given, options=options)))
            return 0

        return job

    return run_program(load)
