"""Weights under other names: Caffe2's ImageNet models, and names that lack a prefix."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

from detectron2._missing import missing_names

__all__ = ["align_and_update_state_dicts"]

__getattr__ = missing_names(__name__)

# The last part of a Caffe2 name, after an underscore, and what it is here.
_TERMS = {
    "w": "weight",
    "b": "bias",
    "bn_s": "norm.weight",
    "bn_b": "norm.bias",
    "bn_gamma": "norm.weight",
    "bn_beta": "norm.bias",
    "bn_rm": "norm.running_mean",
    "bn_riv": "norm.running_var",
    "bn_running_mean": "norm.running_mean",
    "bn_running_var": "norm.running_var",
    "gn_s": "norm.weight",
    "gn_b": "norm.bias",
}
_NAME = re.compile(rf"(?P<layer>\w+?)_(?P<term>{'|'.join(_TERMS)})")
_BLOCK = re.compile(r"res(?P<stage>\d+)_(?P<block>\d+)_branch(?P<branch>1|2a|2b|2c)")
_BRANCHES = {"1": "shortcut", "2a": "conv1", "2b": "conv2", "2c": "conv3"}
_LAYERS = {"conv1": "stem.conv1", "res_conv1": "stem.conv1", "pred": "linear"}


def _from_caffe2(name: str) -> str:
    """``res2_0_branch2a_bn_s`` is ``res2.0.conv1.norm.weight``; other names stay."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        return name
    layer = parts["layer"]
    block = _BLOCK.fullmatch(layer)
    if block is not None:
        layer = f"res{block['stage']}.{block['block']}.{_BRANCHES[block['branch']]}"
    else:
        layer = _LAYERS.get(layer, layer.replace("_", "."))
    return f"{layer}.{_TERMS[parts['term']]}"


def align_and_update_state_dicts(
    model_state_dict: Mapping[str, Any],
    ckpt_state_dict: Mapping[str, Any],
    c2_conversion: bool = True,
) -> dict[str, Any]:
    """The checkpoint's weights under the names that the model has for them.

    A weight belongs to the name in the model that is its own name, or ends in it after a dot:
    ``res2.0.conv1.weight`` to ``backbone.bottom_up.res2.0.conv1.weight``.  Of several such weights
    the one of the longest name belongs there.

    Args:
        model_state_dict: name to tensor, of the model.
        ckpt_state_dict: name to tensor or array, of the checkpoint.
        c2_conversion: whether the checkpoint has Caffe2's names, as ``res2_0_branch2a_w``.

    Returns:
        Every weight of the checkpoint; one that belongs nowhere, or whose shape differs, under
        the name it had.

    Raises:
        ValueError: a weight belongs to two names in the model.
    """
    logger = logging.getLogger(__name__)
    weights = dict(ckpt_state_dict)
    if c2_conversion:
        logger.info("Renaming Caffe2 weights")
        weights = {_from_caffe2(name): value for name, value in weights.items()}
        assert len(weights) == len(ckpt_state_dict), "two Caffe2 names mean the same weight"

    new_names: dict[str, str] = {}
    for model_name, parameter in model_state_dict.items():
        name = _longest_ending(model_name, weights)
        if name is None:
            continue
        if tuple(weights[name].shape) != tuple(parameter.shape):
            logger.warning(
                "'%s' is not loaded: its shape is %s in the checkpoint, that of '%s' in the model "
                "is %s",
                name,
                tuple(weights[name].shape),
                model_name,
                tuple(parameter.shape),
            )
            continue
        if name in new_names:
            raise ValueError(
                f"'{name}' in the checkpoint may be '{new_names[name]}' or '{model_name}' in the "
                "model; rename it in the checkpoint"
            )
        new_names[name] = model_name

    report = logger.info if new_names else logger.warning
    report("%d of %d weights in the checkpoint match the model", len(new_names), len(weights))
    return {new_names.get(name, name): value for name, value in weights.items()}


def _longest_ending(model_name: str, names: Mapping[str, Any]) -> str | None:
    """Return the longest of ``names`` that equals the last dotted parts of ``model_name``."""
    parts = model_name.split(".")
    endings = (".".join(parts[first:]) for first in range(len(parts)))
    return next((ending for ending in endings if ending in names), None)
