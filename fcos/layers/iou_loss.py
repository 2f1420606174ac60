"""Losses on the overlap of two boxes that share a location (arXiv:1904.01355, Sec. 3.1, Eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fcos.layers.precision import at_least_float32

LOC_LOSS_TYPES = ("iou", "linear_iou", "giou")


def ltrb_iou(pred: Tensor, target: Tensor) -> Tensor:
    """Measure how well predicted distances fit their targets: (I + 1) / (U + 1).

    I is the intersection and U the union of the two boxes, in the square of the unit of the inputs.
    The 1 comes from the original implementation; without it, two boxes without overlap would have
    an infinite loss, and two without size no IoU at all.

    Args:
        pred: (..., 4) float, predicted distances to the left, top, right and bottom sides, at
            least 0, in any one length unit (pixels or strides).
        target: the same shape and unit, at least 0.

    Returns:
        (...,) float32 or wider in (0, 1], no unit; 1 for equal boxes.

    Raises:
        ValueError: the shapes differ or do not end in 4.
    """
    intersection, union = _intersection_and_union(*map(at_least_float32, (pred, target)))
    return (intersection + 1) / (union + 1)


def ltrb_iou_loss(pred: Tensor, target: Tensor, kind: str = "iou") -> Tensor:
    """Measure how badly predicted distances miss their targets.

    With I the intersection, U the union and E the smallest box around both:

    * ``iou``: -ln((I + 1) / (U + 1)), the UnitBox loss (arXiv:1608.01471) that the paper uses;
    * ``linear_iou``: 1 - (I + 1) / (U + 1);
    * ``giou``: 1 - ((I + 1) / (U + 1) - (E - U) / E) (arXiv:1902.09630).

    The 1 (square of the unit of the inputs) is not in the papers. The original implementation adds
    it, so that two boxes without overlap have a finite loss; its published AP comes with it.

    Args:
        pred: (..., 4) float, predicted distances to the left, top, right and bottom sides, at
            least 0, in any one length unit (pixels or strides).
        target: the same shape and unit, at least 0.
        kind: one of ``LOC_LOSS_TYPES``.

    Returns:
        (...,) float32 or wider, no unit, at least 0 and always finite; 0 for equal boxes.

    Raises:
        ValueError: ``kind`` is unknown, or the shapes differ or do not end in 4.
    """
    if kind not in LOC_LOSS_TYPES:
        raise ValueError(f"kind: expected one of {LOC_LOSS_TYPES}, got {kind!r}")
    pred, target = at_least_float32(pred), at_least_float32(target)
    intersection, union = _intersection_and_union(pred, target)
    iou = (intersection + 1) / (union + 1)
    if kind == "iou":
        return -iou.log()
    if kind == "linear_iou":
        return 1 - iou
    enclosing = _area(torch.maximum(pred, target))
    # Two points have no enclosing area: 0 / tiny is 0, so nothing is added to their loss.
    empty_share = (enclosing - union) / enclosing.clamp(min=torch.finfo(enclosing.dtype).tiny)
    return 1 - (iou - empty_share)


class IOULoss(nn.Module):
    """:func:`ltrb_iou_loss` summed over locations, with a weight for each.

    Args:
        loc_loss_type: one of ``LOC_LOSS_TYPES``.

    Raises:
        ValueError: ``loc_loss_type`` is unknown.
    """

    def __init__(self, loc_loss_type: str = "iou") -> None:
        super().__init__()
        if loc_loss_type not in LOC_LOSS_TYPES:
            raise ValueError(
                f"loc_loss_type: expected one of {LOC_LOSS_TYPES}, got {loc_loss_type!r}"
            )
        self.loc_loss_type = loc_loss_type

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
        """Sum the weighted loss over all locations.

        Args:
            pred: (..., 4) float, predicted distances, any one length unit.
            target: the same shape and unit.
            weight: (...,) float, no unit; ``None`` weights every location by 1.

        Returns:
            A scalar of at least 0 (for weights of at least 0); 0 without locations.
        """
        loss = ltrb_iou_loss(pred, target, self.loc_loss_type)
        return (loss if weight is None else loss * weight).sum()


def _intersection_and_union(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if pred.shape != target.shape or pred.shape[-1] != 4:
        raise ValueError(
            "pred and target: expected two equal shapes (..., 4), "
            f"got {tuple(pred.shape)} and {tuple(target.shape)}"
        )
    intersection = _area(torch.minimum(pred, target))
    return intersection, _area(pred) + _area(target) - intersection


def _area(ltrb: Tensor) -> Tensor:
    return (ltrb[..., 0] + ltrb[..., 2]) * (ltrb[..., 1] + ltrb[..., 3])
