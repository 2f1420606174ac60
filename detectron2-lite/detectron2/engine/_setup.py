"""The part of ``defaults`` used before training: arguments, set-up of a job, writers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger


def create_ddp_model(
    model: nn.Module, *, fp16_compression: bool = False, **kwargs: Any
) -> nn.Module:
    """``model`` for training in several processes; with a single process, ``model`` itself.

    Args:
        model: on the device that it is trained on.
        fp16_compression: send the gradients as float16.
        kwargs: arguments of ``DistributedDataParallel``.
    """
    if comm.get_world_size() == 1:
        return model
    if any(parameter.is_cuda for parameter in model.parameters()):
        kwargs.setdefault("device_ids", [comm.get_local_rank()])
    ddp = DistributedDataParallel(model, **kwargs)
    if fp16_compression:
        from torch.distributed.algorithms.ddp_comm_hooks import default_hooks

        ddp.register_comm_hook(state=None, hook=default_hooks.fp16_compress_hook)
    return ddp


_EXAMPLES = """
Examples:

On one machine:
    $ {program} --num-gpus 8 --config-file cfg.yaml

With other values for some config keys:
    $ {program} --config-file cfg.yaml MODEL.WEIGHTS weights.pth SOLVER.BASE_LR 0.001

On two machines:
    (machine 0)$ {program} --machine-rank 0 --num-machines 2 --dist-url <URL> [more flags]
    (machine 1)$ {program} --machine-rank 1 --num-machines 2 --dist-url <URL> [more flags]
"""


def default_argument_parser(epilog: str | None = None) -> argparse.ArgumentParser:
    """A parser of the arguments that training scripts share.

    Args:
        epilog: the end of the help text; examples by default.
    """
    parser = argparse.ArgumentParser(
        epilog=epilog or _EXAMPLES.format(program=sys.argv[0]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config-file", default="", metavar="FILE", help="path to the config, a YAML file")
    add(
        "--resume",
        action="store_true",
        help="go on from the last checkpoint in OUTPUT_DIR, if there is one",
    )
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS, do not train")
    add("--num-gpus", type=int, default=1, help="number of GPUs *per machine*")
    add("--num-machines", type=int, default=1, help="number of machines in all")
    add("--machine-rank", type=int, default=0, help="number of this machine, counted from 0")
    # A port for each user, from the range for private use (49152 to 65535): two users of a machine
    # can start a training at the same time.
    user = os.getuid() if hasattr(os, "getuid") else 1
    add(
        "--dist-url",
        default=f"tcp://127.0.0.1:{49152 + user % 16384}",
        help='where the processes meet: tcp://HOST:PORT of machine 0, or "auto" on one machine',
    )
    add(
        "opts",
        nargs=argparse.REMAINDER,
        default=None,
        help="config keys and values, separated by spaces, at the end of the command",
    )
    return parser


def default_setup(cfg: CfgNode, args: argparse.Namespace | Mapping) -> None:
    """Begin a job: output folder, loggers, a record of environment and config, random seeds.

    Writes ``log.txt`` (one more file per further process) and ``config.yaml`` to
    ``cfg.OUTPUT_DIR``.  Also applies ``cfg.SEED`` (negative: a seed that differs every time; each
    process adds its rank), ``cfg.CUDNN_BENCHMARK`` (not with ``--eval-only``) and
    ``cfg.FLOAT32_PRECISION`` (on CUDA).

    Args:
        cfg: the complete config.
        args: the command line; logged, and its ``config_file`` and ``eval_only`` are read, if any.

    Raises:
        ValueError: OUTPUT_DIR is empty, or FLOAT32_PRECISION is none of torch's.
    """
    if not cfg.OUTPUT_DIR:
        raise ValueError("OUTPUT_DIR is empty; it has to name the folder for logs and checkpoints")
    if comm.is_main_process():
        PathManager.mkdirs(cfg.OUTPUT_DIR)
    rank = comm.get_rank()
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fvcore")
    logger = setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank)

    logger.info("Rank of current process: %d. World size: %d", rank, comm.get_world_size())
    logger.info("Environment info:\n%s", collect_env_info())
    logger.info("Command line arguments: %s", args)
    config_file = getattr(args, "config_file", "")
    if config_file:
        with PathManager.open(config_file, "r") as file:
            logger.info("Contents of args.config_file=%s:\n%s", config_file, file.read())
    if comm.is_main_process():
        logger.info("Running with full config:\n%s", cfg.dump())
        path = os.path.join(cfg.OUTPUT_DIR, "config.yaml")
        with PathManager.open(path, "w") as file:
            file.write(cfg.dump())
        logger.info("Full config saved to %s", path)

    seed_all_rng(None if cfg.SEED < 0 else cfg.SEED + rank)
    # Trying out algorithms pays off if sizes repeat, which they rarely do in an evaluation.
    if not getattr(args, "eval_only", False):
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    _set_float32_precision(cfg.FLOAT32_PRECISION)


def _set_float32_precision(precision: str) -> None:
    choices = ("", "highest", "high", "medium")
    if precision not in choices:
        raise ValueError(f"FLOAT32_PRECISION is {precision!r}; it has to be one of {choices}")
    if precision and torch.cuda.is_available():
        torch.set_float32_matmul_precision(precision)
        # The line above affects matrix products only.
        torch.backends.cudnn.allow_tf32 = precision != "highest"


def default_writers(output_dir: str, max_iter: int | None = None) -> list[EventWriter]:
    """Writers to the console, to ``metrics.json`` and to TensorBoard's event files.

    Args:
        output_dir: folder of the files; made if it does not exist.
        max_iter: iterations in all, for the estimated time of arrival.
    """
    PathManager.mkdirs(output_dir)
    return [
        CommonMetricPrinter(max_iter),
        JSONWriter(os.path.join(output_dir, "metrics.json")),
        TensorboardXWriter(output_dir),
    ]
