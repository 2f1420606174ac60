"""Frozen batch normalisation as a part of the convolution in front of it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import Conv2d, FrozenBatchNorm2d

__all__ = ["join_frozen_norms"]


def join_frozen_norms(network: nn.Module) -> None:
    """Let each convolution with a frozen normalisation compute both in one pass, in place.

    The normalisation multiplies each channel and adds to it. The same can be done to the weights:
    they are thousands of numbers, while the features are millions, to be read and written once
    more. Results and gradients are the same up to rounding. Weights, their names and the modules
    that hold them stay, so training and loading go on as before.

    Args:
        network: of detectron2's ``Conv2d`` layers; other layers are left alone.
    """
    for layer in network.modules():
        if type(layer) is Conv2d and isinstance(layer.norm, FrozenBatchNorm2d):
            layer.__class__ = _JoinedConv2d


class _JoinedConv2d(Conv2d):
    """detectron2's convolution, with the frozen normalisation that follows in its weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H', W'): convolved, normalised, activated."""
        norm = self.norm
        if not isinstance(norm, FrozenBatchNorm2d):  # replaced since
            return super().forward(x)
        scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
        shift = norm.bias - norm.running_mean * scale
        if self.bias is not None:
            shift = shift + self.bias * scale
        weight = self.weight * scale.view(-1, 1, 1, 1)
        x = F.conv2d(x, weight, shift, self.stride, self.padding, self.dilation, self.groups)
        return x if self.activation is None else self.activation(x)
