"""A 3x3 convolution whose weight gradient is quick on the CPU too, on large maps."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

__all__ = ["Conv3x3"]

# Locations in a band. oneDNN's kernel for the gradient of the weight takes a third more time on a
# channels_last map of 2 x 100 x 136 as a whole than on bands of this size.
_BAND = 6000


class Conv3x3(nn.Conv2d):
    """A convolution that keeps the size of the map: kernel 3x3, stride 1, padding 1.

    Results and gradients are those of ``nn.Conv2d`` up to rounding. On the CPU, the gradient of
    the weight is a sum over bands of rows where a float32 channels_last map is large.

    Args:
        in_channels: of the input.
        out_channels: of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H, W)."""
        if self.weight.requires_grad and torch.is_grad_enabled() and _is_slow_as_a_whole(x):
            return _BandedConv.apply(x, self.weight, self.bias)
        return super().forward(x)


def _is_slow_as_a_whole(x: Tensor) -> bool:
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and x.shape[2] * x.shape[3] > _BAND
        and x.is_contiguous(memory_format=torch.channels_last)
    )


class _BandedConv(torch.autograd.Function):
    """The convolution; its backward differs from torch's in the weight's gradient alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Convolve as ``F.conv2d`` does with padding 1.

        Args:
            ctx: keeps what the backward needs.
            x: (N, in_channels, H, W) float32, channels_last.
            weight: (out_channels, in_channels, 3, 3) float32.
            bias: (out_channels,) float32.

        Returns:
            (N, out_channels, H, W).
        """
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients of the inputs.

        Args:
            ctx: of the forward.
            grad: (N, out_channels, H, W), the gradient of its result.

        Returns:
            Those of ``x``, ``weight`` and ``bias``; ``None`` where nobody needs them.
        """
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        of_x, _, of_bias = ctx.needs_input_grad
        return (
            F.conv_transpose2d(grad, weight, padding=1) if of_x else None,
            _weight_gradient(x, weight.shape, grad),
            grad.sum((0, 2, 3)) if of_bias else None,
        )


def _weight_gradient(x: Tensor, shape: torch.Size, grad: Tensor) -> Tensor:
    """Sum over bands of rows; each band of ``x`` has a row more on either side."""
    height, width = x.shape[2:]
    rows = math.ceil(height / math.ceil(height * width / _BAND))
    total = x.new_zeros(shape).contiguous(memory_format=torch.channels_last)
    # A band of one image is a stretch of memory, of several images it would have to be copied.
    for image, grad_image in zip(x.split(1), grad.split(1), strict=True):
        for top in range(0, height, rows):
            bottom = min(top + rows, height)
            band = image[:, :, max(top - 1, 0) : bottom + 1]
            if top == 0 or bottom == height:
                band = F.pad(band, (0, 0, int(top == 0), int(bottom == height)))
            total += conv2d_weight(band, shape, grad_image[:, :, top:bottom], padding=(0, 1))
    return total
