"""What ``train_net.py`` does: one or several processes that train or evaluate, and how they end."""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.multiprocessing import ProcessExitedException

from detectron2.engine import default_argument_parser, launch
from detectron2.evaluation import verify_results
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer
from fcos.config import CfgNode
from fcos.engine.hooks import TrainingStopped
from fcos.engine.preflight import check_evaluation, check_training
from fcos.engine.startup import check_device, load_cfg, setup
from fcos.engine.trainer import Trainer
from fcos.modeling.optimize import PRECISIONS, dtype_for, optimize_for_inference
from fcos.utils.errors import UserError

__all__ = ["argument_parser", "run"]

EXAMPLES = """
Examples:
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 4
  train_net.py --config-file configs/R_50_1x.yaml SOLVER.IMS_PER_BATCH 4 SOLVER.BASE_LR 0.0025
  train_net.py --config-file configs/R_50_1x.yaml --resume
  train_net.py --config-file configs/R_50_1x.yaml --eval-only MODEL.WEIGHTS model.pth
  train_net.py --config-file configs/R_50_1x.yaml --num-gpus 2 MODEL.DEVICE cpu
"""


def argument_parser() -> argparse.ArgumentParser:
    """detectron2's arguments and four more."""
    parser = default_argument_parser(epilog=EXAMPLES)
    parser.add_argument(
        "--check-all-images",
        action="store_true",
        help="before training, read every image of the data sets instead of a sample",
    )
    parser.add_argument(
        "--optimize",
        choices=PRECISIONS,
        metavar="PRECISION",
        help="with --eval-only: evaluate a faster copy of the model, in float32, bfloat16, float16 "
        "or auto, what the device is fast in",
    )
    parser.add_argument(
        "--compile", action="store_true", help="with --optimize: compile the model too"
    )
    parser.add_argument(
        "--debug", action="store_true", help="show where in the program an error came up"
    )
    # A free port: two trainings on one machine do not meet. Several machines need an address.
    parser.set_defaults(dist_url="auto")
    return parser


def run(args: argparse.Namespace) -> int:
    """Train or evaluate as the arguments say.

    Returns:
        The exit code: 0, or 1 after an error that was printed, or 128 + number of a signal.
    """
    try:
        _check_optimize(args)
        cfg = load_cfg(args)
        _check_processes(args, cfg)
        if args.optimize is not None:
            dtype_for(args.optimize, torch.device(cfg.MODEL.DEVICE))
        with _handing_signals_on(args) as received:
            launch(
                _process,
                args.num_gpus,
                args=(args,),
                dist_url=args.dist_url,
                machine_rank=args.machine_rank,
                num_machines=args.num_machines,
            )
    except UserError as error:
        if args.debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except ProcessExitedException as error:
        if received:
            return 128 + received[0]
        return error.exit_code if error.exit_code > 0 else 128 - error.exit_code
    except SystemExit as leaving:  # from _process, run in this very process
        return int(leaving.code or 0)
    except KeyboardInterrupt:  # before the training itself, which has its own answer to it
        return 128 + signal.SIGINT
    return 128 + received[0] if received else 0


def _process(args: argparse.Namespace) -> None:
    """What each process does. It ends with an exit code, since a spawned one has no other way."""
    try:
        cfg = setup(args)
        if args.eval_only:
            _evaluate(cfg, args)
        else:
            _train(cfg, args)
        _leave_group()
    except UserError as error:
        if args.debug:
            raise
        if comm.is_main_process() or not error.in_all_processes:
            print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except TrainingStopped as stopped:
        if comm.is_main_process():
            print(stopped, file=sys.stderr)
        _leave_group()
        sys.exit(stopped.exit_code)


def _leave_group() -> None:
    # gloo's threads, if they still run when Python exits, sometimes abort the process.
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _train(cfg: CfgNode, args: argparse.Namespace) -> None:
    check_training(cfg, resume=args.resume, check_all_images=args.check_all_images)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> dict[str, Any]:
    check_evaluation(cfg, resume=args.resume)
    model = Trainer.build_model(cfg)
    checkpointer = AdetCheckpointer(model, save_dir=cfg.OUTPUT_DIR)
    checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=args.resume)
    checkpointer.coverage.require_all("Evaluation")
    if args.optimize is not None:
        model = optimize_for_inference(model, args.optimize, args.compile)
    results = Trainer.test(cfg, model)
    if cfg.TEST.AUG.ENABLED:
        results.update(Trainer.test_with_TTA(cfg, model))
    if comm.is_main_process():
        verify_results(cfg, results)
    return results


def _check_optimize(args: argparse.Namespace) -> None:
    if args.optimize is not None and not args.eval_only:
        raise UserError(
            "--optimize makes a copy of the model that cannot be trained: it belongs to "
            "--eval-only."
        )
    if args.compile and args.optimize is None:
        raise UserError("--compile belongs to --optimize: add --optimize auto.")


def _check_processes(args: argparse.Namespace, cfg: CfgNode) -> None:
    """Refuse what the other processes could only answer with a traceback each."""
    if args.num_gpus < 0 or args.num_machines < 1:
        raise UserError("--num-gpus must not be negative, and --num-machines at least 1.")
    check_device(cfg)
    processes = args.num_gpus * args.num_machines
    if cfg.MODEL.DEVICE == "cpu":
        if processes > 1:
            # Otherwise a machine with GPUs would join its processes by them.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
    elif args.num_gpus > torch.cuda.device_count():
        raise UserError(
            f"--num-gpus {args.num_gpus}, but this machine has {torch.cuda.device_count()}; ask "
            "for at most that many, and adapt SOLVER.IMS_PER_BATCH and SOLVER.BASE_LR to it."
        )
    if args.num_machines > 1 and args.dist_url == "auto":
        raise UserError(
            "Several machines need an address to meet at: give the same --dist-url "
            "tcp://<first machine>:<free port> on each, and --machine-rank 0, 1, ..."
        )
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank {args.machine_rank} is not one of 0 to {args.num_machines - 1}."
        )


@contextmanager
def _handing_signals_on(args: argparse.Namespace) -> Iterator[list[int]]:
    """While this process only waits for others, they get the signals it gets.

    Yields:
        The signals so far.
    """
    received: list[int] = []
    if args.num_gpus * args.num_machines <= 1:
        yield received
        return

    def hand_on(number: int, _: Any) -> None:
        received.append(number)
        for child in multiprocessing.active_children():
            if child.pid is not None:
                os.kill(child.pid, number)

    # It would report each process that it ends after the first one left.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    previous = {n: signal.signal(n, hand_on) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
