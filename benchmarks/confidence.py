"""Random weights that detect about as much as trained ones do."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["apart", "confident"]


@torch.no_grad()
def confident(layer: nn.Conv2d, logits: Tensor, candidates: int) -> None:
    """Scale and shift class logits so that a few of them come near the threshold.

    Args:
        layer: gave ``logits``; changed in place.
        logits: any shape.
        candidates: how many of them get a probability of at least 0.1.
    """
    best = logits.flatten().topk(min(candidates, logits.numel() // 4)).values
    factor = 1.5 / float(best.std().clamp(min=1e-6))
    assert layer.bias is not None
    layer.weight.mul_(factor)
    layer.bias.mul_(factor).sub_(float(best[-1]) * factor + 2.2)


@torch.no_grad()
def apart(layer: nn.Conv2d, distances: Tensor) -> None:
    """Scale and shift distances, in strides, to boxes of about six strides.

    Args:
        layer: gave ``distances``; changed in place.
        distances: any shape.
    """
    assert layer.bias is not None
    layer.weight.mul_(0.5 / float(distances.std().clamp(min=1e-6)))
    layer.bias.add_(3.0)
