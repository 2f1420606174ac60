"""What ``train_net.py`` does: one or several processes that train or evaluate, and how they end."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

import torch

from detectron2.evaluation import verify_results
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer
from fcos.config import CfgNode
from fcos.engine.hooks import TrainingStopped
from fcos.engine.preflight import check_evaluation, check_training
from fcos.engine.startup import check_device, load_cfg, setup
from fcos.engine.trainer import Trainer
from fcos.modeling.optimize import dtype_for, optimize_for_inference
from fcos.utils.errors import UserError
from fcos.utils.processes import Ending, check_processes, run_processes

__all__ = ["run"]


def run(args: argparse.Namespace) -> int:
    """Train or evaluate as the arguments say.

    Returns:
        The exit code: 0, or 1 after an error that was printed, or 128 + number of a signal.
    """
    try:
        cfg = load_cfg(args)
        check_device(cfg)
        advice = ", and adapt SOLVER.IMS_PER_BATCH and SOLVER.BASE_LR to it"
        check_processes(args, cfg.MODEL.DEVICE, advice)
        if args.optimize is not None:
            dtype_for(args.optimize, torch.device(cfg.MODEL.DEVICE))
        return run_processes(_process, args)
    except UserError as error:
        if args.debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the training itself, which has its own answer to it
        return 128 + signal.SIGINT


def _process(args: argparse.Namespace) -> Ending:
    """What each process does."""
    try:
        cfg = setup(args)
        if args.eval_only:
            _evaluate(cfg, args)
        else:
            _train(cfg, args)
        return Ending()
    except UserError as error:
        if args.debug:
            raise
        return Ending(1, f"Error: {error}", error.in_all_processes)
    except TrainingStopped as stopped:
        return Ending(stopped.exit_code, str(stopped))


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
