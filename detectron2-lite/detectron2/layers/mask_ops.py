"""Paste masks, each given relative to a box, into the image."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from detectron2._missing import missing_names

__all__ = ["paste_masks_in_image"]

__getattr__ = missing_names(__name__)

BYTES_PER_FLOAT = 4
GPU_MEM_LIMIT = 1024**3
"""Bytes of temporary tensors on a GPU."""


class _HasTensor(Protocol):
    """``Boxes``. It is not imported, because structures import layers."""

    tensor: Tensor


@torch.no_grad()
def paste_masks_in_image(
    masks: Tensor, boxes: Tensor | _HasTensor, image_shape: tuple[int, int], threshold: float = 0.5
) -> Tensor:
    """Stretch masks to the size of their boxes and paste them into the image.

    The value at the middle of a pixel is interpolated between the middles of the mask's cells, and
    falls to zero within half a cell outside the box.  On the CPU, masks are pasted one by one,
    each only into its box and one pixel around it; on a GPU, as many at a time as fit into
    ``GPU_MEM_LIMIT``.  Only the result holds all N masks.

    Args:
        masks: (N, M, M), usually float in [0, 1].
        boxes: N boxes or (N, 4) x1, y1, x2, y2, in pixels. One without width or height shows
            nothing, and so does one outside of the image.
        image_shape: (height, width), in pixels.
        threshold: inside is what has at least this value. Negative: no threshold.

    Returns:
        (N, height, width) bool; for a negative threshold uint8, 255 times the value.

    Raises:
        ValueError: ``masks`` or ``boxes`` have another shape, or differ in number.
    """
    corners = boxes if isinstance(boxes, Tensor) else boxes.tensor
    if masks.dim() != 3 or masks.shape[1] != masks.shape[2]:
        raise ValueError(f"masks: expected (N, M, M), got {tuple(masks.shape)}")
    if corners.shape != (len(masks), 4):
        raise ValueError(f"boxes: expected ({len(masks)}, 4), got {tuple(corners.shape)}")
    height, width = (int(side) for side in image_shape)
    pasted = torch.zeros(
        (len(masks), height, width),
        dtype=torch.bool if threshold >= 0 else torch.uint8,
        device=masks.device,
    )
    if masks.numel() == 0 or pasted.numel() == 0:
        return pasted
    masks = masks.to(torch.float32)
    corners = corners.to(device=masks.device, dtype=torch.float32)
    paste = _paste_one_by_one if masks.device.type == "cpu" else _paste_many
    paste(masks, corners, threshold, pasted)
    return pasted


def _paste_one_by_one(masks: Tensor, boxes: Tensor, threshold: float, pasted: Tensor) -> None:
    """Fill ``pasted``, computing only the pixels of each box and one pixel around it."""
    height, width = pasted.shape[1:]
    for mask, box, target in zip(masks, boxes, pasted, strict=True):
        rows, columns = _pixels_of(box, height, width)
        if rows and columns:
            values = _values(mask[None], box[None], rows, columns)[0]
            part = target[rows.start : rows.stop, columns.start : columns.stop]
            part.copy_(_inside(values, threshold))


def _paste_many(masks: Tensor, boxes: Tensor, threshold: float, pasted: Tensor) -> None:
    """Fill ``pasted``, computing all pixels: reading the boxes would wait for the GPU."""
    height, width = pasted.shape[1:]
    # Three floats per pixel: x and y in the mask, and the value.
    at_a_time = max(1, GPU_MEM_LIMIT // (height * width * 3 * BYTES_PER_FLOAT))
    for start in range(0, len(masks), at_a_time):
        part = slice(start, start + at_a_time)
        values = _values(masks[part], boxes[part], range(height), range(width))
        pasted[part] = _inside(values, threshold)


def _pixels_of(box: Tensor, height: int, width: int) -> tuple[range, range]:
    """Rows and columns of the image in a box and one pixel around it."""
    x1, y1, x2, y2 = torch.nan_to_num(box).tolist()
    return _span(y1, y2, height), _span(x1, x2, width)


def _span(low: float, high: float, size: int) -> range:
    return range(max(math.floor(low) - 1, 0), min(math.ceil(high) + 1, size))


def _values(masks: Tensor, boxes: Tensor, rows: range, columns: range) -> Tensor:
    """(N, len(rows), len(columns)) float: each mask interpolated at the middles of pixels."""
    y = torch.arange(rows.start, rows.stop, device=masks.device, dtype=torch.float32) + 0.5
    x = torch.arange(columns.start, columns.stop, device=masks.device, dtype=torch.float32) + 0.5
    x1, y1, x2, y2 = boxes[:, :, None].unbind(dim=1)
    # -1 at the left or upper side of the box, 1 at the right or lower one.
    y = (y - y1) / (y2 - y1) * 2 - 1
    x = (x - x1) / (x2 - x1) * 2 - 1
    # 0 / 0, for a box without width or height: outside.
    x, y = x.nan_to_num(nan=-2.0), y.nan_to_num(nan=-2.0)
    shape = (len(masks), y.shape[1], x.shape[1])
    grid = torch.stack([x[:, None, :].expand(shape), y[:, :, None].expand(shape)], dim=3)
    return F.grid_sample(masks[:, None], grid, align_corners=False)[:, 0]


def _inside(values: Tensor, threshold: float) -> Tensor:
    return values >= threshold if threshold >= 0 else (values * 255).to(torch.uint8)
