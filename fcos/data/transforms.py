"""The transforms that INPUT.AUGMENTATIONS may name: torchvision's, Mosaic, and what these do.

Others of torchvision.transforms.v2 do not carry boxes along, or not to the right place: with
torchvision 0.26, ElasticTransform fails on boxes at the border, and the boxes of CenterCrop are off
by a pixel where an image is smaller than the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from fcos.data.mosaic import Mosaic

__all__ = [
    "CHOICES",
    "COLOURS",
    "KNOWN",
    "PLACES",
    "SIZES",
    "PixelsOnly",
    "class_of",
    "moves_boxes",
]

COLOURS = (
    "ColorJitter",
    "GaussianBlur",
    "GaussianNoise",
    "JPEG",
    "RandomAdjustSharpness",
    "RandomAutocontrast",
    "RandomChannelPermutation",
    "RandomEqualize",
    "RandomErasing",
    "RandomGrayscale",
    "RandomInvert",
    "RandomPhotometricDistort",
    "RandomPosterize",
    "RandomSolarize",
)
PLACES = (
    "Pad",
    "RandomAffine",
    "RandomCrop",
    "RandomHorizontalFlip",
    "RandomIoUCrop",
    "RandomPerspective",
    "RandomRotation",
    "RandomVerticalFlip",
    "RandomZoomOut",
)
# After one of these, the size that an image has is the one wanted.
SIZES = ("RandomResize", "RandomResizedCrop", "RandomShortestSize", "Resize", "ScaleJitter")
# Of other transforms: their argument "transforms" is such a list again.
CHOICES = ("RandomApply", "RandomChoice")
KNOWN = tuple(sorted((*COLOURS, *PLACES, *SIZES, *CHOICES, "Mosaic")))


class RandomIoUCrop(v2.RandomIoUCrop):
    """torchvision's, but an image without objects stays whole: it would search for ever there."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        boxes = [one for one in flat_inputs if isinstance(one, tv_tensors.BoundingBoxes)]
        return super().make_params(flat_inputs) if len(boxes[0]) else {}


class PixelsOnly(nn.Module):
    """A transform that leaves boxes and masks where they are, and does not get them.

    Args:
        transform: of an image.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, image: torch.Tensor, objects: Any) -> tuple[torch.Tensor, Any]:
        return self.transform(image), objects


def moves_boxes(transforms: Iterable[Any]) -> bool:
    """Return whether one of the transforms may move boxes and masks."""
    return any(
        moves_boxes(one.transforms)
        if type(one).__name__ in CHOICES
        else not isinstance(one, PixelsOnly)
        for one in transforms
    )


def class_of(name: str) -> Callable[..., Any]:
    """Return the class of a known transform."""
    ours = {"Mosaic": Mosaic, "RandomIoUCrop": RandomIoUCrop}
    return ours[name] if name in ours else getattr(v2, name)
