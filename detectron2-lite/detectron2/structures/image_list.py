"""``ImageList``: images of different sizes in one padded tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, device

from detectron2._missing import missing_names

__all__ = ["ImageList"]

__getattr__ = missing_names(__name__)


class ImageList:
    """A batch of images as one tensor, each in the upper left corner of its share.

    Attributes:
        tensor: (N, H, W) or (N, C_1, ..., C_K, H, W), padded on the right and at the bottom.
        image_sizes: N pairs (height, width) of the images without padding, in pixels. While
            being traced, N tensors of two numbers.
    """

    def __init__(self, tensor: Tensor, image_sizes: list[tuple[int, int]]):
        self.tensor = tensor
        self.image_sizes = image_sizes

    def __len__(self) -> int:
        return len(self.image_sizes)

    def __getitem__(self, idx: int) -> Tensor:
        """Image ``idx`` without its padding."""
        height, width = self.image_sizes[idx]
        return self.tensor[idx, ..., :height, :width]

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> ImageList:
        """The batch on another device or of another dtype."""
        return ImageList(self.tensor.to(*args, **kwargs), self.image_sizes)

    @property
    def device(self) -> device:
        """Where the images are."""
        return self.tensor.device

    @staticmethod
    def from_tensors(
        tensors: list[Tensor],
        size_divisibility: int = 0,
        pad_value: float = 0.0,
        padding_constraints: dict[str, int] | None = None,
    ) -> ImageList:
        """Pad images to the largest height and the largest width among them, and stack them.

        Args:
            tensors: images (H_i, W_i) or (C_1, ..., C_K, H_i, W_i), equal up to H_i and W_i.
            size_divisibility: the padded height and width become multiples of this, if above one.
            pad_value: what the padding is filled with.
            padding_constraints: "size_divisibility" takes the place of the argument, if given;
                "square_size" above zero pads to a square of at least that side.

        Raises:
            AssertionError: no image, or images that differ in more than height and width.
        """
        assert len(tensors) > 0, "ImageList.from_tensors needs at least one image"
        for image in tensors:
            assert isinstance(image, Tensor), f"An image must be a tensor, not {type(image)}"
            assert image.shape[:-2] == tensors[0].shape[:-2], (
                f"Images differ in more than height and width: {image.shape}, {tensors[0].shape}"
            )
        square = 0
        if padding_constraints is not None:
            square = max(0, padding_constraints.get("square_size", 0))
            size_divisibility = padding_constraints.get("size_divisibility", size_divisibility)
        height = _padded_side([image.shape[-2] for image in tensors], square, size_divisibility)
        width = _padded_side([image.shape[-1] for image in tensors], square, size_divisibility)

        shape = [len(tensors)] + list(tensors[0].shape[:-2]) + [height, width]
        batch = tensors[0].new_full(shape, pad_value)
        for i, image in enumerate(tensors):
            batch[i, ..., : image.shape[-2], : image.shape[-1]].copy_(image)
        return ImageList(batch, _image_sizes(tensors))


def _padded_side(sides: list[int], square: int, multiple: int) -> int:
    """The height or width to pad to. Under tracing it stays a function of the sides."""
    side = _longest(sides)
    if square > 0:
        assert side <= square, f"An image is {side} pixels long, more than square_size {square}"
        side = square
    if multiple > 1:
        side = (side + multiple - 1) // multiple * multiple
    return side


def _longest(sides: list[int]) -> int:
    if not torch.jit.is_scripting() and torch.jit.is_tracing():
        # As a tensor, the number stays a function of the input.
        return torch.stack([torch.as_tensor(side) for side in sides]).max()  # type: ignore
    return max(sides)


def _image_sizes(tensors: list[Tensor]) -> list[tuple[int, int]]:
    if not torch.jit.is_scripting() and torch.jit.is_tracing():
        sizes = [[torch.as_tensor(side) for side in image.shape[-2:]] for image in tensors]
        return [torch.stack(size) for size in sizes]  # type: ignore
    return [(image.shape[-2], image.shape[-1]) for image in tensors]
