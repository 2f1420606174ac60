"""Train or evaluate a detector."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence

from fcos_cli.arguments import add_speed, check_speed
from fcos_cli.running import run_program

# What a program does, and lines that start it. `fcos eval` is this one with --eval-only.
_ABOUT = {
    "fcos train": (
        "Train a detector.",
        """
  fcos train --config-file my_data/config.yaml
  fcos train --config-file my_data/config.yaml SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.0025
  fcos train --config-file my_data/config.yaml --resume
  fcos train --config-file R_50_1x.yaml --num-gpus 4
""",
    ),
    "fcos eval": (
        "Evaluate a detector on DATASETS.TEST.",
        """
  fcos eval output/my_data/model_best.pth
  fcos eval output/my_data/model_best.pth TEST.AUG.ENABLED True
  fcos eval --config-file R_50_1x.yaml --num-gpus 4 MODEL.WEIGHTS model.pth
""",
    ),
    "": (
        "Train or evaluate a detector.",
        """
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 4
  train_net.py --config-file configs/R_50_1x.yaml SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.0025
  train_net.py --config-file configs/R_50_1x.yaml --resume
  train_net.py --config-file configs/R_50_1x.yaml --eval-only MODEL.WEIGHTS model.pth
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 2 MODEL.DEVICE cpu
""",
    ),
}


def parse_args(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    """Parse the command line; mistakes end the program with exit code 2."""
    parser = argument_parser(prog)
    words = list(sys.argv[1:] if argv is None else argv)
    weights = _take_weights(words)
    args = parser.parse_args(words)
    args.weights = weights or (_take_weights(args.opts) if len(args.opts) % 2 else "")
    if args.weights and not args.eval_only:
        parser.error(
            f"{args.weights}: --eval-only takes weights; to train from them, append MODEL.WEIGHTS "
            f"{args.weights}"
        )
    if args.optimize is not None and not args.eval_only:
        parser.error(
            "--optimize makes a copy of the model that cannot be trained: it belongs to --eval-only"
        )
    check_speed(parser, args)
    return args


def _take_weights(words: list[str]) -> str:
    """Take the weights off the front of words of a command line; "" if it has none there."""
    at = 1 if words[:1] == ["--eval-only"] else 0
    is_there = len(words) > at and not re.match(r"-|[A-Z][A-Z0-9_]*(\.[A-Z0-9_]+)*$", words[at])
    return words.pop(at) if is_there else ""


def argument_parser(prog: str | None = None) -> argparse.ArgumentParser:
    """Make the parser: detectron2's arguments, and four of our own."""
    about, examples = _ABOUT[prog if prog in _ABOUT else ""]
    is_eval = prog == "fcos eval"
    parser = argparse.ArgumentParser(
        prog=prog,
        usage=f"{prog} [WEIGHTS] [options] [KEY VALUE ...]" if is_eval else None,
        description=about,
        epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="YAML of the model (of an evaluation, by default that of the weights)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help=("evaluate" if is_eval else "go on from") + " the last checkpoint in OUTPUT_DIR",
    )
    evaluate = argparse.SUPPRESS if is_eval else "evaluate, do not train"
    parser.add_argument("--eval-only", action="store_true", help=evaluate)
    parser.set_defaults(weights="")  # of --eval-only, which its first word may be
    _add_processes(parser)
    parser.add_argument(
        "--check-all-images",
        action="store_true",
        help="read every image of the data sets first, also if that takes longer than a minute",
    )
    only = "" if is_eval else "with --eval-only; "
    add_speed(parser, f" ({only}KEY VALUE pairs need a PRECISION before them)")
    parser.add_argument(
        "--debug",
        action="store_true",
        help="print all that goes into log.txt, and where in the program an error was found",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        metavar="KEY VALUE",
        help="changes to the config; come last. Of an evaluation, the first word of all may be the "
        "weights: a file, an address or a name of fcos zoo",
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
