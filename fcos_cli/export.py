"""Write a trained detector as a file that other programs run, and compare it with the detector.

fcos export output/my_data/model_best.pth --format onnx --output fcos.onnx
fcos export --config-file R_50_1x.yaml --format onnx --output fcos.onnx \\
    --opts MODEL.WEIGHTS model.pth
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fcos_cli.arguments import add_detector, add_opts, parse_detector, score
from fcos_cli.running import detector_of, run_program, say

if TYPE_CHECKING:
    from fcos.export import Exported

PROGRAM = "python -m fcos.export"
FORMATS = ("onnx", "torchscript", "torch_export")
INPUT_TYPES = ("uint8", "float32")


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add_detector(parser)
    parser.add_argument("--format", required=True, choices=FORMATS, help="of the file")
    parser.add_argument("--output", required=True, metavar="FILE", help="the file to write")
    parser.add_argument(
        "--raw",
        action="store_true",
        help="leave out decoding and suppression: write the outputs of the head at all locations",
    )
    parser.add_argument(
        "--sizes",
        action="store_true",
        help="a second input: height and width of each image without its padding, for batches of "
        "images of different sizes",
    )
    parser.add_argument(
        "--input-type",
        choices=INPUT_TYPES,
        default="uint8",
        help="of the pixels, 0 to 255 in both (default: %(default)s)",
    )
    parser.add_argument(
        "--image",
        metavar="FILE",
        help="an image with objects to compare file and detector on (default: noise)",
    )
    parser.add_argument(
        "--confidence-threshold",
        type=score,
        metavar="SCORE",
        help="what the metadata of the file tell programs to cut at (default: the scores in the "
        "checkpoint, class by class, or 0.5)",
    )
    add_opts(parser)
    return parse_detector(parser, argv)


def _report(args: argparse.Namespace, written: Exported) -> str:
    lines = [
        f"{args.output}: {args.format}, {written.num_bytes / 1e6:.1f} MB; "
        f"{', '.join(written.input_names)} -> {', '.join(written.output_names)}.",
        f"Compared with the detector on three images of two sizes: {written.differences}.",
    ]
    if not args.raw and written.differences.expected == 0:
        source = "the image" if args.image else "noise"
        lines.append(
            f"In {source} there is nothing to detect, so that boxes and scores were not compared: "
            "name an image with objects by --image."
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run the program; return its exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.export import export_detector

        def job() -> int:
            cfg = detector_of(args, log="stderr")
            written = export_detector(
                cfg,
                args.output,
                args.format,
                raw=args.raw,
                with_sizes=args.sizes,
                input_type=args.input_type,
                image=args.image,
                threshold=args.confidence_threshold,
            )
            say(_report(args, written))
            return 0

        return job

    return run_program(load)
