"""Read the config, and get a process and OUTPUT_DIR ready for a training or an evaluation."""

from __future__ import annotations

import argparse
import fnmatch
import logging
import os
from collections.abc import Sequence

import torch
from torch import nn

from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from fcos.checkpoint import detector_cfg
from fcos.checkpoint.last import TAG
from fcos.config import CfgNode, read_cfg
from fcos.config.files import find_config
from fcos.data import register_custom_datasets
from fcos.modeling import TimmBackbone
from fcos.utils import device
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text
from fcos.utils.locks import FolderLock
from fcos.utils.memory import keep_freed_memory
from fcos.utils.terminal import for_people, show_log, write_safely

logger = logging.getLogger(__name__)

__all__ = ["check_output_dir", "class_names", "load_cfg", "setup", "start_without_file"]

_ROOM = "Set OUTPUT_DIR to a folder with room for checkpoints."


def load_cfg(
    config_file: str, options: Sequence[str] = (), *, weights: str = "", is_trained: bool = False
) -> CfgNode:
    """Read the config of the command line, and freeze it.

    Args:
        config_file: path of the YAML file.
        options: ``KEY, VALUE, KEY, VALUE, ...``, which change it.
        weights: instead of MODEL.WEIGHTS.
        is_trained: the weights are those of a trained detector, and without a file have the config.

    Raises:
        UserError: no file is given or it does not exist, or a key or value is wrong.
    """
    if is_trained:
        show_log()
        cfg = detector_cfg(weights, config_file, options)
        cfg.freeze()
        return cfg
    if not config_file:
        raise UserError("Which detector? Give --config-file, such as configs/R_50_1x.yaml.")
    cfg = read_cfg(config_file, options)
    cfg.freeze()
    return cfg


def setup(cfg: CfgNode, args: argparse.Namespace, lock: FolderLock | None = None) -> None:
    """Choose the GPU, register the data sets, make and lock OUTPUT_DIR and start logging there.

    Every process calls this.

    Args:
        cfg: the config; its device exists here.
        args: as ``fcos_cli.train`` parses them; detectron2's ``default_setup`` takes them.
        lock: of OUTPUT_DIR, for the main process to acquire; ``None``: do without.

    Raises:
        UserError: a data set or OUTPUT_DIR cannot be used, or another program is writing there.
    """
    device.make_current(cfg.MODEL.DEVICE)
    keep_freed_memory()
    register_custom_datasets(cfg)
    goes_on = args.resume or args.eval_only

    def claim() -> None:
        check_writable(cfg.OUTPUT_DIR, _ROOM)
        if lock is not None:
            lock.acquire(
                f"Another training or evaluation is writing to OUTPUT_DIR {cfg.OUTPUT_DIR}: wait "
                "for its end, or set OUTPUT_DIR to another folder."
            )
        _check_contents(cfg.OUTPUT_DIR, may_have_checkpoints=goes_on)

    on_main(claim)
    # It writes the file into log.txt; the name may be that of a config that comes with fcos.
    file = find_config(args.config_file) if args.config_file else ""
    rank = comm.get_rank()
    with for_people(rank, everything=args.debug):
        default_setup(cfg, argparse.Namespace(**vars(args) | {"config_file": file}))
        on_main(
            lambda: write_text(
                os.path.join(cfg.OUTPUT_DIR, "config.yaml"), [cfg.dump()], survives_power_loss=False
            )
        )
        setup_logger(cfg.OUTPUT_DIR, distributed_rank=rank, name="fcos", abbrev_name="fcos")
        write_safely()
    logger.info(_where(cfg))


def _where(cfg: CfgNode) -> str:
    """Say on what it runs, and where its files go."""
    wanted, number = torch.device(cfg.MODEL.DEVICE), comm.get_world_size()
    name = torch.cuda.get_device_name() if wanted.type == "cuda" else "the CPU"
    processes = f", {number} processes" if number > 1 else ""
    return (
        f"Running on {name}{processes}. Files go to {cfg.OUTPUT_DIR}: log.txt has what is said "
        "here and the environment, config.yaml the whole config."
    )


def check_output_dir(path: str, may_have_checkpoints: bool) -> None:
    """Make OUTPUT_DIR where it does not exist, and check that a training can write there.

    Args:
        path: the folder.
        may_have_checkpoints: allow checkpoints of an earlier training in the folder.

    Raises:
        UserError: it cannot be written to, or holds another training.
    """
    check_writable(path, _ROOM)
    _check_contents(path, may_have_checkpoints)


def _check_contents(path: str, may_have_checkpoints: bool) -> None:
    _check_links(path)
    if not may_have_checkpoints and os.path.exists(os.path.join(path, TAG)):
        raise UserError(
            f"OUTPUT_DIR {path} has the checkpoints of an earlier training, which a new one would "
            "overwrite; add --resume to go on with it, or set OUTPUT_DIR to another folder."
        )


# What is added to, or written by detectron2 itself, and so would go where a link leads to.
_THROUGH_LINKS = ("config.yaml", "datasets", "inference*", "log.txt*", "metrics.json")


def _check_links(path: str) -> None:
    for name in os.listdir(path):
        place = os.path.join(path, name)
        if os.path.islink(place) and any(fnmatch.fnmatch(name, kind) for kind in _THROUGH_LINKS):
            raise UserError(
                f"{place} is a link, so that a training would write outside of OUTPUT_DIR: remove "
                "the link. (OUTPUT_DIR itself may be one.)"
            )


def class_names(cfg: CfgNode) -> list[str]:
    """Return the names of the classes of the training data, in the order of the outputs."""
    if not cfg.DATASETS.TRAIN:
        return []
    return list(MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes", []))


def start_without_file(model: nn.Module) -> str:
    """Return a sentence on what a training without MODEL.WEIGHTS starts from."""
    number = sum(p.numel() for p in model.parameters())
    for part in model.modules():
        if isinstance(part, TimmBackbone) and part.is_pretrained:
            rest = number - sum(p.numel() for p in part.parameters())
            return f"Backbone from timm's {part.name}; {rest:,} parameters start at random."
    return f"MODEL.WEIGHTS is empty: all {number:,} parameters start at random."
