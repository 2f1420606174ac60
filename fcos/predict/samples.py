"""Draw what a training gets from its data loader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.structures import BitMasks, Instances, polygons_to_bitmask
from fcos.predict.draw import draw_instances

__all__ = ["bgr_of_sample", "draw_sample"]


def draw_sample(
    sample: dict[str, Any], pixel_format: str, class_names: Sequence[str]
) -> np.ndarray:
    """Draw the image of a sample, after all augmentation, with its ground truth.

    Args:
        sample: of the training stream, with ``image`` and ``instances``.
        pixel_format: of the image, "BGR" or "RGB".
        class_names: in the order of ``gt_classes``.

    Returns:
        uint8, blue, green, red; the size is that of :func:`fcos.predict.draw_instances`.
    """
    truth = sample["instances"]
    height, width = truth.image_size
    shown = Instances((height, width), pred_boxes=truth.gt_boxes, pred_classes=truth.gt_classes)
    if truth.has("gt_masks"):
        shown.pred_masks = _masks(truth.gt_masks, height, width)
    return draw_instances(bgr_of_sample(sample, pixel_format), shown, class_names)


def bgr_of_sample(sample: dict[str, Any], pixel_format: str) -> np.ndarray:
    """Return the image of a sample as (H, W, 3) uint8, blue, green, red."""
    image = sample["image"].numpy().transpose(1, 2, 0)
    if pixel_format == "RGB":
        image = image[:, :, ::-1]
    return np.ascontiguousarray(image)


def _masks(masks: Any, height: int, width: int) -> torch.Tensor:
    """Make (G, height, width) bool of the masks of a sample, polygons or bits."""
    if isinstance(masks, BitMasks):
        return masks.tensor
    drawn = [polygons_to_bitmask(polygons, height, width) for polygons in masks.polygons]
    return torch.from_numpy(np.array(drawn, bool).reshape(-1, height, width))
