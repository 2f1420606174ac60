"""From command-line arguments to a config that is known to be usable, and a log to write to."""

from __future__ import annotations

import argparse
import os
import tempfile

from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from fcos.config import CfgNode, read_cfg
from fcos.data import register_custom_datasets
from fcos.engine.loop import check_precision
from fcos.utils import device
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError
from fcos.utils.memory import keep_freed_memory

__all__ = ["check_device", "check_output_dir", "load_cfg", "setup"]


def setup(args: argparse.Namespace) -> CfgNode:
    """Build the config, register its data sets, make OUTPUT_DIR and start the log there.

    Every process calls this.

    Args:
        args: as ``train_net.py`` parses them.

    Returns:
        The config, frozen.

    Raises:
        UserError: the config, the device or OUTPUT_DIR cannot be used.
    """
    cfg = load_cfg(args)
    check_device(cfg)
    device.make_current(cfg.MODEL.DEVICE)
    keep_freed_memory()
    register_custom_datasets(cfg)
    goes_on = args.resume or args.eval_only
    on_main(lambda: check_output_dir(cfg.OUTPUT_DIR, may_have_checkpoints=goes_on))
    default_setup(cfg, args)
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="fcos", abbrev_name="fcos")
    return cfg


def load_cfg(args: argparse.Namespace) -> CfgNode:
    """The frozen config of ``--config-file`` and the KEY VALUE pairs behind the options.

    Raises:
        UserError: there is no such file, or something in it or on the command line is wrong.
    """
    if not args.config_file:
        raise UserError("Which detector? Give --config-file, such as configs/R_50_1x.yaml.")
    cfg = read_cfg(args.config_file, args.opts)
    cfg.freeze()
    return cfg


def check_device(cfg: CfgNode) -> None:
    """Refuse a device that this machine lacks.

    Raises:
        UserError: MODEL.DEVICE is no device, or a GPU and there is none; or SOLVER.AMP.PRECISION
            is none that it has.
    """
    device.check_device(cfg.MODEL.DEVICE)
    if cfg.SOLVER.AMP.ENABLED:
        check_precision(cfg.SOLVER.AMP.PRECISION, cfg.MODEL.DEVICE)


def check_output_dir(path: str, may_have_checkpoints: bool) -> None:
    """Make OUTPUT_DIR where it does not exist, and see that something can be written there.

    Args:
        path: the folder.
        may_have_checkpoints: whether checkpoints of an earlier training are expected. If they are
            not, a folder that has some is refused rather than written over.

    Raises:
        UserError: it cannot be written to, or holds another training.
    """
    try:
        os.makedirs(path, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(b"\0" * 2**16)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"OUTPUT_DIR {path} cannot be written to: {error.strerror}; set OUTPUT_DIR to a folder "
            "that can, with room for checkpoints."
        ) from None
    if not may_have_checkpoints and os.path.exists(os.path.join(path, "last_checkpoint")):
        raise UserError(
            f"OUTPUT_DIR {path} has the checkpoints of an earlier training, which a new one would "
            "write over; add --resume to go on with it, or set OUTPUT_DIR to another folder."
        )
