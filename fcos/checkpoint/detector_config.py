"""The config of a detector: the file that the user names, or what its weights bring along."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from fcos.checkpoint.architecture import architecture_of, fitting_configs
from fcos.checkpoint.importers import recognise
from fcos.checkpoint.reading import read_checkpoint
from fcos.checkpoint.stored_config import cfg_in
from fcos.checkpoint.zoo import published
from fcos.config import CfgNode, read_cfg
from fcos.config.keys import check_keys
from fcos.utils.device import device_here
from fcos.utils.errors import UserError

__all__ = ["cfg_of_weights", "detector_cfg", "weights_file"]

logger = logging.getLogger(__name__)

_OF_A_TRAINING = ("model_best.pth", "model_final.pth")


def detector_cfg(
    weights: str = "", config_file: str | None = None, options: Sequence[str] = ()
) -> CfgNode:
    """Read the config of a detector with its weights.

    Args:
        weights: file, address, name of a published model or the OUTPUT_DIR of a training; "":
            MODEL.WEIGHTS of the rest.
        config_file: path of the YAML file; without one, see :func:`cfg_of_weights`.
        options: ``KEY, VALUE, KEY, VALUE, ...``, which change the config.

    Returns:
        The config, not frozen.

    Raises:
        UserError: something cannot be read, or there is no config.
    """
    named = dict(zip(options[0::2], options[1::2], strict=False)).get("MODEL.WEIGHTS", "")
    if weights and named:
        raise UserError(f"The weights are named twice, {weights} and MODEL.WEIGHTS {named}.")
    if config_file:
        cfg = read_cfg(config_file, options)
    else:
        if not weights and not named:
            raise UserError(
                "Which detector? Name its trained weights, such as output/my_data/model_best.pth, "
                "or give --config-file, such as configs/R_50_1x.yaml."
            )
        cfg = cfg_of_weights(weights_file(weights or named))
        cfg.merge_from_list(list(options))
        check_keys(cfg)
    if weights or named:
        cfg.MODEL.WEIGHTS = weights_file(weights or named)
    return cfg


def weights_file(path: str) -> str:
    """Return the weights that a path means: of the OUTPUT_DIR of a training, the best or the last.

    Raises:
        UserError: it is a folder without checkpoints.
    """
    if not os.path.isdir(path):
        return path
    there = [name for name in _OF_A_TRAINING if os.path.isfile(os.path.join(path, name))]
    if not there:
        raise UserError(
            f"{path} is a folder with neither {' nor '.join(_OF_A_TRAINING)}: name the checkpoint."
        )
    return os.path.join(path, there[0])


def cfg_of_weights(path: str) -> CfgNode:
    """Find the config of weights: in the file, beside it as a training writes it, or by its shapes.

    Only what the detector is follows from it: the folder of the results is below the current one,
    and without the GPU of the training the CPU is used.

    Args:
        path: file, address or the name of a published model.

    Raises:
        UserError: the file cannot be read, or there is no config or more than one.
    """
    model = published(path)
    cfg = read_cfg(model.config) if model else _cfg_with(path)
    cfg.MODEL.WEIGHTS = path
    _bring_here(cfg)
    return cfg


def _cfg_with(path: str) -> CfgNode:
    checkpoint = read_checkpoint(path)
    cfg, beside = cfg_in(checkpoint, path), os.path.join(os.path.dirname(path), "config.yaml")
    if cfg is not None:
        logger.info(f"The config is the one in {path}.")
        return cfg
    if os.path.isfile(path) and os.path.isfile(beside):
        logger.info(f"The config is {beside}.")
        return read_cfg(beside)
    fitting = _by_its_shapes(checkpoint["model"], path)
    logger.info(f"{path} has no config; of those that come with fcos, {fitting} fits it.")
    return read_cfg(fitting)


def _by_its_shapes(weights: dict, path: str) -> str:
    family = recognise(weights)
    fitting: list[str] = []
    if family is not None:
        fitting = fitting_configs(family.name, architecture_of(family.to_ours(weights).weights))
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UserError(
            f"{path} carries no config, and several fit it, which detect other things: give "
            f"--config-file, the one that it was trained with, such as {' or '.join(fitting[:3])}."
        )
    raise UserError(
        f"{path} carries no config: give --config-file, the one that it was trained with. fcos "
        f"checkpoint inspect {path} tells what is in it."
    )


def _bring_here(cfg: CfgNode) -> None:
    """Leave out what was true of the machine of the training."""
    folder = Path(cfg.OUTPUT_DIR)
    if folder.is_absolute() or ".." in folder.parts:
        cfg.OUTPUT_DIR = os.path.join(".", "output")
    device = device_here(cfg.MODEL.DEVICE)
    if device != cfg.MODEL.DEVICE:
        logger.info(f"MODEL.DEVICE is {device}: torch finds no {cfg.MODEL.DEVICE} here.")
        cfg.MODEL.DEVICE = device
        cfg.SOLVER.AMP.ENABLED = False  # a matter of training
