"""Losses of predicted boxes, for heads that say them relative to anchors or proposals."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.nn import functional as F

from detectron2.layers import ciou_loss, diou_loss

__all__ = ["box_regression_loss"]


class _Transform(Protocol):
    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor: ...

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor: ...


def box_regression_loss(
    deltas: Tensor,
    src_boxes: Tensor,
    target_boxes: Tensor,
    transform: _Transform,
    kind: str = "smooth_l1",
    smooth_l1_beta: float = 0.0,
) -> Tensor:
    """Sum of the losses of some boxes.

    Args:
        deltas: (N, 4) predictions, relative to ``src_boxes``.
        src_boxes: (N, 4) anchors or proposals, x1, y1, x2, y2 in pixels.
        target_boxes: (N, 4) ground truth.
        transform: from deltas to boxes and back.
        kind: "smooth_l1" compares deltas; "giou", "diou" and "ciou" compare boxes.
        smooth_l1_beta: below this difference the loss is quadratic; 0: L1.

    Returns:
        A scalar. Zero, with a gradient path, for no boxes.

    Raises:
        ValueError: another kind.
    """
    if kind == "smooth_l1":
        targets = transform.get_deltas(src_boxes, target_boxes)
        return F.smooth_l1_loss(deltas, targets, beta=smooth_l1_beta, reduction="sum")

    losses = {"giou": _giou_loss, "diou": diou_loss, "ciou": ciou_loss}
    if kind not in losses:
        names = ", ".join(["smooth_l1", *losses])
        raise ValueError(f"BBOX_REG_LOSS_TYPE: expected one of {names}, got {kind!r}")
    boxes = transform.apply_deltas(deltas, src_boxes)
    return losses[kind](boxes, target_boxes, reduction="sum")


def _giou_loss(boxes1: Tensor, boxes2: Tensor, reduction: str) -> Tensor:
    # Imported here, because torchvision takes as long to import as torch.
    from torchvision.ops import generalized_box_iou_loss

    return generalized_box_iou_loss(boxes1, boxes2, reduction)
