"""Compares detectors on one data set: ``python -m fcos.evaluation.compare BASELINE IMPROVED``.

Writes one page with the tables of AP and AR, their differences, precision-recall curves, and the
images on which the detectors differ most; and its numbers as JSON:

    <output>/comparison.html  comparison.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Sequence

from fcos.config import get_cfg
from fcos.data.register import register_custom_datasets
from fcos.utils.arguments import score
from fcos.utils.errors import UserError
from fcos.utils.outputs import check_writable, write_text

from .comparison import Comparison, compare, to_json
from .page import render_page, signed
from .runs import RunFolder, common_dataset, open_folders
from .truth import Truth, default_name, read_truth, register_from_configs, truth_of_dataset

__all__ = ["main", "parse_args", "run_comparison"]

EPILOG = """examples:
  python -m fcos.evaluation.compare output/baseline output/improved
  python -m fcos.evaluation.compare "Mask R-CNN=output/mask_rcnn" FCOS=output/fcos \\
      --dataset coco_2017_val --output comparison

A result folder is an OUTPUT_DIR of this repository's train_net.py or of detectron2's. Read there
are inference/coco_instances_results.json (or inference/NAME/coco_instances_results.json for the
data set NAME) and config.yaml, if there is one. The others are compared to the first folder.
"""


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog="python -m fcos.evaluation.compare",
        description=(__doc__ or "").split("\n\n", 1)[1],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        metavar="[LABEL=]FOLDER",
        help="two result folders or more, or results files; the first is the baseline",
    )
    parser.add_argument("--output", default="comparison", metavar="FOLDER", help="(%(default)s)")
    _add_dataset(parser)
    parser.add_argument(
        "--num-images",
        type=_count,
        default=12,
        metavar="N",
        help="how many images to show at most (%(default)s); 0 needs no pictures",
    )
    parser.add_argument(
        "--score",
        type=score,
        metavar="SCORE",
        help="show detections with at least this score; by default those with which each detector "
        "has its best F1 over the data set",
    )
    args = parser.parse_args(argv)
    if args.annotations and args.num_images and not args.images:
        parser.error("--annotations needs --images FOLDER, or --num-images 0")
    if args.images and not args.annotations:
        parser.error("--images belongs to --annotations")
    return args


def _add_dataset(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="the data set, by default the one that the config.yaml of the folders have in common",
    )
    source.add_argument("--annotations", metavar="FILE", help="the data set, in COCO's format")
    parser.add_argument("--images", metavar="FOLDER", help="the pictures of --annotations")
    parser.add_argument(
        "--config-file",
        metavar="FILE",
        help="a config whose DATASETS.CUSTOM declares the data set; by default the folders' own",
    )


def _count(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) >= 0:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of images")


def run_comparison(args: argparse.Namespace) -> Comparison:
    """Compare as the arguments say and write the page and the JSON.

    Raises:
        UserError: an argument, a result folder or the data set cannot be used.
    """
    folders = open_folders(args.folders)
    check_writable(args.output)
    truth, dataset = _find_truth(args, folders)
    comparison = compare(folders, truth, dataset, num_images=args.num_images, score=args.score)
    numbers = json.dumps(to_json(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(args.output, "comparison.json"), [numbers, "\n"])
    write_text(os.path.join(args.output, "comparison.html"), [render_page(comparison)])
    return comparison


def _find_truth(args: argparse.Namespace, folders: Sequence[RunFolder]) -> tuple[Truth, str | None]:
    if args.annotations:
        name = default_name(args.annotations)
        return read_truth(name, args.annotations, args.images or ""), None
    dataset = args.dataset or common_dataset(folders)
    if args.config_file:
        cfg = get_cfg()
        cfg.merge_from_file(args.config_file)
        register_custom_datasets(cfg)
    else:
        register_from_configs(dataset, folders)
    return truth_of_dataset(dataset), dataset


def _summary(comparison: Comparison) -> str:
    lines = []
    for task in comparison.tasks:
        baseline = task.overall[0]["AP"]
        parts = [f"{task.labels[0]} {baseline:.1f}"]
        for label, figures in zip(task.labels[1:], task.overall[1:], strict=True):
            parts.append(f"{label} {figures['AP']:.1f} ({signed(figures['AP'] - baseline)})")
        lines.append(f"{task.name} AP: {', '.join(parts)}")
    return "\n".join(filter(None, [*lines, comparison.note_on_masks]))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the comparison; returns the exit code."""
    args = parse_args(argv)
    try:
        comparison = run_comparison(args)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    print(_summary(comparison))
    print(f"Written: {os.path.join(args.output, 'comparison.html')} and comparison.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
