"""Write the report of a course: FCOS explained, measured row by row, beside Mask R-CNN.

One document that prints as a clean PDF, and its figures as JSON: each step in words and pictures,
AP of the baseline beside the paper's, detections on images that a rule chooses, every row of
Table 3 with its seeds, and masks beside Mask R-CNN's:

    <output>/report.html  report.json
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_opts, at_least, check_opts
from fcos_cli.running import run_program, say

PROGRAM = "fcos report"

EPILOG = """examples:
  fcos report output/R_50_1x output/R_50_1x_improve output/Mask_R_50_FPN_1x
  fcos report --config-file configs/R_50_1x.yaml --weights model.pth

A RUN is the OUTPUT_DIR of a training or of an evaluation. Which row of Table 3 it is, its seed and
its budget are read from its files; a row that was not run stays empty. "make report" trains small
ones.
"""


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="*", metavar="[LABEL=]RUN", help="result folders")
    parser.add_argument("--config-file", metavar="FILE", help="with --weights: their config")
    parser.add_argument(
        "--weights",
        metavar="FILE",
        help="evaluate these weights on DATASETS.TEST first; the result is one more run",
    )
    parser.add_argument(
        "--output",
        default="report",
        metavar="FOLDER",
        help="for report.html and report.json (%(default)s)",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="the data set, by default the one that the config.yaml of the runs have in common",
    )
    parser.add_argument(
        "--num-images",
        type=at_least(1),
        default=5,
        metavar="N",
        help="how many images to show of each comparison (%(default)s)",
    )
    add_opts(parser)
    args = parser.parse_args(argv)
    check_opts(parser, args)
    if (args.config_file is None) != (args.weights is None):
        parser.error("--config-file and --weights belong together")
    if args.opts and args.weights is None:
        parser.error("--opts belongs to --weights")
    if not args.runs and args.weights is None:
        parser.error("name the runs, or --config-file and --weights")
    return args


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Evaluate weights if there are any, write the report and return the exit code."""
    args = parse_args(argv, prog)
    runs = list(args.runs)
    if args.weights is not None:
        from fcos_cli.train import main as train

        name = os.path.splitext(os.path.basename(args.weights))[0]
        folder = os.path.join(args.output, f"{name}-evaluated")
        words = ["--eval-only", "--config-file", args.config_file, *args.opts]
        code = train([*words, "MODEL.WEIGHTS", args.weights, "OUTPUT_DIR", folder])
        if code:
            return code
        runs.append(folder)

    def load() -> Callable[[], int]:
        from fcos.evaluation.report import summary_of_course, write_report

        def job() -> int:
            study = write_report(
                runs, args.output, dataset=args.dataset, num_images=args.num_images
            )
            say(summary_of_course(study))
            say(f"Written: {os.path.join(args.output, 'report.html')} and report.json")
            return 0

        return job

    return run_program(load)


if __name__ == "__main__":
    sys.exit(main())
