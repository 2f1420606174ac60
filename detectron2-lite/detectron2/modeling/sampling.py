"""Random samples of labels."""

from __future__ import annotations

import torch
from torch import Tensor

from detectron2._missing import missing_names
from detectron2.layers import nonzero_tuple

__all__ = ["subsample_labels"]

__getattr__ = missing_names(__name__)


def subsample_labels(
    labels: Tensor, num_samples: int, positive_fraction: float, bg_label: int
) -> tuple[Tensor, Tensor]:
    """Draw positives and negatives without replacement, by torch's random numbers.

    Args:
        labels: (N,) labels; -1 is never drawn, ``bg_label`` is negative, any other is positive.
        num_samples: how many to draw at most.
        positive_fraction: at most this fraction of ``num_samples`` is positive, rounded down.
            Negatives fill up what is missing of positives, but not the other way round.
        bg_label: label of the background.

    Returns:
        Indices of the positives and of the negatives, int64.
    """
    (positive,) = nonzero_tuple((labels != -1) & (labels != bg_label))
    (negative,) = nonzero_tuple(labels == bg_label)
    num_positive = min(int(num_samples * positive_fraction), positive.numel())
    num_negative = min(num_samples - num_positive, negative.numel())
    return _drawn(positive, num_positive), _drawn(negative, num_negative)


def _drawn(indices: Tensor, number: int) -> Tensor:
    return indices[torch.randperm(indices.numel(), device=indices.device)[:number]]
