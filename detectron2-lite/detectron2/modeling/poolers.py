"""Features of regions, from the level of a feature pyramid that suits a region's size."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detectron2._missing import missing, missing_names
from detectron2.layers import ROIAlign, cat
from detectron2.structures import Boxes

__all__ = ["ROIPooler"]

__getattr__ = missing_names(__name__)


def assign_boxes_to_levels(
    box_lists: list[Boxes],
    min_level: int,
    max_level: int,
    canonical_box_size: int,
    canonical_level: int,
) -> Tensor:
    """The level of each box, by its size.

    Source: arXiv:1612.03144, Eq. (1): a box as large as ``canonical_box_size`` belongs to
    ``canonical_level``, one of half the side to the level below it.

    Args:
        box_lists: the boxes of each image, in pixels.
        min_level, max_level: the levels there are.
        canonical_box_size: side in pixels, the square root of the area.
        canonical_level: level of a box of that size, or a little larger.

    Returns:
        (R,) int64, 0 for ``min_level``, for the boxes of all images one after the other.
    """
    sizes = cat([boxes.area() for boxes in box_lists]).clamp(min=0).sqrt()
    # Minus infinity for a box without area, which the lowest level takes.
    exponent = torch.log2(sizes / canonical_box_size)
    levels = torch.floor(canonical_level + exponent).clamp(min=min_level, max=max_level)
    return levels.to(torch.int64) - min_level


def convert_boxes_to_pooler_format(box_lists: list[Boxes]) -> Tensor:
    """(R, 5): index of the image, then x1, y1, x2, y2, for the boxes of all images."""
    rows = [
        torch.cat([torch.full_like(boxes.tensor[:, :1], index), boxes.tensor], dim=1)
        for index, boxes in enumerate(box_lists)
    ]
    return torch.cat(rows)


class ROIPooler(nn.Module):
    """Pools each region from one of several feature maps."""

    def __init__(
        self,
        output_size: int | tuple[int, int] | list[int],
        scales: list[float],
        sampling_ratio: int,
        pooler_type: str,
        canonical_box_size: int = 224,
        canonical_level: int = 4,
    ):
        """
        Args:
            output_size: bins, (height, width) or one number for both.
            scales: of each feature map, 1 / its stride; powers of two, each half of the one before.
            sampling_ratio: of ROIAlign; see there.
            pooler_type: "ROIAlignV2", "ROIAlign" (which shifts by half a pixel) or "ROIPool".
            canonical_box_size, canonical_level: see :func:`assign_boxes_to_levels`.

        Raises:
            ValueError: one of these is something else.
            NotImplementedError: "ROIAlignRotated".
        """
        super().__init__()
        size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
        if len(size) != 2:
            raise ValueError(f"output_size: expected (height, width) or a number, got {size}")
        if canonical_box_size <= 0:
            raise ValueError(f"canonical_box_size: expected a size, got {canonical_box_size}")
        self.output_size = size
        self.min_level, self.max_level = _levels(scales)
        self.canonical_level, self.canonical_box_size = canonical_level, canonical_box_size
        self.level_poolers = nn.ModuleList(
            [_pooler(pooler_type, size, scale, sampling_ratio) for scale in scales]
        )

    def forward(self, x: list[Tensor], box_lists: list[Boxes]) -> Tensor:
        """
        Args:
            x: feature maps (N, C, H, W), one for each of ``scales``.
            box_lists: the boxes of each of the N images, in pixels of the network's input.

        Returns:
            (R, C, *output_size), the boxes of all images one after the other. The result is part
            of the graph of every feature map, also where no box chose it.

        Raises:
            ValueError: not as many feature maps as scales, or lists of boxes as images.
        """
        if len(x) != len(self.level_poolers):
            raise ValueError(
                f"ROIPooler: expected {len(self.level_poolers)} feature maps, got {len(x)}"
            )
        if len(box_lists) != len(x[0]):
            raise ValueError(
                f"ROIPooler: got boxes of {len(box_lists)} images, but features of {len(x[0])}"
            )
        if len(box_lists) == 0:
            return x[0].new_zeros((0, x[0].shape[1]) + self.output_size)
        rois = convert_boxes_to_pooler_format(box_lists).to(x[0].dtype)
        if len(x) == 1:
            return self.level_poolers[0](x[0], rois)
        levels = assign_boxes_to_levels(
            box_lists,
            self.min_level,
            self.max_level,
            self.canonical_box_size,
            self.canonical_level,
        )
        # The shape of the tensor, and no len(): a traced module takes other numbers of boxes.
        pooled = x[0].new_zeros((rois.shape[0], x[0].shape[1]) + self.output_size)
        for level, pooler in enumerate(self.level_poolers):
            which = (levels == level).nonzero()[:, 0]
            pooled.index_put_((which,), pooler(x[level], rois[which]))
        return pooled


def _levels(scales: list[float]) -> tuple[int, int]:
    """The first and the last level: level l has a stride of 2 to the power of l."""
    strides = [1 / scale for scale in scales]
    levels = [round(math.log2(stride)) for stride in strides]
    is_power = all(
        math.isclose(stride, 2**level) for stride, level in zip(strides, levels, strict=True)
    )
    expected = list(range(levels[0], levels[0] + len(levels))) if levels else None
    if not is_power or levels != expected or levels[0] < 0:
        raise ValueError(
            "scales: expected 1 / stride of each level, with strides that are powers of two and "
            f"double from level to level, got {scales}"
        )
    return levels[0], levels[-1]


def _pooler(kind: str, size: tuple[int, int], scale: float, sampling_ratio: int) -> nn.Module:
    if kind == "ROIPool":
        # Imported here, because torchvision takes as long to import as torch.
        from torchvision.ops import RoIPool

        return RoIPool(size, spatial_scale=scale)
    if kind in ("ROIAlign", "ROIAlignV2"):
        return ROIAlign(size, scale, sampling_ratio, aligned=kind == "ROIAlignV2")
    if kind == "ROIAlignRotated":
        raise missing("ROIPooler of the type ROIAlignRotated")
    raise ValueError(f"POOLER_TYPE: expected 'ROIAlignV2', 'ROIAlign' or 'ROIPool', got '{kind}'")
