"""The scores that detections can be cut at, and the best of them.

A cut keeps the detections with at least its score. The highest scores are matched to objects first,
so the others do not change what the kept ones match, and one matching serves all cuts.

Letters: N detections that count, K cuts.
"""

from __future__ import annotations

import dataclasses

import numpy as np

__all__ = ["Cuts", "best_cut", "cuts_of"]


@dataclasses.dataclass(frozen=True)
class Cuts:
    """What is kept at every score at which that changes.

    Attributes:
        scores: (K,) float, falling, each once.
        kept: (K,) int, detections with at least this score.
        right: (K,) int, those of them that match an object.
        num_objects: all that there is to find.
    """

    scores: np.ndarray
    kept: np.ndarray
    right: np.ndarray
    num_objects: int

    @property
    def precision(self) -> np.ndarray:
        """(K,) in [0, 1]."""
        return self.right / self.kept

    @property
    def recall(self) -> np.ndarray:
        """(K,) in [0, 1]; 0 where there is no object."""
        return self.right / max(1, self.num_objects)

    @property
    def f1(self) -> np.ndarray:
        """(K,) in [0, 1], 2 right / (kept + objects)."""
        return 2 * self.right / (self.kept + self.num_objects)


def cuts_of(scores: np.ndarray, is_right: np.ndarray, num_objects: int) -> Cuts:
    """Count what every cut keeps.

    Args:
        scores: (N,) float, of detections that are right or wrong; those that are neither, as on a
            crowd, are left out.
        is_right: (N,) bool, matched to an object.
        num_objects: all that there is to find, without crowds.
    """
    order = np.argsort(-scores, kind="stable")
    falling, right = scores[order], is_right[order].cumsum()
    last = np.append(falling[:-1] != falling[1:], True)[: len(falling)]  # of the equal ones
    kept = np.arange(1, len(falling) + 1)
    return Cuts(falling[last], kept[last], right[last], int(num_objects))


def best_cut(cuts: Cuts, precision: float | None = None, recall: float | None = None) -> int | None:
    """Choose a cut: that with the best F1, or one that reaches a precision or a recall.

    Args:
        cuts: of one class, or of all classes together.
        precision: take the lowest score at which precision is at least this.
        recall: take the highest score at which recall is at least this. Not with ``precision``.

    Returns:
        The place of the cut; of equally good ones that with the highest score. None where nothing
        is right at any score, or nothing reaches what is wanted.

    Raises:
        ValueError: both are given.
    """
    if precision is not None and recall is not None:
        raise ValueError("precision and recall: expected at most one of them")
    if not cuts.right.any():
        return None
    if precision is not None:
        reached = np.flatnonzero(cuts.precision >= precision)[::-1]
    elif recall is not None:
        reached = np.flatnonzero(cuts.recall >= recall)
    else:
        return int(cuts.f1.argmax())
    return int(reached[0]) if len(reached) else None
