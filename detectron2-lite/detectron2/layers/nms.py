"""Non-maximum suppression."""

from torch import Tensor
from torchvision.ops import boxes as box_ops
from torchvision.ops import nms

from detectron2._missing import missing_names

__all__ = ["batched_nms", "nms"]

__getattr__ = missing_names(__name__)


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
    assert boxes.shape[-1] == 4, f"boxes: expected (N, 4), got {boxes.shape}"
    # In float32 also under autocast: the groups are told apart by moving them far away.
    return box_ops.batched_nms(boxes.float(), scores.float(), idxs, iou_threshold)
