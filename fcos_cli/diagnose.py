"""Say where a detector fails: fcos diagnose output/my_data.

Write one page, and its numbers as JSON: AP with intervals, what each kind of error costs, which
classes are confused, from which score to keep detections, AP by size, level and number of objects,
the worst images, and labels that are probably wrong:

    <output>/diagnosis.html  diagnosis.json
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_dataset, add_shown, check_dataset
from fcos_cli.running import run_program, say

PROGRAM = "fcos diagnose"

EPILOG = """examples:
  fcos diagnose output/my_data
  fcos diagnose coco_instances_results.json --annotations val.json --images val

RUN is the OUTPUT_DIR of an evaluation, of this repository or of any detectron2 model, or a file
with detections in COCO's results format. Read there are inference/coco_instances_results.json (or
inference/NAME/coco_instances_results.json for the data set NAME) and config.yaml, if there is one.
"""


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a result folder or a results file")
    parser.add_argument("--output", default="diagnosis", metavar="FOLDER", help="(%(default)s)")
    add_dataset(parser, "the data set, by default that of the config.yaml in RUN")
    add_shown(parser, "from which detections are counted and shown; by default the best F1's")
    args = parser.parse_args(argv)
    check_dataset(parser, args)
    return args


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run the diagnosis and return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.evaluation.diagnosis import run_diagnosis, summary_of_diagnosis

        def job() -> int:
            say(summary_of_diagnosis(run_diagnosis(**vars(args))))
            page = os.path.join(args.output, "diagnosis.html")
            say(f"Written: {page} and diagnosis.json")
            return 0

        return job

    return run_program(load)
