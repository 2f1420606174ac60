"""Deformable convolutions (arXiv:1703.06211, arXiv:1811.11168), by torchvision's operator.

Where a convolution looks at a grid of input cells, a deformable one looks at that grid moved by
offsets, which come with the input.  Offsets are in cells of the input, dy before dx for each cell
of the kernel, row by row, and for one group of channels after the other.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from detectron2._missing import missing_names

__all__ = ["DeformConv", "ModulatedDeformConv"]

__getattr__ = missing_names(__name__)

_Size = int | tuple[int, int]


class _DeformableConv(nn.Module):
    """Common base of the two kinds; a subclass defines ``forward``."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size,
        padding: _Size,
        dilation: _Size,
        groups: int,
        deformable_groups: int,
        bias: bool,
        norm: nn.Module | None,
        activation: Callable[[Tensor], Tensor] | None,
    ):
        super().__init__()
        name = type(self).__name__
        for what, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            # Otherwise torch fails at the first input, with a less clear message.
            assert channels % groups == 0, (
                f"{name}: {what}, {channels}, must be a multiple of groups, {groups}"
            )
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _pair(kernel_size)
        self.stride, self.padding = _pair(stride), _pair(padding)
        self.dilation = _pair(dilation)
        self.groups, self.deformable_groups = groups, deformable_groups
        self.norm, self.activation = norm, activation
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def _convolve(self, x: Tensor, offset: Tensor, mask: Tensor | None) -> Tensor:
        # Imported here, because torchvision takes as long to import as torch.
        from torchvision.ops import deform_conv2d

        # In the weight's type under autocast too: the operator needs all inputs in one type, and
        # has no half precision on the CPU.
        wide = self.weight.dtype
        out = deform_conv2d(
            x.to(wide),
            offset.to(wide),
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            mask=None if mask is None else mask.to(wide),
        ).to(x.dtype)
        if self.norm is not None:
            out = self.norm(out)
        return out if self.activation is None else self.activation(out)

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, groups={self.groups}, "
            f"deformable_groups={self.deformable_groups}, bias={self.bias is not None}"
        )


class DeformConv(_DeformableConv):
    """A convolution that looks where its offsets point, followed by a norm and an activation."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size = 0,
        dilation: _Size = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = False,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        """
        Args:
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups: as of
                ``torch.nn.Conv2d``.
            deformable_groups: groups of input channels, each with offsets of its own.
            bias: there is none; must be False.
            norm, activation: as of ``detectron2.layers.Conv2d``.
        """
        assert not bias, "DeformConv has no bias: use a norm, or ModulatedDeformConv"
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            False,
            norm,
            activation,
        )

    def forward(self, x: Tensor, offset: Tensor) -> Tensor:
        """
        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * deformable_groups * kernel_h * kernel_w, H', W').

        Returns:
            (N, out_channels, H', W'), the size that ``torch.nn.Conv2d`` gives.
        """
        return self._convolve(x, offset, None)


class ModulatedDeformConv(_DeformableConv):
    """As :class:`DeformConv`, with a weight for each place that is looked at."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: _Size,
        stride: _Size = 1,
        padding: _Size = 0,
        dilation: _Size = 1,
        groups: int = 1,
        deformable_groups: int = 1,
        bias: bool = True,
        norm: nn.Module | None = None,
        activation: Callable[[Tensor], Tensor] | None = None,
    ):
        """
        Args:
            bias: whether a bias is learnt; it starts from zero.
            others: as of :class:`DeformConv`.
        """
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            groups,
            deformable_groups,
            bias,
            norm,
            activation,
        )
        # Kept as given, as detectron2 does.
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor) -> Tensor:
        """
        Args:
            x: (N, in_channels, H, W).
            offset: (N, 2 * deformable_groups * kernel_h * kernel_w, H', W').
            mask: (N, deformable_groups * kernel_h * kernel_w, H', W'), usually in [0, 1]: what is
                looked at is multiplied by it.

        Returns:
            (N, out_channels, H', W'), the size that ``torch.nn.Conv2d`` gives.
        """
        return self._convolve(x, offset, mask)
