"""The weights in what a file holds, in whichever of the usual forms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from fcos.utils.errors import UserError

__all__ = ["as_checkpoint", "without_prefix"]


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
        if isinstance(name, str) and not name.isprintable():
            raise UserError(f"{path} has a weight called {name!r}, which no program names so.")
        if not isinstance(name, str) or not isinstance(value, (torch.Tensor, np.ndarray)):
            raise UserError(
                f"{path} holds no weights: its entry {name!r} is a {type(value).__name__}, "
                "not a tensor."
            )
        if isinstance(value, np.ndarray) and value.dtype.kind not in "biuf":
            raise UserError(f"{path}: the entry {name!r} is an array of {value.dtype}.")
