"""Mosaic: four images of the data set in one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional

from fcos.utils.values import is_number

__all__ = ["LabelledImage", "Mosaic"]


@dataclasses.dataclass
class LabelledImage:
    """An image with its objects, as torchvision's transforms take them.

    Attributes:
        image: (3, H, W) uint8, red, green, blue.
        boxes: (G, 4) float32, left, top, right, bottom in pixels.
        masks: (G, H, W) uint8, 0 or 1; None: they are not wanted.
        annotations: of the objects, in detectron2's form; boxes and masks in them are out of date.
    """

    image: tv_tensors.Image
    boxes: tv_tensors.BoundingBoxes
    masks: tv_tensors.Mask | None
    annotations: list[dict[str, Any]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.image.shape[-2], self.image.shape[-1]


class Mosaic:
    """Four images around a point, on a canvas twice as high and wide as the first of them.

    The first image has its lower right corner at the point, the others, clockwise, theirs that
    touches it. Each of the others is resized to fit into the size of the first, its aspect ratio
    kept. What lies outside the canvas is cut off; the canvas is ``fill`` where no image is.

    Source: YOLOv4, arXiv:2004.10934, Sec. 3.3, which has no geometry: this one is ours.

    Args:
        p: probability of a mosaic, and not the image as it is.
        center: the least and the largest x and y of the point, as parts of the canvas.
        fill: a number within [0, 255], or three: red, green, blue.

    Raises:
        ValueError: ``center`` or ``fill`` is out of range.
    """

    def __init__(
        self,
        p: float = 0.5,
        center: Sequence[float] = (0.25, 0.75),
        fill: float | Sequence[float] = 114,
    ) -> None:
        if not _are_numbers(center, 2) or not 0 <= center[0] <= center[1] <= 1:
            raise ValueError("center: expected two numbers within [0, 1], the smaller one first")
        colours = list(fill) if isinstance(fill, Sequence) else [fill]
        are_colours = _are_numbers(colours, 1) or _are_numbers(colours, 3)
        if not are_colours or not all(0 <= value <= 255 for value in colours):
            raise ValueError("fill: expected a number or three within [0, 255]")
        self.p = p
        self.center = tuple(center)
        self.fill = colours

    def __call__(self, first: LabelledImage, draw: Callable[[], LabelledImage]) -> LabelledImage:
        """Return a mosaic, or ``first`` as it is.

        Args:
            first: an image.
            draw: gives another one; called three times for a mosaic.
        """
        if torch.rand(()) >= self.p:
            return first
        low, high = self.center
        x, y = (low + (high - low) * torch.rand(2)).tolist()
        height, width = first.size
        point = round(2 * width * x), round(2 * height * y)
        return self.around(point, [first, *(draw() for _ in range(3))])

    def around(self, point: tuple[int, int], images: Sequence[LabelledImage]) -> LabelledImage:
        """Return the mosaic of four images around a point, x and y in pixels of the canvas."""
        height, width = images[0].size
        canvas = 2 * height, 2 * width
        picture = torch.tensor(self.fill, dtype=torch.uint8).view(-1, 1, 1).repeat(1, *canvas)
        picture = picture.expand(3, *canvas).contiguous()
        boxes, masks, annotations = [], [], []
        for number, one in enumerate(images):
            one = _fitted(one, height, width)
            left = point[0] - (one.size[1] if number in (0, 3) else 0)
            top = point[1] - (one.size[0] if number in (0, 1) else 0)
            _paste(picture, one.image, left, top)
            boxes.append(one.boxes.as_subclass(Tensor) + torch.tensor([left, top, left, top]))
            if one.masks is not None:
                masks.append(torch.zeros(len(one.boxes), *canvas, dtype=torch.uint8))
                _paste(masks[-1], one.masks, left, top)
            annotations += one.annotations
        return LabelledImage(
            tv_tensors.Image(picture),
            tv_tensors.BoundingBoxes(torch.cat(boxes), format="XYXY", canvas_size=canvas),
            tv_tensors.Mask(torch.cat(masks)) if masks else None,
            annotations,
        )


def _are_numbers(values: Any, count: int) -> bool:
    is_sequence = isinstance(values, Sequence) and not isinstance(values, str)
    return is_sequence and len(values) == count and all(map(is_number, values))


def _fitted(one: LabelledImage, height: int, width: int) -> LabelledImage:
    """The image, as large as it can be in ``height`` x ``width`` pixels."""
    scale = min(height / one.size[0], width / one.size[1])
    size = [max(1, round(side * scale)) for side in one.size]
    if tuple(size) == one.size:
        return one
    return LabelledImage(
        functional.resize(one.image, size),
        functional.resize(one.boxes, size),
        None if one.masks is None else functional.resize(one.masks, size),
        one.annotations,
    )


def _paste(canvas: Tensor, tile: Tensor, left: int, top: int) -> None:
    """Write a tile into a canvas, as far as it lies inside; both are (..., H, W)."""
    height, width = canvas.shape[-2:]
    bottom, right = min(top + tile.shape[-2], height), min(left + tile.shape[-1], width)
    rows = slice(max(top, 0), max(bottom, 0))
    columns = slice(max(left, 0), max(right, 0))
    canvas[..., rows, columns] = tile[
        ..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
