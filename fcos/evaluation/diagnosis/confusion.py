"""Which classes are taken for which."""

from __future__ import annotations

import numpy as np

from fcos.evaluation.diagnosis.subject import IOU, Subject

__all__ = ["Confusion", "confusions", "count_confusions", "shown_part"]

Confusion = tuple[int, int, int]  # class of the object, class of the detection, how many


def count_confusions(subject: Subject, score: float) -> np.ndarray:
    """Match detections to objects of any class, and count the pairs of classes.

    The highest score chooses first: the object with the highest IoU, at least 0.50, that is not
    taken yet. Crowds and detections on them are left out.

    Args:
        subject: the detections, K classes.
        score: those below it are left out.

    Returns:
        (K + 1, K + 1) int64: objects of each class (rows) that are detected as each class
        (columns). The last row is the detections on no object, the last column the missed objects.
    """
    objects, found = subject.that_count
    coco_eval = objects.prepared(found, subject.task, subject.max_dets)
    # hotcoco limits the detections of an image, not of an image and class; all have been chosen.
    most = max(1, len(found.scores))
    matrix = coco_eval.confusion_matrix(IOU, max_det=most, min_score=score)["matrix"]
    return np.asarray(matrix, dtype=np.int64)


def confusions(matrix: np.ndarray) -> list[Confusion]:
    """List the pairs of two classes that are confused, the most frequent first."""
    inner = matrix[:-1, :-1].copy()
    np.fill_diagonal(inner, 0)
    order = np.argsort(-inner, axis=None, kind="stable")
    pairs = zip(*np.unravel_index(order, inner.shape), strict=True)
    return [(int(a), int(b), int(inner[a, b])) for a, b in pairs if inner[a, b]]


def shown_part(matrix: np.ndarray, most: int) -> list[int]:
    """Choose the classes to show: all, or those most often confused, in their order."""
    number = len(matrix) - 1
    if number <= most:
        return list(range(number))
    inner = matrix[:-1, :-1].copy()
    np.fill_diagonal(inner, 0)
    taking_part = inner.sum(axis=0) + inner.sum(axis=1)
    return sorted(np.argsort(-taking_part, kind="stable")[:most].tolist())
