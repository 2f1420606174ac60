"""Focal loss of many independent binary classifiers, of which at most one is right per location."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

# A smaller chance of being wrong counts as none. With gamma 2 its gradient is below 1e-26, which no
# weight notices, but times small weights it becomes a subnormal number. On some processors these
# are so slow that a whole training step took twice as long.
_NO_CHANCE = 1e-9


def focal_loss_sum(
    logits: Tensor, labels: Tensor, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Sum the focal loss of C independent binary classifiers over all locations and classes.

    Source: arXiv:1708.02002, Eq. (5); the L_cls of arXiv:1904.01355, Eq. (2).

    Value and gradient are computed together, in float32 and in closed form, which keeps one tensor
    of the size of ``logits`` for the backward pass instead of one for every operation. A second
    derivative is refused by torch.

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
    if not logits.numel():
        return logits.float().sum()
    return _FocalLossSum.apply(logits, labels, alpha, gamma)


class _FocalLossSum(torch.autograd.Function):
    """One term for every classifier, FL(z) = sigmoid(z)^gamma * softplus(z).

    z is the logit of being wrong: the class logit x where the class is absent, -x where it is
    there, since 1 - p = sigmoid(-x) and -ln p = softplus(-x). So no array of ones and zeros over
    all classes is needed: one logit of each positive location changes its sign.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, labels: Tensor, alpha: float, gamma: float) -> Tensor:
        """Compute the value, see :func:`focal_loss_sum`; ``ctx`` keeps the gradient."""
        num_classes = logits.shape[-1]
        is_positive = (labels < num_classes)[..., None]
        at = labels.clamp(max=num_classes - 1)[..., None]
        wrong = logits.to(torch.float32, copy=True)
        own = wrong.gather(-1, at)
        wrong.scatter_(-1, at, torch.where(is_positive, -own, own))

        chance = F.threshold_(wrong.sigmoid(), _NO_CHANCE, 0.0)
        entropy = F.softplus(wrong)
        focus = chance.square() if gamma == 2 else chance.pow(gamma)
        loss = focus * entropy
        own = torch.where(is_positive, loss.gather(-1, at), 0.0)
        # All have the weight of a negative, and the positive ones the difference once more.
        total = (1 - alpha) * loss.sum() + (2 * alpha - 1) * own.sum()

        if ctx.needs_input_grad[0]:
            # FL'(z) = sigmoid^gamma * (gamma * (1 - sigmoid) * softplus + sigmoid)
            slope = entropy.mul_(torch.sub(1, chance, out=loss)).mul_(gamma).add_(chance)
            slope.mul_(focus)
            own = slope.gather(-1, at)
            own = torch.where(is_positive, -alpha * own, (1 - alpha) * own)
            ctx.save_for_backward(slope.mul_(1 - alpha).scatter_(-1, at, own))
            ctx.dtype = logits.dtype
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the logits, as for :func:`focal_loss_sum`, in their type."""
        (slope,) = ctx.saved_tensors
        return (slope * gradient).to(ctx.dtype), None, None, None
