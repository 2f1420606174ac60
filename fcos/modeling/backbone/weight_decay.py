"""Which parameters of a model of timm are not to be pulled towards 0."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

import torch
from torch import nn

from fcos.modeling.backbone.timm_backbone import TimmBackbone

__all__ = ["parameters_without_decay"]


def parameters_without_decay(model: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that ``no_weight_decay()`` of timm's models names.

    Args:
        model: a detector; one without a backbone of timm has none.
    """
    for part in model.modules():
        if isinstance(part, TimmBackbone):
            patterns = [_flat(pattern) for pattern in _patterns(part.name)]
            for name, parameter in part.net.named_parameters():
                own = _flat(name.removeprefix("model.").removeprefix("body."))
                if any(fnmatch.fnmatch(own, pattern) for pattern in patterns):
                    yield parameter


def _patterns(name: str) -> list[str]:
    """Ask the whole model: the one that gives features renames its parts, or wraps it."""
    import timm

    with torch.device("meta"):
        whole = timm.create_model(name)
    return list(getattr(whole, "no_weight_decay", list)())


def _flat(name: str) -> str:
    # What is layers.0 in the whole model is layers_0 in the one that gives features.
    return name.replace(".", "_")
