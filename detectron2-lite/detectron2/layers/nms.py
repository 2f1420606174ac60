"""Non-maximum suppression."""

from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["batched_nms", "nms"]

__getattr__ = missing_names(__name__)


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression, torchvision's.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: a box that overlaps a better one by more than this is dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    from torchvision.ops import nms as operator  # it takes as long to import as torch

    return operator(boxes, scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Non-maximum suppression within each group of boxes, typically a class.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        idxs: (N,), the group of each box; boxes of different groups do not suppress each other.
        iou_threshold: a box that overlaps a better one by more than this is dropped.

    Returns:
        Indices of the kept boxes, best first.
    """
    from torchvision.ops import batched_nms as operator  # as above

    assert boxes.shape[-1] == 4, f"boxes: expected (N, 4), got {boxes.shape}"
    # In float32 under autocast too: boxes of each group are moved far away from the others.
    return operator(boxes.float(), scores.float(), idxs, iou_threshold)
