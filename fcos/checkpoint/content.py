"""The weights in what a file holds, in whichever of the usual forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fcos.utils.errors import UserError, short
from fcos.utils.values import is_name

__all__ = ["as_checkpoint", "without_prefix"]

_REPEATED = 2**30  # bytes, more than the weights of any layer have


def as_checkpoint(content: Any, path: str) -> dict[str, Any]:
    """Return what a file held with its weights under "model".

    Args:
        content: of the file.
        path: of the file, for messages.

    Raises:
        UserError: there are no weights in it, or names that would upset a terminal.
    """
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not a mapping of weights.")
    if isinstance(content.get("model"), dict):
        checkpoint = dict(content)
    elif isinstance(content.get("state_dict"), dict):
        checkpoint = {k: v for k, v in content.items() if k != "state_dict"}
        checkpoint["model"] = content["state_dict"]
    else:
        weights = content["blobs"] if isinstance(content.get("blobs"), dict) else content
        checkpoint = {"model": weights}
        # Caffe2's names (res2_0_branch1_w) have no dots, those of torch modules do.
        if weights and not any("." in str(name) for name in weights):
            checkpoint["model"] = {
                k: v for k, v in weights.items() if not str(k).endswith("_momentum")
            }
            checkpoint.update(__author__="Caffe2", matching_heuristics=True)
    _check_weights(checkpoint["model"], path)
    _check_tensors(checkpoint, path)
    names = checkpoint.get("class_names", [])
    if not isinstance(names, (list, tuple)) or not all(map(is_name, names)):
        raise UserError(f"{path}: the entry 'class_names' is no list of names.")
    return checkpoint


def without_prefix(weights: dict[str, Any], prefix: str = "module.") -> dict[str, Any]:
    """Remove the prefix that DistributedDataParallel puts on all names."""
    if weights and all(str(name).startswith(prefix) for name in weights):
        return {name[len(prefix) :]: value for name, value in weights.items()}
    return weights


def _check_weights(weights: dict, path: str) -> None:
    if not weights:
        raise UserError(f"{path} holds no weights: its mapping is empty.")
    for name, value in weights.items():
        shown = short(repr(name))
        if isinstance(name, str) and not name.isprintable():
            raise UserError(f"{path} has a weight called {shown}, which no program names so.")
        if not isinstance(name, str) or not isinstance(value, (torch.Tensor, np.ndarray)):
            raise UserError(
                f"{path} holds no weights: its entry {shown} is a {type(value).__name__}, "
                "not a tensor."
            )
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
            raise UserError(f"{path}: the entry {shown} is an array of {value.dtype}.")


def _check_tensors(checkpoint: dict[str, Any], path: str) -> None:
    """Refuse tensors, wherever they are in a file, that stand for more numbers than it holds."""
    waiting: list[tuple[str, Any]] = list(checkpoint.items())
    seen: set[int] = set()
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, (dict, list, tuple)):
            if id(value) not in seen:
                seen.add(id(value))
                inside = value.items() if isinstance(value, dict) else enumerate(value)
                waiting += [(str(key), inner) for key, inner in inside]
        elif isinstance(value, torch.Tensor) and (problem := _problem_of_tensor(value)):
            raise UserError(f"{path}: the entry {name!r} is {problem}: save the whole tensor.")


def _problem_of_tensor(value: torch.Tensor) -> str:
    if value.is_meta:
        return "a tensor of the device 'meta', which has a shape and no values"
    if value.layout != torch.strided or value.is_quantized:
        return f"a tensor of the layout {value.layout} and the type {value.dtype}"
    needed, there = value.numel() * value.element_size(), value.untyped_storage().nbytes()
    if needed > there + _REPEATED:
        return f"a tensor of {value.numel():,} values, which repeats few"
    return ""
