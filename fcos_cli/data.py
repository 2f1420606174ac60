"""Bring labels of any usual format into a data set to train on, and look at data sets.

fcos data import FOLDER_OR_FILE --output my_data
fcos data report my_data/config.yaml --output my_data.html
fcos data show my_data_train --config-file my_data/config.yaml --output pictures
fcos data digits
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from fcos_cli import digits
from fcos_cli.arguments import at_least
from fcos_cli.running import run_program, say

PROGRAM = "fcos data"
IMPORT_PROGRAM = "python -m fcos.data.importing"
REPORT_PROGRAM = "python -m fcos.evaluation.dataset"
FORMATS = ("coco", "cvat", "via", "labelme", "voc", "open_images", "yolo", "csv")


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (add, text) in _VERBS.items():
        alone = prog if prog != PROGRAM else f"{prog} {name}"
        add(commands.add_parser(name, prog=alone, help=text))
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


def _add_report(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Write one HTML page on the data sets of a config before training, and its numbers as JSON "
        "beside it: what is in them, what looks like a mistake, which objects the locations learn "
        "and why others are not learnt, and changes to the config that help."
    )
    command.add_argument("config_file", metavar="CONFIG", help="YAML of the training")
    command.add_argument("opts", nargs="*", metavar="KEY VALUE", help="changes to the config")
    command.add_argument("--output", required=True, metavar="FILE", help="the page, *.html")


def _add_show(command: argparse.ArgumentParser) -> None:
    command.description = (
        "Draw the labels of a data set on its images: boxes, classes, and masks if it has any. "
        "Without --output, a window shows them."
    )
    add = command.add_argument
    add("name", metavar="NAME", help="of the data set, as in DATASETS.TRAIN")
    add("--config-file", default="", metavar="FILE", help="a config that declares it")
    add("--output", metavar="FOLDER", help="where the pictures are written")
    add(
        "--num-images",
        type=at_least(1),
        default=10,
        metavar="N",
        help="how many images, evenly spread over the data set (%(default)s)",
    )


_VERBS: dict[str, tuple[Callable[[argparse.ArgumentParser], None], str]] = {
    "import": (_add_import, "read labels, write a data set"),
    "report": (_add_report, "write a page on the data sets of a config"),
    "show": (_add_show, "draw the labels of a data set"),
    "digits": (digits.add_arguments, "write the data set of the demo"),
}


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run a verb; returns the exit code."""
    given = vars(parse_args(argv, prog))
    load = {
        "import": _load_import,
        "report": _load_report,
        "show": _load_show,
        "digits": digits.load,
    }
    return run_program(lambda: load[given.pop("command")](given))


def _load_import(given: dict[str, Any]) -> Callable[[], int]:
    from fcos.data.importing import Options, Request, import_labels

    options = Options(given.pop("voc_one_based"), given.pop("via_class"))

    def job() -> int:
        say(import_labels(Request(**given, options=options)))
        return 0

    return job


def _load_report(given: dict[str, Any]) -> Callable[[], int]:
    from fcos.evaluation.dataset import report_on_data, summary_of_report

    def job() -> int:
        numbers = report_on_data(given["config_file"], given["opts"], given["output"])
        say(summary_of_report(numbers))
        say(f"Written: {given['output']} and, with the numbers, .json beside it")
        return 0

    return job


def _load_show(given: dict[str, Any]) -> Callable[[], int]:
    from fcos.predict.show import show_dataset

    def job() -> int:
        show_dataset(**given)
        return 0

    return job
