"""torch's layers and functions under detectron2's names, with what these add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing_names

__all__ = [
    "BatchNorm2d",
    "Conv2d",
    "ConvTranspose2d",
    "Linear",
    "cat",
    "cross_entropy",
    "interpolate",
    "move_device_like",
    "nonzero_tuple",
]

__getattr__ = missing_names(__name__)

BatchNorm2d = nn.BatchNorm2d
ConvTranspose2d = nn.ConvTranspose2d
Linear = nn.Linear
interpolate = F.interpolate


class Conv2d(nn.Conv2d):
    """A convolution followed by a norm layer and an activation, both optional."""

    def __init__(
        self,
        *args: Any,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
        **kwargs: Any,
    ):
        """
        Args:
            args: of ``torch.nn.Conv2d``.
            norm: applied to the convolution's output; in the state dict it is called ``norm``.
            activation: applied last, a function or a module.
            kwargs: of ``torch.nn.Conv2d``.
        """
        super().__init__(*args, **kwargs)
        self.norm = norm
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W')."""
        if not torch.jit.is_scripting():
            # Without this check torch hangs, or fails with an unclear message.
            is_empty = x.numel() == 0 and self.training
            assert not (is_empty and isinstance(self.norm, nn.SyncBatchNorm)), (
                "SyncBatchNorm cannot train on an input without elements"
            )
        x = self._conv_forward(x, self.weight, self.bias)
        if self.norm is not None:
            x = self.norm(x)
        if self.activation is not None:
            x = self.activation(x)
        return x


def cat(tensors: list[Tensor], dim: int = 0) -> Tensor:
    """``torch.cat`` of a list or tuple, without a copy if it holds one tensor only."""
    assert isinstance(tensors, (list, tuple)), "cat takes a list or tuple of tensors"
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim)


def nonzero_tuple(x: Tensor) -> tuple[Tensor, ...]:
    """One int64 tensor per dimension of ``x`` (one for a scalar), for indexing ``x``."""
    if x.dim() == 0:
        x = x.unsqueeze(0)
    return x.nonzero().unbind(1) if torch.jit.is_scripting() else x.nonzero(as_tuple=True)


def cross_entropy(
    input: Tensor, target: Tensor, *, reduction: str = "mean", **kwargs: Any
) -> Tensor:
    """``torch.nn.functional.cross_entropy``, whose mean over nothing is 0 here and not NaN.

    Args:
        input: (N, C) logits.
        target: (N,) int64 classes.
        reduction: "mean", "sum" or "none".
        kwargs: of torch's function.
    """
    if target.numel() == 0 and reduction == "mean":
        return input.sum() * 0.0  # with a gradient path
    return F.cross_entropy(input, target, reduction=reduction, **kwargs)


def move_device_like(src: Tensor, dst: Tensor) -> Tensor:
    """``src`` where ``dst`` is."""
    return src.to(dst.device)
