"""Draw the detections of a trained model on images, a video, a webcam or a data set."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence

EPILOG = """examples:
  demo.py --config-file configs/R_50_1x.yaml --input a.jpg b.jpg --output out/ \\
      --opts MODEL.WEIGHTS model.pth
  demo.py --config-file configs/digits.yaml --dataset digits_val --output out/ \\
      --opts MODEL.WEIGHTS output/digits/model_final.pth
"""


def _score(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a score between 0 and 1")


def _number_of_images(text: str) -> int:
    with contextlib.suppress(ValueError):
        if int(text) >= 1:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config-file", required=True, metavar="FILE", help="YAML of the model")
    _add_inputs(parser)
    _add_outputs(parser)
    _add_speed(parser)
    parser.add_argument(
        "--opts",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="KEY VALUE",
        help="changes to the config; comes last",
    )
    args = parser.parse_args(argv)
    if args.num_images is not None and args.dataset is None:
        parser.error("--num-images belongs to --dataset")
    if args.compile and args.optimize is None:
        parser.error("--compile belongs to --optimize")
    misplaced = [word for word in args.opts if word.startswith("--")]
    if misplaced:
        parser.error(f"--opts takes all that follows it: put {misplaced[0]} before it")
    return args


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
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
        type=_number_of_images,
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
        type=_score,
        default=0.5,
        metavar="SCORE",
        help="draw and write detections with at least this score (default: %(default)s); lowers "
        "MODEL.FCOS.SCORE_THRESH_TEST where that would hide some of them",
    )


def _add_speed(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--optimize",
        nargs="?",
        const="auto",
        choices=("auto", "float32", "bfloat16", "float16"),
        metavar="PRECISION",
        help="run a faster copy of the model, in float32, bfloat16, float16 or (default: auto) "
        "what the device is fast in. Images are detected in TEST.IMS_PER_BATCH at a time",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="with --optimize: compile the model too, which takes minutes at the first image",
    )


@contextlib.contextmanager
def _keeping_what_is_imported() -> Iterator[None]:
    """No search for garbage in what is imported: some 200,000 objects, and all of them stay.

    Python would search them again and again while they come, and once more when the program ends:
    a third of the time that the demo takes for a small picture.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit code."""
    args = parse_args(argv)
    # OpenCV prints the inner life of its decoders; what matters is said in a sentence.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:  # imported here because torch takes seconds, and --help needs none of it
        with _keeping_what_is_imported():
            import torchvision  # noqa: F401  (whose operators the first image needs)

            from fcos.utils.demo import run_demo
            from fcos.utils.errors import UserError
    except ImportError as error:  # no detectron2, or a package is not installed
        print(f"Error: {error}", file=sys.stderr)
        return 1
    try:
        run_demo(args)
    except UserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
