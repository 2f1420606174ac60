"""Tell what a weights file is, convert it to another layout, and check what it detects.

python -m fcos.checkpoint inspect FILE
python -m fcos.checkpoint convert IN OUT --to torchvision
python -m fcos.checkpoint record FILE --config-file configs/R_50_1x.yaml --out REFERENCE.npz
python -m fcos.checkpoint verify FILE --against REFERENCE.npz

"verify" ends with exit code 0 if the detections are the same, and with 1 otherwise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_opts, check_opts
from fcos_cli.running import run_program

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
    command.add_argument("--config-file", required=True, metavar="FILE", help="YAML of the model")
    command.add_argument("--out", required=True, metavar="NPZ", help="file to write")
    command.add_argument("--image", metavar="FILE", help="image (default: a built-in one)")
    command.add_argument("--source", metavar="TEXT", help="what computes it (default: versions)")
    _add_running(command)
    command = commands.add_parser("verify", help="compare with what was recorded")
    command.add_argument("file", help="weights, file or address")
    command.add_argument("--against", required=True, metavar="NPZ", help="written by 'record'")
    command.add_argument("--config-file", metavar="FILE", help="instead of the recorded one")
    _add_running(command)
    args = parser.parse_args(argv)
    if "opts" in args:
        check_opts(commands.choices[args.command], args)
    return args


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


def _say(text: str, is_good: bool = True) -> int:
    print(text)
    return 0 if is_good else 1
