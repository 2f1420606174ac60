from __future__ import annotations

from torch import Tensor


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
        (M,) int64, indices of the kept boxes, highest score first. M is at most ``max_detections``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    # Imported here, because torchvision takes as long to import as torch.
    from torchvision.ops import batched_nms

    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes: expected (K, 4), got {tuple(boxes.shape)}")
    if scores.shape != boxes.shape[:1] or classes.shape != boxes.shape[:1]:
        raise ValueError(
            f"scores and classes: expected ({len(boxes)},) each, "
            f"got {tuple(scores.shape)} and {tuple(classes.shape)}"
        )
    boxes = boxes.float()  # half precision moves corners by whole pixels
    if inclusive_pixels:
        boxes = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    keep = batched_nms(boxes, scores.float(), classes, iou_thresh)
    return keep if max_detections is None else keep[:max_detections]
