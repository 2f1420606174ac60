"""Detect in very many images, on all GPUs of one or several machines, and write COCO results.

Run again after whatever ended it, the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.arguments import (
    add_detector,
    add_opts,
    add_speed,
    at_least,
    check_speed,
    parse_detector,
    score,
)
from fcos_cli.running import detector_of, run_program

PROGRAM = "python -m fcos.detect"
LABEL_FORMATS = ("yolo", "voc", "cvat", "coco")
EPILOG = """examples:
  fcos detect output/my_data/model_best.pth shots/ --recursive --output found/
  fcos detect --config-file R_50_1x.yaml --input shots/ --recursive \\
      --output found/ --opts MODEL.WEIGHTS model.pth
  fcos detect --config-file R_50_1x.yaml --list files.txt --num-gpus 2 \\
      --output found/ --opts MODEL.DEVICE cpu MODEL.WEIGHTS model.pth

exit codes: 0 all images are done; 3 all but some that could not be read; 1 an error;
  2 wrong arguments; 128 + number of a signal
"""


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_detector(parser, "IMAGE")
    _add_images(parser)
    _add_switches(parser)
    _add_speed(parser)
    _add_processes(parser)
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error was found"
    )
    add_opts(parser)
    args = parse_detector(parser, argv)
    if bool(args.input) == bool(args.list):
        parser.error("name the images, behind the weights or by --input or --list")
    if args.recursive and args.list:
        parser.error("--recursive belongs to --input")
    check_speed(parser, args)
    return args


def _add_images(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders or quoted patterns ('shots/**/*.jpg')",
    )
    source.add_argument("--list", metavar="FILE", help="a text file with one path on each line")
    parser.add_argument(
        "--recursive", action="store_true", help="search the subfolders of --input, too"
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="gets detections.json (COCO results), images.json (file of each image_id, class of "
        "each category_id), left_out.txt where images could not be read, and shards/ (what is "
        "done so far)",
    )


def _add_switches(parser: argparse.ArgumentParser) -> None:
    again = parser.add_mutually_exclusive_group()
    again.add_argument(
        "--fresh", action="store_true", help="begin anew: throw away what shards/ has"
    )
    again.add_argument(
        "--retry", action="store_true", help="read images again that an earlier run left out"
    )
    parser.add_argument(
        "--confidence-threshold",
        type=score,
        metavar="SCORE",
        help="write detections with at least this score (default: that of their class in the "
        "checkpoint, or 0.5 where it has none); lowers MODEL.FCOS.SCORE_THRESH_TEST where that "
        "would hide some of them",
    )
    parser.add_argument(
        "--labels",
        choices=LABEL_FORMATS,
        default="",
        help="write the detections also as labels to correct in a labelling tool, to labels_yolo/ "
        "(or voc, ...) of --output; with the same command, of a run that is done, too",
    )


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch-size",
        type=at_least(1, 100_000),
        default=8,
        metavar="N",
        help="images that go through the model together, at most; only those whose padded sizes "
        "are equal do (default: %(default)s)",
    )
    add_speed(parser)


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-gpus",
        type=at_least(1),
        metavar="N",
        help="GPUs of each machine, or processes with MODEL.DEVICE cpu (default: all GPUs, or one "
        "process)",
    )
    parser.add_argument("--num-machines", type=at_least(1), metavar="N")
    parser.add_argument(
        "--machine-rank", type=int, metavar="N", help="which machine this is, from 0"
    )
    parser.add_argument(
        "--dist-url",
        metavar="URL",
        help="where several machines meet: tcp://<first machine>:<free port>",
    )


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run the program; return its exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.predict.many import DetectionJob, detect_many

        job = DetectionJob(
            output=args.output,
            inputs=args.input or (),
            recursive=args.recursive,
            list_file=args.list,
            threshold=args.confidence_threshold,
            batch_size=args.batch_size,
            optimize=args.optimize,
            compile=args.compile,
            fresh=args.fresh,
            retry=args.retry,
            labels=args.labels,
            debug=args.debug,
        )
        return lambda: detect_many(
            detector_of(args),
            job,
            num_gpus=args.num_gpus,
            num_machines=args.num_machines,
            machine_rank=args.machine_rank,
            dist_url=args.dist_url,
        )

    return run_program(load, args.debug, several=True)
