from __future__ import annotations

import torch
from torch import Tensor

# Of candidates in order of their scores, so many times the detections wanted are looked at first.
_FIRST = 5


def class_aware_nms(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    iou_thresh: float,
    max_detections: int | None = None,
    inclusive_pixels: bool = False,
) -> Tensor:
    """Drop every box that overlaps a higher-scored one of its own class too much.

    Args:
        boxes: (K, 4) float, x1, y1, x2, y2 in pixels of any one image.
        scores: (K,) float.
        classes: (K,) int64.
        iou_thresh: a box is dropped when its IoU with a kept box of its class is above this;
            equal to it, the box stays.
        max_detections: the number of boxes kept, at most; ``None`` keeps all.
        inclusive_pixels: measure the overlap with widths of x2 - x1 + 1 (original implementation).

    Returns:
        (M,) int64, indices of the kept boxes, highest score first; of equal scores the first box
        first. M is at most ``max_detections``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    # Imported here, because torchvision takes as long to import as torch.
    from torchvision.ops import nms

    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected (K, 4), got {tuple(boxes.shape)}")
    if scores.shape != boxes.shape[:1] or classes.shape != boxes.shape[:1]:
        raise ValueError(
            f"scores and classes: expected ({len(boxes)},) each, "
            f"got {tuple(scores.shape)} and {tuple(classes.shape)}"
        )
    order = scores.float().argsort(descending=True, stable=True)
    boxes = boxes.float()[order]  # half precision moves corners by whole pixels
    if inclusive_pixels:
        boxes = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    boxes = _apart(boxes, classes[order])
    rank = torch.arange(len(order), 0, -1, dtype=boxes.dtype, device=boxes.device)
    most = len(order) if max_detections is None else max_detections
    # Whether a box stays depends on the boxes before it alone, so when enough of the first ones
    # stay, the others need not be looked at.
    first = min(_FIRST * most, len(order))
    keep = nms(boxes[:first], rank[:first], iou_thresh)
    if len(keep) < most and first < len(order):
        keep = nms(boxes, rank, iou_thresh)
    return order[keep[:most]]


def _apart(boxes: Tensor, classes: Tensor) -> Tensor:
    """Move boxes of different classes so that they do not meet: (K, 4) float64.

    In float64, because in float32 the boxes of the 80th class of an image of 1333 pixels would
    move to coordinates whose steps are 1/128 of a pixel, which changes overlaps. Here the steps
    stay finer than those of the float32 boxes themselves.
    """
    boxes = boxes.double()
    if boxes.numel() == 0:
        return boxes
    return boxes + (classes * (boxes.max() - boxes.min() + 1))[:, None]
