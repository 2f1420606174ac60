"""Tell what a weights file is, convert it, check what it detects, find scores to cut at.

fcos checkpoint inspect FILE
fcos checkpoint convert IN OUT --to torchvision
fcos checkpoint record FILE --config-file R_50_1x.yaml --out REFERENCE.npz
fcos checkpoint verify FILE --against REFERENCE.npz
fcos checkpoint thresholds output/my_run/model_best.pth

"verify" ends with exit code 0 if the detections are the same, and with 1 otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from fcos_cli.arguments import add_opts, check_opts, share
from fcos_cli.running import run_program, say

PROGRAM = "python -m fcos.checkpoint"
FAMILIES = ("adelaidet", "original", "torchvision", "mmdetection", "detectron2")


def parse_args(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> argparse.Namespace:
    """Parse the command line; a mistake ends the program with exit code 2."""
    parser = argparse.ArgumentParser(prog=prog, description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("inspect", help="tell what a weights file is")
    command.add_argument("file", help="file or address")
    command = commands.add_parser("convert", help="write weights in another layout")
    command.add_argument("source", metavar="IN", help="file or address")
    command.add_argument("target", metavar="OUT", help="ending .safetensors: in that format")
    command.add_argument("--to", required=True, choices=list(FAMILIES), help="whose layout")
    command = commands.add_parser("record", help="write down what a weights file detects")
    command.add_argument("file", help="weights, file or address")
    command.add_argument(
        "--config-file", metavar="FILE", help="YAML of the model (default: that of the weights)"
    )
    command.add_argument("--out", required=True, metavar="NPZ", help="file to write")
    command.add_argument("--image", metavar="FILE", help="image (default: a built-in one)")
    command.add_argument("--source", metavar="TEXT", help="what computes it (default: versions)")
    _add_running(command)
    command = commands.add_parser("verify", help="compare with what was recorded")
    command.add_argument("file", help="weights, file or address")
    command.add_argument("--against", required=True, metavar="NPZ", help="written by 'record'")
    command.add_argument("--config-file", metavar="FILE", help="instead of the recorded one")
    _add_running(command)
    _add_thresholds(commands)
    args = parser.parse_args(argv)
    if "opts" in args:
        check_opts(commands.choices[args.command], args)
    return args


def _add_thresholds(commands: Any) -> None:
    command = commands.add_parser(
        "thresholds",
        help="find the score of each class that demo, detect and export cut at",
        description="Evaluate a checkpoint on the first data set of DATASETS.TEST, choose the "
        "score to cut at for each class, and write the scores into the checkpoint. A training does "
        "so by itself, by the best F1.",
    )
    command.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="or the OUTPUT_DIR of a training, for its model_best.pth or else model_final.pth",
    )
    wanted = command.add_mutually_exclusive_group()
    wanted.add_argument(
        "--precision",
        type=share,
        metavar="P",
        help="choose the lowest score that reaches this precision, in place of the best F1",
    )
    wanted.add_argument(
        "--recall",
        type=share,
        metavar="R",
        help="choose the highest score that reaches this recall",
    )
    command.add_argument(
        "--config-file",
        metavar="FILE",
        help="YAML of the model (default: that of the checkpoint)",
    )
    command.add_argument(
        "--results",
        metavar="JSON",
        help="detections of this very checkpoint, as an evaluation wrote them to inference/; "
        "without, it is evaluated now",
    )
    command.add_argument(
        "--output", metavar="FILE", help="write a copy there and leave the checkpoint as it is"
    )
    add_opts(command)


def _add_running(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    add_opts(command)


def main(argv: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """Run a command; return the exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        if args.command in ("inspect", "convert"):
            from fcos.checkpoint import convert, inspect

            if args.command == "inspect":
                return lambda: _say(inspect(args.file))
            return lambda: _say(convert(args.source, args.target, args.to))
        if args.command == "thresholds":
            return _thresholds(args)

        from fcos.evaluation import record, verify

        running = {
            "config_file": args.config_file,
            "device": args.device,
            "options": args.opts,
        }
        if args.command == "record":
            return lambda: _say(
                record(
                    args.file, out=args.out, image_file=args.image, source=args.source, **running
                )
            )
        return lambda: _say(*verify(args.file, args.against, **running))

    return run_program(load)


def _thresholds(args: argparse.Namespace) -> Callable[[], int]:
    from fcos.engine.calibration import write_thresholds

    return lambda: _say(
        write_thresholds(
            args.checkpoint,
            config_file=args.config_file,
            results=args.results,
            output=args.output,
            options=args.opts,
            precision=args.precision,
            recall=args.recall,
        )
    )


def _say(text: str, is_good: bool = True) -> int:
    say(text)
    return 0 if is_good else 1
