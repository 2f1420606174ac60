"""Train or evaluate a detector."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_speed, check_speed
from fcos_cli.running import run_program

EPILOG = """
Examples:
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 4
  train_net.py --config-file configs/R_50_1x.yaml SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.0025
  train_net.py --config-file configs/R_50_1x.yaml --resume
  train_net.py --config-file configs/R_50_1x.yaml --eval-only MODEL.WEIGHTS model.pth
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 2 MODEL.DEVICE cpu
"""


def parse_args(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argument_parser(prog)
    args = parser.parse_args(argv)
    if args.optimize is not None and not args.eval_only:
        parser.error(
            "--optimize makes a copy of the model that cannot be trained: it belongs to --eval-only"
        )
    check_speed(parser, args)
    return args


def argument_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser: detectron2's arguments, and four of our own."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", default="", metavar="FILE", help="YAML of the model")
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in OUTPUT_DIR"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate, do not train")
    _add_processes(parser)
    parser.add_argument(
        "--check-all-images",
        action="store_true",
        help="read every image of the data sets first, also if that takes longer than a minute",
    )
    add_speed(parser, " (with --eval-only; KEY VALUE pairs need a PRECISION before them)")
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error was found"
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="changes to the config; come last",
    )
    return parser


def _add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--num-gpus",
        type=int,
        metavar="N",
        help="GPUs of each machine (1, or as many as torchrun or srun has started processes)",
    )
    parser.add_argument("--num-machines", type=int, metavar="N", help="machines in all (1)")
    parser.add_argument(
        "--machine-rank", type=int, metavar="N", help="which machine this is, from 0"
    )
    parser.add_argument(
        "--dist-url",
        metavar="URL",
        help="where several machines meet: tcp://<first machine>:<free port>",
    )


def main(argv: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Run the program; return its exit code."""
    args = parse_args(argv, prog)

    def load() -> Callable[[], int]:
        from fcos.engine import train_or_evaluate

        return lambda: train_or_evaluate(args)

    return run_program(load, args.debug, several=True)
