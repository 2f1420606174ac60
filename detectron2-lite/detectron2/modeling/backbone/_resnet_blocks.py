"""The stem and the kinds of block that a ResNet is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import CNNBlockBase, Conv2d, DeformConv, ModulatedDeformConv, get_norm

Norm = str | Callable[[int], nn.Module]


def _conv(channels: tuple[int, int], size: int, norm: Norm, *, dilation: int = 1, **kwargs: Any):
    """A convolution (input, output channels) without bias, padded to keep the size at stride 1."""
    return Conv2d(
        *channels,
        size,
        padding=dilation * (size // 2),
        dilation=dilation,
        bias=False,
        norm=get_norm(norm, channels[1]),
        **kwargs,
    )


class _ResidualBlock(CNNBlockBase):
    """``relu(residual(x) + shortcut(x))``; a subclass makes ``shortcut`` first, then its convs."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, norm: Norm):
        super().__init__(in_channels, out_channels, stride)
        self.shortcut: nn.Module | None = None
        if in_channels != out_channels or stride != 1:
            self.shortcut = _conv((in_channels, out_channels), 1, norm, stride=stride)

    def _fill(self, *convs: nn.Module) -> None:
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_msra_fill

        for conv in convs + ((self.shortcut,) if self.shortcut is not None else ()):
            c2_msra_fill(conv)

    def residual(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / stride, W / stride), rounded up."""
        # This order of the sum is also that of the gradients: trainings with detectron2 and with
        # lite are equal to the last bit.
        residual = self.residual(x)
        return F.relu_(residual.add_(x if self.shortcut is None else self.shortcut(x)))


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions, the block of ResNet-18 and 34; the first one has the stride.

    Args:
        in_channels, out_channels: where they differ, the shortcut is a 1x1 convolution.
        stride: input pixels per output pixel.
        norm: as :func:`detectron2.layers.get_norm` takes it.
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1, norm: Norm = "BN"):
        super().__init__(in_channels, out_channels, stride, norm)
        self.conv1 = _conv((in_channels, out_channels), 3, norm, stride=stride)
        self.conv2 = _conv((out_channels, out_channels), 3, norm)
        self._fill(self.conv1, self.conv2)

    def residual(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu_(self.conv1(x)))


class BottleneckBlock(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolutions, the block of ResNet-50, 101, 152 and of ResNeXt.

    Args:
        in_channels, out_channels: where they differ, the shortcut is a 1x1 convolution.
        bottleneck_channels: channels into and out of the 3x3 convolution.
        stride: input pixels per output pixel.
        num_groups: groups of the 3x3 convolution; more than 1 makes it a ResNeXt.
        norm: as :func:`detectron2.layers.get_norm` takes it.
        stride_in_1x1: whether the first 1x1 convolution has the stride (as in the weights of
            MSRA and Caffe2) or the 3x3 one (as in those of torchvision).
        dilation: of the 3x3 convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
    ):
        super().__init__(in_channels, out_channels, stride, norm)
        width = bottleneck_channels
        first, middle = (stride, 1) if stride_in_1x1 else (1, stride)
        self.conv1 = _conv((in_channels, width), 1, norm, stride=first)
        self.conv2 = _conv(
            (width, width), 3, norm, stride=middle, groups=num_groups, dilation=dilation
        )
        self.conv3 = _conv((width, out_channels), 1, norm)
        self._fill(self.conv1, self.conv2, self.conv3)

    def residual(self, x: Tensor) -> Tensor:
        return self.conv3(F.relu_(self.conv2(F.relu_(self.conv1(x)))))


class DeformBottleneckBlock(_ResidualBlock):
    """A bottleneck whose 3x3 convolution is deformable (arXiv:1703.06211, arXiv:1811.11168).

    The offsets come from a convolution of the same input. It starts from zero, where the block
    does what a bottleneck does (modulated: with half the values).

    Args:
        in_channels, out_channels, bottleneck_channels, stride, num_groups, norm, stride_in_1x1,
            dilation: as of :class:`BottleneckBlock`.
        deform_modulated: whether what is looked at is weighted, too.
        deform_num_groups: groups of channels with offsets of their own.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        bottleneck_channels: int,
        stride: int = 1,
        num_groups: int = 1,
        norm: Norm = "BN",
        stride_in_1x1: bool = False,
        dilation: int = 1,
        deform_modulated: bool = False,
        deform_num_groups: int = 1,
    ):
        super().__init__(in_channels, out_channels, stride, norm)
        width = bottleneck_channels
        first, middle = (stride, 1) if stride_in_1x1 else (1, stride)
        self.deform_modulated = deform_modulated
        self.conv1 = _conv((in_channels, width), 1, norm, stride=first)
        where: dict[str, Any] = {"stride": middle, "padding": dilation, "dilation": dilation}
        # dy, dx and perhaps a weight, for each of the nine places.
        numbers = deform_num_groups * 9 * (3 if deform_modulated else 2)
        self.conv2_offset = Conv2d(width, numbers, 3, **where)
        self.conv2 = (ModulatedDeformConv if deform_modulated else DeformConv)(
            width,
            width,
            3,
            groups=num_groups,
            deformable_groups=deform_num_groups,
            bias=False,
            norm=get_norm(norm, width),
            **where,
        )
        self.conv3 = _conv((width, out_channels), 1, norm)
        self._fill(self.conv1, self.conv2, self.conv3)
        nn.init.zeros_(self.conv2_offset.weight)
        nn.init.zeros_(self.conv2_offset.bias)

    def residual(self, x: Tensor) -> Tensor:
        x = F.relu_(self.conv1(x))
        numbers = self.conv2_offset(x)
        if self.deform_modulated:
            offset, weight = numbers.tensor_split([numbers.shape[1] // 3 * 2], dim=1)
            x = self.conv2(x, offset, weight.sigmoid())
        else:
            x = self.conv2(x, numbers)
        return self.conv3(F.relu_(x))


class BasicStem(CNNBlockBase):
    """What comes before the first residual block: a 7x7 convolution and a maximum, stride 4."""

    def __init__(self, in_channels: int = 3, out_channels: int = 64, norm: Norm = "BN"):
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_msra_fill

        super().__init__(in_channels, out_channels, 4)
        self.conv1 = _conv((in_channels, out_channels), 7, norm, stride=2)
        c2_msra_fill(self.conv1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, H / 4, W / 4), rounded up."""
        return F.max_pool2d(F.relu_(self.conv1(x)), kernel_size=3, stride=2, padding=1)
