"""Draw the detections of a trained model on images, a video, a webcam or a data set."""

from __future__ import annotations

import argparse
import os
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

EPILOG = """examples:
  fcos demo output/my_data/model_best.pth a.jpg b.jpg --output out/
  fcos demo torchvision/R_50_FPN a.jpg --output out/
  fcos demo --config-file R_50_1x.yaml --input a.jpg b.jpg --output out/ \\
      --opts MODEL.WEIGHTS model.pth
  fcos demo --config-file digits.yaml --dataset digits_val --output out/ \\
      --opts MODEL.WEIGHTS output/digits/model_final.pth
"""


def parse_args(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_detector(parser, "IMAGE")
    _add_inputs(parser)
    _add_outputs(parser)
    add_speed(parser)
    add_opts(parser)
    args = parse_detector(parser, argv)
    sources = [args.input, args.video_input, args.webcam, args.dataset]
    if sum(source is not None for source in sources) != 1:
        parser.error(
            "one of the arguments --input --video-input --webcam --dataset is required, or images "
            "behind the weights"
        )
    if args.num_images is not None and args.dataset is None:
        parser.error("--num-images belongs to --dataset")
    check_speed(parser, args)
    return args


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--input",
        nargs="+",
        metavar="PATH",
        help="images, folders (without their subfolders) or quoted patterns ('shots/**/*.jpg')",
    )
    source.add_argument("--video-input", metavar="FILE", help="a video file")
    source.add_argument(
        "--webcam", nargs="?", type=int, const=0, metavar="NUMBER", help="a webcam (default: 0)"
    )
    source.add_argument(
        "--dataset",
        metavar="NAME",
        help="a registered data set, also of DATASETS.CUSTOM: each image next to its ground truth",
    )
    parser.add_argument(
        "--num-images",
        type=at_least(1),
        metavar="N",
        help="how many images of --dataset, at equal distances (default: 10)",
    )


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output",
        metavar="PATH",
        help="a folder, or a file for a single image or a video (.mp4, .mov, .mkv, .avi). Files of "
        "earlier runs are replaced, inputs never. Pictures whose longer side is below 640 pixels "
        "are drawn enlarged. Without --output and --json, a window shows them: any key goes on, Q "
        "or Esc leaves",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write the detections as COCO results; image_id is the data set's or counts from 0, "
        "category_id is the data set's or the class number",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=score,
        metavar="SCORE",
        help="draw and write detections with at least this score (default: that of their class in "
        "the checkpoint, or 0.5 where it has none); lowers MODEL.FCOS.SCORE_THRESH_TEST where that "
        "would hide some of them",
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the demo; return the exit code."""
    args = parse_args(argv, prog)
    # OpenCV logs details of its decoders; our messages say what matters.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

    def load() -> Callable[[], int]:
        import torchvision  # noqa: F401  (the first image needs its operators)

        from fcos.predict.demo import run_demo

        def job() -> int:
            run_demo(
                detector_of(args),
                inputs=args.input or (),
                video=args.webcam if args.video_input is None else args.video_input,
                dataset=args.dataset,
                num_images=args.num_images or 10,
                output=args.output,
                results_file=args.json,
                threshold=args.confidence_threshold,
                optimize=args.optimize,
                compile=args.compile,
            )
            return 0

        return job

    return run_program(load)
