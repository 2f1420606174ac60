"""Losses of boxes that look at the distance of their centres, too."""

from __future__ import annotations

from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["ciou_loss", "diou_loss"]

__getattr__ = missing_names(__name__)


def diou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """1 - IoU + the squared distance of the centres, relative to the hull's diagonal.

    Source: arXiv:1911.08287, Eq. (7).

    Args:
        boxes1, boxes2: (N, 4) x1, y1, x2, y2, compared one by one.
        reduction: "none" for (N,), "mean" or "sum" for a scalar, which is 0 for no boxes.
        eps: added to denominators.
    """
    from torchvision.ops import distance_box_iou_loss  # it takes as long to import as torch

    return distance_box_iou_loss(boxes1, boxes2, reduction, eps)


def ciou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str = "none", eps: float = 1e-7) -> Tensor:
    """:func:`diou_loss` plus a term for the difference of the aspect ratios.

    Source: arXiv:1911.08287, Eq. (10).

    Args:
        boxes1, boxes2, reduction, eps: see there.
    """
    from torchvision.ops import complete_box_iou_loss  # as above

    return complete_box_iou_loss(boxes1, boxes2, reduction, eps)
