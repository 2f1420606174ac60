"""Match each prediction to the ground-truth box that it fits best."""

from __future__ import annotations

import torch
from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["Matcher"]

__getattr__ = missing_names(__name__)


class Matcher:
    """Matches each of N predictions to the best of M ground-truth boxes, and labels the match.

    Thresholds divide the qualities into ranges, each with a label: 1 for positive, 0 for
    background, -1 for neither.  A quality that equals a threshold lies above it.
    """

    def __init__(
        self,
        thresholds: list[float],
        labels: list[int],
        allow_low_quality_matches: bool = False,
    ):
        """
        Args:
            thresholds: ascending, positive: qualities at which a new range begins.
            labels: of each range, one more than thresholds; 1, 0 or -1.
            allow_low_quality_matches: whether the best predictions for each ground-truth box are
                positive, however badly they fit.

        Raises:
            ValueError: thresholds or labels of another kind.
        """
        # In words that TorchScript has, too: no sets, no sorted copies.
        is_ascending = len(thresholds) > 0 and thresholds[0] > 0
        for low, high in zip(thresholds[:-1], thresholds[1:]):  # noqa: B905, RUF007
            is_ascending = is_ascending and low <= high
        if not is_ascending:
            raise ValueError(f"thresholds: expected positive, ascending ones, got {thresholds}")
        is_known = [label in (-1, 0, 1) for label in labels]
        if len(labels) != len(thresholds) + 1 or not all(is_known):
            raise ValueError(
                f"labels: expected {len(thresholds) + 1} of -1, 0 and 1 (one more than there are "
                f"thresholds), got {labels}"
            )
        self.thresholds = [-float("inf")] + list(thresholds) + [float("inf")]
        self.labels = list(labels)
        self.allow_low_quality_matches = allow_low_quality_matches

    def __call__(self, match_quality_matrix: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            match_quality_matrix: (M, N), at least 0, usually the IoU of ground truth and
                predictions.

        Returns:
            (N,) int64, the ground-truth box of each prediction, the first one of equally good
            ones; and (N,) int8, the label. Without ground truth all are matched to 0, with the
            label of the lowest range.
        """
        quality = match_quality_matrix
        assert quality.dim() == 2, f"match_quality_matrix: expected (M, N), got {quality.shape}"
        if quality.numel() == 0:
            matches = quality.new_zeros(quality.shape[1], dtype=torch.int64)
            return matches, torch.full_like(matches, self.labels[0], dtype=torch.int8)
        assert torch.all(quality >= 0), "match_quality_matrix: a quality is negative or NaN"
        best, matches = quality.max(dim=0)
        bounds = torch.tensor(self.thresholds[1:-1], dtype=best.dtype, device=best.device)
        labels = torch.tensor(self.labels, dtype=torch.int8, device=best.device)
        match_labels = labels[torch.bucketize(best, bounds, right=True)]
        if self.allow_low_quality_matches:
            self.set_low_quality_matches_(match_labels, quality)
        return matches, match_labels

    def set_low_quality_matches_(self, match_labels: Tensor, match_quality_matrix: Tensor) -> None:
        """Label, in place, the best predictions for each ground-truth box as positive.

        They may belong to another ground-truth box, for which they are better still: what they are
        matched to does not change.

        Args:
            match_labels: (N,) int8, changed.
            match_quality_matrix: (M, N).
        """
        best_for_each = match_quality_matrix.amax(dim=1, keepdim=True)
        match_labels[(match_quality_matrix == best_for_each).any(dim=0)] = 1
