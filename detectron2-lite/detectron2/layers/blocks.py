"""The base of backbone blocks."""

from __future__ import annotations

from torch import nn

from detectron2._missing import missing_names
from detectron2.layers.batch_norm import FrozenBatchNorm2d

__all__ = ["CNNBlockBase"]

__getattr__ = missing_names(__name__)


class CNNBlockBase(nn.Module):
    """A block of a convolutional network that says what it does to channels and size.

    Input (N, in_channels, H, W), output (N, out_channels, H / stride, W / stride), rounded up.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.stride = stride

    def freeze(self) -> CNNBlockBase:
        """Stop training this block: no parameter has a gradient, batch norm becomes frozen.

        Returns the block itself, changed in place.
        """
        self.requires_grad_(False)
        FrozenBatchNorm2d.convert_frozen_batchnorm(self)
        return self
