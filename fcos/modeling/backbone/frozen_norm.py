"""Frozen batch normalisation as a part of the convolution in front of it."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import Conv2d, FrozenBatchNorm2d

__all__ = ["join_frozen_norms"]


def join_frozen_norms(network: nn.Module) -> None:
    """Let each convolution with a frozen normalisation compute both in one pass, in place.

    The normalisation multiplies each channel and adds to it, which can as well be done to the
    weights: they are thousands, where the features are millions, to be read and written once more.
    Results and gradients are the same up to rounding. Weights, their names and the modules that
    hold them stay as they are, so training goes on as ever.

    Args:
        network: of detectron2's ``Conv2d`` layers; other layers are left alone.
    """
    for layer in network.modules():
        if type(layer) is Conv2d and isinstance(layer.norm, FrozenBatchNorm2d):
            # A method of the layer, so that a copy of the layer computes with its own weights.
            layer.forward = MethodType(_convolve, layer)


def _convolve(layer: Any, x: Tensor) -> Tensor:
    """(N, in_channels, H, W) to (N, out_channels, H', W'): convolved, normalised, activated."""
    norm = layer.norm
    if not isinstance(norm, FrozenBatchNorm2d):  # replaced since
        return type(layer).forward(layer, x)
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    if layer.bias is not None:
        shift = shift + layer.bias * scale
    weight = layer.weight * scale.view(-1, 1, 1, 1)
    x = F.conv2d(x, weight, shift, layer.stride, layer.padding, layer.dilation, layer.groups)
    return x if layer.activation is None else layer.activation(x)
