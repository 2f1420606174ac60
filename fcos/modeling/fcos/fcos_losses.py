"""Step 3: the loss (arXiv:1904.01355, Sec. 3.1 and Eq. 2).

Everything is computed over all locations, with a weight of zero where a term does not apply, so
that no step has to wait for the GPU to count positives, and an image or a whole process without
objects is no special case: its box and centerness losses are zero and have a gradient path.

Letters: N images, L locations over all levels, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from fcos.layers import IOULoss
from fcos.modeling.fcos.fcos_targets import centerness


def focal_loss_sum(
    logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss of C independent binary classifiers, summed over all locations and classes.

    Source: arXiv:1708.02002, Eq. (5); the L_cls of arXiv:1904.01355, Eq. (2).

    Args:
        logits: (..., C) float, before the sigmoid.
        labels: (...,) int64 in [0, C]; C is background.
        alpha: weight of the positive term, in [0, 1]; the negative one has 1 - alpha.
        gamma: how much well-classified locations are played down, at least 0.

    Returns:
        A float32 scalar of at least 0.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if labels.shape != logits.shape[:-1]:
        raise ValueError(f"labels: expected {tuple(logits.shape[:-1])}, got {tuple(labels.shape)}")
    is_class = F.one_hot(labels, logits.shape[-1] + 1)[..., :-1].to(torch.float32)
    return sigmoid_focal_loss(logits.float(), is_class, alpha, gamma, reduction="sum")


def mean_over_processes(values: Tensor) -> Tensor:
    """Average a tensor over all training processes.

    DistributedDataParallel averages gradients over processes. With normalisers averaged as well,
    k processes with 1/k of the batch each train as one process with all of it does. Every process
    makes this call in every step, objects or none: one that did not would block the others.

    Args:
        values: any shape, float; the same shape in every process. It is not changed.

    Returns:
        The mean, in the shape of ``values``; ``values`` itself when there is one process.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return values
    if torch.distributed.get_world_size() == 1:
        return values
    total = values.clone()
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


class FCOSLosses:
    """The three terms of the loss, with their settings.

    Args:
        focal_alpha: see :func:`focal_loss_sum`.
        focal_gamma: see :func:`focal_loss_sum`.
        loc_loss_type: "iou", "linear_iou" or "giou".

    Raises:
        ValueError: ``loc_loss_type`` is unknown.
    """

    def __init__(
        self,
        *,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        loc_loss_type: str = "iou",
    ) -> None:
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.iou_loss = IOULoss(loc_loss_type)

    def __call__(
        self,
        cls_logits: Tensor,
        ltrb: Tensor,
        ctr_logits: Tensor,
        labels: Tensor,
        ltrb_targets: Tensor,
    ) -> dict[str, Tensor]:
        """The losses of a batch.

        The class loss is divided by the number of positive locations, the centerness loss too;
        the box loss of a location is weighted by its centerness target and divided by the sum of
        these. Both normalisers are averaged over all processes. The paper divides the box loss by
        the number of positives as well and does not weight it; the original implementation, whose
        AP it reports, does as we do.

        Args:
            cls_logits: (N, L, C) float, before the sigmoid.
            ltrb: (N, L, 4) float, predicted distances, at least 0.
            ctr_logits: (N, L) float, before the sigmoid.
            labels: (N, L) int64 in [0, C]; C is background.
            ltrb_targets: (N, L, 4) float, in the unit of ``ltrb``.

        Returns:
            ``loss_fcos_cls``, ``loss_fcos_loc`` and ``loss_fcos_ctr``, float32 scalars of at least
            0. The smallest possible ``loss_fcos_ctr`` is not 0 but the entropy of its targets: a
            well-trained model stays near 0.57.

        Raises:
            ValueError: the shapes do not fit together.
        """
        if ctr_logits.shape != labels.shape:
            raise ValueError(
                f"ctr_logits: expected {tuple(labels.shape)}, got {tuple(ctr_logits.shape)}"
            )
        is_positive = labels < cls_logits.shape[-1]
        weight = is_positive.to(torch.float32)
        # Background gets a harmless box, so that exp overflow there makes no 0 * inf.
        ltrb = torch.where(is_positive[..., None], ltrb, torch.zeros_like(ltrb))
        target = centerness(ltrb_targets.float()) * weight
        num_positive, centerness_sum = mean_over_processes(
            torch.stack((weight.sum(), target.sum()))
        ).unbind()
        num_positive = num_positive.clamp(min=1.0)

        cls_sum = focal_loss_sum(cls_logits, labels, self.focal_alpha, self.focal_gamma)
        loc_sum = self.iou_loss(ltrb.float(), ltrb_targets.float(), target)
        ctr_sum = F.binary_cross_entropy_with_logits(
            ctr_logits.float(), target, weight, reduction="sum"
        )
        return {
            "loss_fcos_cls": cls_sum / num_positive,
            "loss_fcos_loc": loc_sum / centerness_sum.clamp(min=1e-6),
            "loss_fcos_ctr": ctr_sum / num_positive,
        }
