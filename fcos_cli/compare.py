"""Compare detectors on one data set: ``fcos compare BASELINE IMPROVED``.

Write one page with the tables of AP and AR, their differences, precision-recall curves, and the
images on which the detectors differ most; and its numbers as JSON:

    <output>/comparison.html  comparison.json
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_dataset, add_shown, check_dataset
from fcos_cli.running import run_program, say

PROGRAM = "python -m fcos.evaluation.compare"

EPILOG = """examples:
  fcos compare output/baseline output/improved
  fcos compare "Mask R-CNN=output/mask_rcnn" FCOS=output/fcos \\
      --dataset coco_2017_val --output comparison

A result folder is the OUTPUT_DIR of a training, by this package or by detectron2's own. Read there
are inference/coco_instances_results.json (or inference/NAME/coco_instances_results.json for the
data set NAME) and config.yaml, if there is one. The others are compared to the first folder.
"""


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=(__doc__ or "").split("\n\n", 1)[1],
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders",
        nargs="*",
        metavar="[LABEL=]FOLDER",
        help="result folders or results files; the first is the baseline",
    )
    parser.add_argument("--output", default="comparison", metavar="FOLDER", help="(%(default)s)")
    text = "the data set, by default the one that the config.yaml of the folders have in common"
    add_dataset(parser, text)
    text = "show detections with at least this score; by default those with which each detector "
    add_shown(parser, f"{text}has its best F1 over the data set")
    args = parser.parse_args(argv)
    check_dataset(parser, args)
    return args


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run the comparison and return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation import run_comparison, summary

        def job() -> int:
            comparison = run_comparison(**vars(args))
            say(summary(comparison))
            page = os.path.join(args.output, "comparison.html")
            say(f"Written: {page} and comparison.json")
            return 0

        return job

    return run_program(load)
