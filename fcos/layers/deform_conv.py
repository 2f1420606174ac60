"""Deformable convolution on torchvision's operator: v1 (arXiv:1703.06211), v2 (arXiv:1811.11168).

Letters: N images, H and W rows and columns, K places in the kernel, D groups of input channels that
have offsets of their own.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fcos.layers.init import normal_init
from fcos.layers.precision import at_least_float32

_GEOMETRY = ("stride", "padding", "dilation")


def num_offset_channels(kernel_size: tuple[int, int], modulated: bool, num_groups: int = 1) -> int:
    """Count the numbers that steer one output location of a deformable convolution.

    Args:
        kernel_size: rows and columns of the kernel; their product is K.
        modulated: v2, where each place of the kernel has a weight beside its offset in y and x.
        num_groups: D.

    Returns:
        3 * D * K with ``modulated``, else 2 * D * K.
    """
    return (3 if modulated else 2) * num_groups * kernel_size[0] * kernel_size[1]


def split_offsets(raw: Tensor, modulated: bool) -> tuple[Tensor, Tensor | None]:
    """Split the output of the convolution that predicts offsets and weights.

    Args:
        raw: (N, 3 * D * K, H, W) float with ``modulated``, else (N, 2 * D * K, H, W).
        modulated: v2; the last third of ``raw`` are logits of the weights.

    Returns:
        offset: (N, 2 * D * K, H, W), y and x of one place after the other, in cells of the input.
        mask: (N, D * K, H, W) in [0, 1]; ``None`` without ``modulated``.

    Raises:
        ValueError: the channels cannot be split so.
    """
    parts = 3 if modulated else 2
    if raw.dim() != 4 or raw.shape[1] % parts:
        raise ValueError(f"raw: expected (N, a multiple of {parts}, H, W), got {tuple(raw.shape)}")
    if not modulated:
        return raw, None
    num_weights = raw.shape[1] // 3
    offset, logits = raw.split((2 * num_weights, num_weights), dim=1)
    return offset, logits.sigmoid()


class DeformConv(nn.Module):
    """A convolution whose kernel reaches to given offsets, followed by an optional normalisation.

    Args:
        like: a convolution; its channels, kernel size, stride, padding, dilation and groups are
            taken over, and its parameters and normalisation are used, not copied.
    """

    def __init__(self, like: nn.Conv2d) -> None:
        super().__init__()
        self.kernel_size: tuple[int, ...] = like.kernel_size
        self.stride: tuple[int, ...] = like.stride
        self.padding = like.padding
        self.dilation: tuple[int, ...] = like.dilation
        self.weight = like.weight
        self.bias = like.bias
        self.norm = getattr(like, "norm", None)

    def forward(self, x: Tensor, offset: Tensor, mask: Tensor | None = None) -> Tensor:
        """Convolve ``x``, (N, channels, H', W'), to (N, out_channels, H, W).

        Args:
            x: (N, channels, H', W') float.
            offset: (N, 2 * D * K, H, W) float, see :func:`split_offsets`.
            mask: (N, D * K, H, W) float; ``None`` weights every place by 1.

        Returns:
            (N, out_channels, H, W), in the type of ``x``.
        """
        # Imported here, because torchvision takes as long to import as torch.
        from torchvision.ops import deform_conv2d

        # Offsets are coordinates: half precision would round them to quarters of a cell and more,
        # and the operator has no bfloat16 on the CPU.
        out = deform_conv2d(
            *(at_least_float32(value) for value in (x, offset, self.weight)),
            None if self.bias is None else at_least_float32(self.bias),
            self.stride,
            self.padding,
            self.dilation,
            None if mask is None else at_least_float32(mask),
        ).to(x.dtype)
        return out if self.norm is None else self.norm(out)


class DeformConvLayer(nn.Module):
    """A 3x3 deformable convolution that predicts its own offsets.

    The offsets start at 0, so training starts from a plain convolution (halved with ``modulated``,
    whose weights start at sigmoid(0), as in arXiv:1811.11168).

    Args:
        channels: of input and output.
        modulated: v2 instead of v1.
    """

    def __init__(self, channels: int, modulated: bool = True) -> None:
        super().__init__()
        self.modulated = modulated
        num_numbers = num_offset_channels((3, 3), modulated)
        self.offset = nn.Conv2d(channels, num_numbers, 3, padding=1)
        self.conv = DeformConv(nn.Conv2d(channels, channels, 3, padding=1))
        normal_init(self.offset, std=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) to the same shape."""
        return self.conv(x, *split_offsets(self.offset(x), self.modulated))


def as_deformable(conv: nn.Conv2d, modulated: bool, num_groups: int) -> tuple[nn.Module, nn.Module]:
    """Make the two modules that replace a convolution by a deformable one.

    Args:
        conv: the convolution; its parameters and normalisation go on in the second module.
        modulated: v2 instead of v1.
        num_groups: D; it divides the input channels.

    Returns:
        The convolution that predicts the offsets, filled with 0, and the deformable one.

    Raises:
        ValueError: ``num_groups`` does not divide the input channels.
    """
    if num_groups < 1 or conv.in_channels % num_groups:
        raise ValueError(
            f"num_groups: expected a divisor of the {conv.in_channels} channels, got {num_groups}"
        )
    rows, columns = conv.kernel_size
    num_numbers = num_offset_channels((rows, columns), modulated, num_groups)
    geometry: dict[str, Any] = {key: getattr(conv, key) for key in _GEOMETRY}
    predictor = nn.Conv2d(conv.in_channels, num_numbers, (rows, columns), **geometry)
    normal_init(predictor, std=0.0)
    return predictor, DeformConv(conv)
