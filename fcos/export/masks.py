"""Masks of boxes that are given as tensors (arXiv:1703.06870; the level of a box: 1612.03144).

Letters: N images, C classes, M boxes of all images together, S rows and columns of a mask.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align


def level_of_box(
    boxes: Tensor, first: int, last: int, canonical_size: float, canonical_level: int
) -> Tensor:
    """Choose the level of the pyramid that the features of a box come from.

    Source: arXiv:1612.03144, Eq. (1).

    Args:
        boxes: (M, 4) float, x1, y1, x2, y2 in pixels, with an area.
        first: the finest level there is, the logarithm of its stride to the base 2.
        last: the coarsest.
        canonical_size: side in pixels of a square that belongs to ``canonical_level``, as the
            smallest.
        canonical_level: level of such a square.

    Returns:
        (M,) int64; 0 is ``first``.
    """
    width, height = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
    octaves = torch.log2((width * height).sqrt() / canonical_size)
    return (canonical_level + octaves).floor().clamp(min=first, max=last).to(torch.int64) - first


class MasksOfBoxes(nn.Module):
    """The mask branch as a function of tensors.

    Args:
        roi_heads: an :class:`fcos.modeling.FCOSMaskROIHeads` with a mask head.
    """

    def __init__(self, roi_heads: Any) -> None:
        super().__init__()
        self.mask_head = roi_heads.mask_head
        pooler = roi_heads.mask_pooler
        self._in_features = roi_heads.in_features
        self._levels = list(pooler.level_poolers)
        self._range = (pooler.min_level, pooler.max_level)
        self._canonical = (pooler.canonical_box_size, pooler.canonical_level)

    def forward(
        self, features: dict[str, Tensor], boxes: Tensor, classes: Tensor, image_index: Tensor
    ) -> Tensor:
        """Predict the masks of detections.

        Args:
            features: name -> (N, channels, rows, columns).
            boxes: (M, 4) float, x1, y1, x2, y2 in pixels, with an area.
            classes: (M,) int64 in [0, C).
            image_index: (M,) int64 in [0, N).

        Returns:
            (M, S, S) float32 in [0, 1], the mask of each box's class on a grid over the box.
        """
        regions = torch.cat((image_index[:, None].to(boxes.dtype), boxes), dim=1)
        # One region more, the first pixel, so that no layer of any program gets an empty batch.
        pixel = regions.new_tensor([[0.0, 0.0, 0.0, 1.0, 1.0]])
        logits = self.mask_head.layers(self._pooled(features, torch.cat((regions, pixel))))[:-1]
        if logits.shape[1] > 1:  # one mask for each class
            place = classes[:, None, None, None].expand(-1, 1, *logits.shape[2:])
            logits = logits.gather(1, place)
        return logits[:, 0].sigmoid()

    def _pooled(self, features: dict[str, Tensor], regions: Tensor) -> Tensor:
        maps = [features[name] for name in self._in_features]
        if len(maps) == 1:
            return _align(self._levels[0], maps[0], regions)
        level = level_of_box(regions[:, 1:], *self._range, *self._canonical)
        pooled = None
        for index, (pooler, feature) in enumerate(zip(self._levels, maps, strict=True)):
            place = (level == index).nonzero()[:, 0]
            part = _align(pooler, feature, regions[place])
            if pooled is None:
                pooled = part.new_zeros((regions.shape[0], *part.shape[1:]))
            pooled = pooled.index_put((place,), part)
        assert pooled is not None  # there is a level
        return pooled


def _align(pooler: Any, feature: Tensor, regions: Tensor) -> Tensor:
    return roi_align(
        feature,
        regions,
        pooler.output_size,
        pooler.spatial_scale,
        pooler.sampling_ratio,
        pooler.aligned,
    )
