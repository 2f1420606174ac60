"""Step 3: the loss (arXiv:1904.01355, Sec. 3.1 and Eq. 2).

Everything is computed over all locations, with a weight of zero where a term does not apply, so
that no step has to wait for the GPU to count positives, and an image or a whole process without
objects is no special case: its box and centerness losses are zero and have a gradient path.

Letters: N images, L locations over all levels, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcos.layers import (
    IOULoss,
    LossNormalizer,
    focal_loss_sum,
    ltrb_iou,
    mean_over_processes,
    num_processes,
)
from fcos.modeling.fcos.fcos_targets import centerness

BOX_QUALITIES = ("ctrness", "iou")


class FCOSLosses(nn.Module):
    """The three terms of the loss, with their settings.

    Args:
        focal_alpha: see :func:`fcos.layers.focal_loss_sum`.
        focal_gamma: see :func:`fcos.layers.focal_loss_sum`.
        loc_loss_type: "iou", "linear_iou" or "giou".
        box_quality: what the centerness branch learns, called quality where it may be either:
            "ctrness", the centerness of its location, or "iou", the IoU of the box that its
            location predicts (AdelaiDet).
        normalizer: see :class:`fcos.layers.LossNormalizer`.

    Attributes:
        divide: from the :meth:`counts` of a call to its :meth:`divisors`, if not as of a batch.

    Raises:
        ValueError: ``loc_loss_type``, ``box_quality`` or ``normalizer`` is unknown, or
            ``focal_alpha`` or ``focal_gamma`` is out of its range.
    """

    def __init__(
        self,
        *,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        loc_loss_type: str = "iou",
        box_quality: str = "ctrness",
        normalizer: str = "fg",
    ) -> None:
        super().__init__()
        if box_quality not in BOX_QUALITIES:
            raise ValueError(f"box_quality: expected one of {BOX_QUALITIES}, got {box_quality!r}")
        if not 0 <= focal_alpha <= 1:
            raise ValueError(f"focal_alpha: expected within [0, 1], got {focal_alpha}")
        if not 0 <= focal_gamma < math.inf:
            raise ValueError(f"focal_gamma: expected at least 0, got {focal_gamma}")
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.iou_loss = IOULoss(loc_loss_type)
        self.box_quality = box_quality
        self.normalizer = LossNormalizer(normalizer)
        self.divide: Callable[[Tensor], Tensor] | None = None

    def counts(self, labels: Tensor, ltrb_targets: Tensor, num_classes: int) -> Tensor:
        """Count what the losses are divided by; it does not depend on predictions.

        Args:
            labels, ltrb_targets: as of :meth:`forward`.
            num_classes: C.

        Returns:
            (3,) float32: the positive locations, the sum of the box weights, all locations.
        """
        weight = (labels < num_classes).to(torch.float32)
        is_iou = self.box_quality == "iou"
        return _counts(weight, weight if is_iou else centerness(ltrb_targets.float()) * weight)

    def divisors(self, counts: Tensor, shares: int) -> Tensor:
        """Return what the losses of each share of a batch are divided by; once in each step.

        Args:
            counts: (3,) float32, as :meth:`counts` returns them, the mean over all shares.
            shares: that the batch is in.

        Returns:
            (3,) float32 above 0, in the order of the losses of :meth:`forward`.
        """
        num_positive, loc_weight_sum, num_locations = counts.unbind()
        num_positive = num_positive.clamp(min=1.0 / shares)  # 1 in the whole batch
        cls_divisor = self.normalizer(num_positive, num_locations, shares)
        is_iou = self.box_quality == "iou"
        loc_divisor = num_positive if is_iou else loc_weight_sum.clamp(min=1e-6)
        return torch.stack((cls_divisor, loc_divisor, num_positive))

    def _divisors_of_batch(self, counts: Tensor) -> Tensor:
        """Return the :meth:`divisors` of a batch that has one share in each process.

        Args:
            counts: (3,) float32, of this process.
        """
        return self.divisors(mean_over_processes(counts), num_processes())

    def forward(
        self,
        cls_logits: Tensor,
        ltrb: Tensor,
        centerness_logits: Tensor,
        labels: Tensor,
        ltrb_targets: Tensor,
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch.

        The class loss is divided as :class:`fcos.layers.LossNormalizer` says. With centerness as
        the quality, the box loss of a location is weighted by its centerness target and divided by
        the sum of these; with the IoU, it is not weighted and divided by the number of positive
        locations, as in AdelaiDet. The quality loss is always divided by that number. All
        normalisers are averaged over all processes. The paper does not weight the box loss; the
        original implementation, whose AP it reports, does as we do.

        Args:
            cls_logits: (N, L, C) float, before the sigmoid.
            ltrb: (N, L, 4) float, predicted distances, at least 0.
            centerness_logits: (N, L) float, of the quality, before the sigmoid.
            labels: (N, L) int64 in [0, C]; C is background.
            ltrb_targets: (N, L, 4) float, in the unit of ``ltrb``.

        Returns:
            ``loss_fcos_cls``, ``loss_fcos_loc`` and ``loss_fcos_ctr`` (or ``loss_fcos_iou``),
            float32 scalars of at least 0. The smallest possible ``loss_fcos_ctr`` is not 0 but the
            entropy of its targets: a well-trained model stays near 0.57.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if centerness_logits.shape != labels.shape:
            raise ValueError(
                f"centerness_logits: expected {tuple(labels.shape)}, "
                f"got {tuple(centerness_logits.shape)}"
            )
        is_positive = labels < cls_logits.shape[-1]
        weight = is_positive.to(torch.float32)
        # Background gets a harmless box, so that exp overflow there makes no 0 * inf.
        ltrb = torch.where(is_positive[..., None], ltrb, torch.zeros_like(ltrb)).float()
        ltrb_targets = ltrb_targets.float()
        if self.box_quality == "iou":
            quality, loc_weight = ltrb_iou(ltrb.detach(), ltrb_targets), weight
        else:
            quality = loc_weight = centerness(ltrb_targets) * weight
        divide = self.divide or self._divisors_of_batch
        cls_divisor, loc_divisor, quality_divisor = divide(_counts(weight, loc_weight))

        cls_sum = focal_loss_sum(cls_logits, labels, self.focal_alpha, self.focal_gamma)
        quality_sum = F.binary_cross_entropy_with_logits(
            centerness_logits.float(), quality, weight, reduction="sum"
        )
        quality_name = "loss_fcos_iou" if self.box_quality == "iou" else "loss_fcos_ctr"
        return {
            "loss_fcos_cls": cls_sum / cls_divisor,
            "loss_fcos_loc": self.iou_loss(ltrb, ltrb_targets, loc_weight) / loc_divisor,
            quality_name: quality_sum / quality_divisor,
        }


def _counts(weight: Tensor, loc_weight: Tensor) -> Tensor:
    """Sum what losses are divided by.

    Args:
        weight: (N, L) float32, 1 at positive locations and 0 elsewhere.
        loc_weight: (N, L) float32, the weight of each location in the box loss.

    Returns:
        (3,) float32: the sums of the two, and the number of locations.
    """
    return torch.stack((weight.sum(), loc_weight.sum(), weight.new_full((), weight.numel())))
