"""Inputs: boxes, what a head might say of them, and pictures. All from seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["STRIDES", "Outputs", "Truth", "feature_sizes", "outputs", "pictures", "truths"]

STRIDES = (8, 16, 32, 64, 128)
LIMITS = (0.0, 64.0, 128.0, 256.0, 512.0, math.inf)
NUM_CLASSES = 80
Size = tuple[int, int]


class Truth(NamedTuple):
    """What is in an image: boxes (G, 4), x1, y1, x2, y2 in pixels, and classes (G,) int64."""

    boxes: Tensor
    classes: Tensor


class Outputs(NamedTuple):
    """What a head says of N images, before any activation, finest level first.

    Per level (N, 80, H, W) class logits, (N, 4, H, W) distances in strides, (N, 1, H, W)
    centerness logits.
    """

    cls: list[Tensor]
    reg: list[Tensor]
    ctr: list[Tensor]

    def flat(self) -> tuple[Tensor, Tensor, Tensor]:
        """(N, L, 80), (N, L, 4) and (N, L): levels in order, each row by row."""
        cls, reg, ctr = (
            torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1).contiguous()
            for levels in self
        )
        return cls, reg, ctr[..., 0]


def count(images: int) -> str:
    """ "1 image", "2 images"."""
    return f"{images} image{'s' * (images != 1)}"


def padded(size: Size) -> Size:
    """Height and width as the network sees them: multiples of 32."""
    height, width = (-(-side // 32) * 32 for side in size)
    return height, width


def feature_sizes(size: Size) -> list[Size]:
    """Rows and columns of P3 to P7 for an image of this height and width."""
    rows, columns = (side // 8 for side in padded(size))
    sizes = []
    for _ in STRIDES:
        sizes.append((rows, columns))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return sizes


def truths(images: int, boxes: int, size: Size, seed: int = 0) -> list[Truth]:
    """Boxes of all sizes, small ones more often.

    The areas of two boxes of an image are at least 16 square pixels apart: torchvision and
    detectron2 subtract them from 1e8 in float32 and cannot tell nearer ones apart, so that the
    order of the list would decide.
    """
    generator = torch.Generator().manual_seed(seed)
    return [_truth(boxes, size, generator) for _ in range(images)]


def _truth(number: int, size: Size, generator: torch.Generator) -> Truth:
    height, width = size
    taken: set[int] = set()
    boxes: list[list[float]] = []
    while len(boxes) < number:
        u = torch.rand(4, generator=generator).tolist()
        long = 12 * (0.9 * max(size) / 12) ** u[0]
        ratio = 4 ** (2 * u[1] - 1)
        w, h = min(long * min(ratio, 1), 0.95 * width), min(long / max(ratio, 1), 0.95 * height)
        cell = int(w * h / 16)
        if taken & {cell - 1, cell, cell + 1} or w < 6 or h < 6:
            continue
        taken.add(cell)
        x, y = u[2] * (width - w), u[3] * (height - h)
        boxes.append([x, y, x + w, y + h])
    classes = torch.randint(NUM_CLASSES, (number,), generator=generator)
    return Truth(torch.tensor(boxes, dtype=torch.float32).view(-1, 4), classes)


def outputs(
    truth: Sequence[Truth],
    size: Size,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    dense: bool = False,
    seed: int = 0,
) -> Outputs:
    """What a trained head might say: nothing nearly everywhere, and much around each object.

    Args:
        truth: per image. Around the middle of each box, the nine nearest locations of the level
            that its size belongs to see its class and, nearly, its sides.
        size: height and width of the images.
        dense: more classes than not are likely at most locations; for the worst case.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    levels = feature_sizes(size)
    n = len(truth)
    cls = [noise(n, NUM_CLASSES, *level) * 0.7 + (-2.0 if dense else -7.0) for level in levels]
    reg = [noise(n, 4, *level).abs() * 0.5 + 3.0 for level in levels]
    ctr = [noise(n, 1, *level) * 0.5 + (0.0 if dense else -1.0) for level in levels]
    for image, (boxes, classes) in enumerate(truth):
        for box, class_ in zip(boxes.tolist(), classes.tolist(), strict=True):
            _see((cls, reg, ctr), image, box, class_, generator)
    on = [[x.to(device, dtype) for x in tensors] for tensors in (cls, reg, ctr)]
    return Outputs(*on)


def _see(
    maps: tuple[list[Tensor], ...],
    image: int,
    box: list[float],
    class_: int,
    generator: torch.Generator,
) -> None:
    cls, reg, ctr = maps
    x1, y1, x2, y2 = box
    largest = max(x2 - x1, y2 - y1) / 2
    level = next(i for i in range(5) if largest <= LIMITS[i + 1])
    rows, columns = cls[level].shape[-2:]
    stride = STRIDES[level]
    row, column = int((y1 + y2) / 2 / stride), int((x1 + x2) / 2 / stride)
    for i in range(max(row - 1, 0), min(row + 2, rows)):
        for j in range(max(column - 1, 0), min(column + 2, columns)):
            x, y = (j + 0.5) * stride, (i + 0.5) * stride
            sides = torch.tensor([x - x1, y - y1, x2 - x, y2 - y]) / stride
            jitter = 0.1 * torch.randn(6, generator=generator)
            cls[level][image, class_, i, j] = 0.5 + 10 * float(jitter[4])
            reg[level][image, :, i, j] = sides.clamp(min=0.1) * (1 + jitter[:4])
            ctr[level][image, 0, i, j] = 1.0 + 5 * float(jitter[5])


def pictures(images: int, size: Size, seed: int = 0) -> list[Tensor]:
    """(3, H, W) uint8: coloured shapes of several sizes that vary over the image."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(images):
        picture = torch.zeros(1, 3, *size)
        for cells in (3, 9, 27):
            coarse = torch.rand(1, 3, cells, cells, generator=generator)
            picture += F.interpolate(coarse, size, mode="bilinear", align_corners=False) / 3
        picture += 0.02 * torch.randn(1, 3, *size, generator=generator)
        made.append((picture[0].clamp(0, 1) * 255).to(torch.uint8))
    return made
