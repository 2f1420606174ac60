"""The job of ``fcos train`` and ``fcos eval``: the processes that train or evaluate."""

from __future__ import annotations

import argparse
import functools

import torch

from detectron2.evaluation import verify_results
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer
from fcos.config import CfgNode
from fcos.config.same import check_same_config
from fcos.engine.hooks import TrainingStopped
from fcos.engine.loop import amp_dtype
from fcos.engine.preflight import check_evaluation, check_training
from fcos.engine.progress import ProgressBar
from fcos.engine.startup import load_cfg, setup
from fcos.engine.trainer import Trainer
from fcos.modeling.optimize import dtype_for, optimize_for_inference
from fcos.utils.device import check_device
from fcos.utils.errors import UserError
from fcos.utils.locks import FolderLock
from fcos.utils.processes import Ending, choose_processes, run_processes
from fcos.utils.terminal import is_terminal

__all__ = ["train_or_evaluate"]

_RESUME = "The same command with --resume goes on from the last checkpoint."


def train_or_evaluate(args: argparse.Namespace) -> int:
    """Train or evaluate in one or several processes.

    Args:
        args: as ``fcos_cli.train`` parses them. They stay together because detectron2's
            ``default_setup`` takes and logs them.

    Returns:
        The exit code: 0, 1 after an error that a process printed, or 128 + number of a signal.

    Raises:
        UserError: something was refused before the processes were started.
    """
    cfg = load_cfg(args.config_file, args.opts, weights=args.weights, is_trained=args.eval_only)
    check_device(cfg.MODEL.DEVICE)
    amp_dtype(cfg)  # refuses a precision that the device lacks
    advice = ", and adapt SOLVER.IMS_PER_BATCH and SOLVER.BASE_LR to it"
    processes = choose_processes(
        cfg.MODEL.DEVICE,
        num_gpus=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
        advice=advice,
    )
    if args.optimize is not None:
        dtype_for(args.optimize, torch.device(cfg.MODEL.DEVICE))
    again = "Start the evaluation again." if args.eval_only else _RESUME
    return run_processes(functools.partial(_run_one, cfg, args), processes, again)


def _run_one(cfg: CfgNode, args: argparse.Namespace) -> Ending:
    """Train or evaluate in this process."""
    try:
        check_same_config(cfg, **{"--resume": args.resume, "--eval-only": args.eval_only})
        with FolderLock(cfg.OUTPUT_DIR, ".lock") as lock:
            setup(cfg, args, lock)
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
    if comm.is_main_process() and is_terminal():
        trainer.register_hooks([ProgressBar()])
    trainer.resume_or_load(resume=args.resume)
    trainer.train()


def _evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    check_evaluation(cfg, resume=args.resume, check_all_images=args.check_all_images)
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
