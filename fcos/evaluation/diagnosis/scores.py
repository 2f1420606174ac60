"""What the scores say: precision, recall and F1 from each score on, and how reliable they are."""

from __future__ import annotations

import dataclasses

import numpy as np

from fcos.evaluation.cuts import Cuts, best_cut, cuts_of
from fcos.evaluation.diagnosis.subject import IOU, Subject

__all__ = ["SCORES", "Bin", "Cut", "Reliability", "ScoreCurve", "reliability", "score_curves"]

SCORES = np.linspace(0, 1, 101)
_BINS = 10


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is kept from a score on; precision and F1 are NaN where they have no meaning."""

    score: float
    precision: float
    recall: float
    f1: float


@dataclasses.dataclass(frozen=True)
class ScoreCurve:
    """Precision, recall and F1 over the score from which detections are kept.

    Attributes:
        precision, recall, f1: (101,) in [0, 1] at SCORES; precision is NaN where no detection is
            kept, recall and F1 where there is no object.
        best: the score with the best F1; None if no detection is right.
        objects, found, wrong: at the score of the page.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best: Cut | None
    objects: int
    found: int
    wrong: int


@dataclasses.dataclass(frozen=True)
class Bin:
    """The detections whose score lies in a range.

    Attributes:
        lower, upper: ends of the range; the upper end belongs to it in the last one only.
        score: their mean.
        precision: the share of them that is right.
        number: how many there are.
    """

    lower: float
    upper: float
    score: float
    precision: float
    number: int


@dataclasses.dataclass(frozen=True)
class Reliability:
    """How well scores say which share of the detections is right.

    Attributes:
        bins: ten, from 0 to 1.
        error: mean difference of score and precision, weighted by the detections of the bins.
        worst: the largest.
        classes: the error for each class that has detections, by its index.
    """

    bins: list[Bin]
    error: float
    worst: float
    classes: dict[int, float]


def score_curves(subject: Subject, score: float) -> list[ScoreCurve]:
    """Compute the curve for all classes together, then for each class.

    Args:
        subject: the detections.
        score: of the page.
    """
    matches = subject.matches
    counts = matches.is_right | matches.is_wrong
    groups = [(counts, int(matches.num_objects.sum()))]
    for class_, number in enumerate(matches.objects_of_class.tolist()):
        groups.append((counts & (matches.classes == class_), number))
    return [
        _curve(cuts_of(matches.scores[which], matches.is_right[which], number), score)
        for which, number in groups
    ]


def reliability(subject: Subject) -> Reliability:
    """Compare the scores of detections with the share of them that is right, at IoU 0.50."""
    found = subject.evaluated().calibration(n_bins=_BINS, iou_threshold=IOU)
    bins = [
        Bin(b["bin_lower"], b["bin_upper"], b["avg_confidence"], b["avg_accuracy"], b["count"])
        for b in found["bins"]
    ]
    category_at = subject.truth.objects.category_at
    names = {str(id_): place for id_, place in category_at.items()}
    per_class = {names[name]: error for name, error in found["per_category"].items()}
    return Reliability(bins, found["ece"], found["mce"], per_class)


def _curve(cuts: Cuts, score: float) -> ScoreCurve:
    # Of the cuts, which fall, the last whose score is not below: all that it keeps, is kept.
    place = np.searchsorted(-cuts.scores, -SCORES, side="right") - 1
    of_page = int(np.searchsorted(-cuts.scores, -score, side="right")) - 1
    keeps = place >= 0
    precision, recall, f1 = (
        np.where(keeps, np.append(values, 0)[place], otherwise)
        for values, otherwise in ((cuts.precision, np.nan), (cuts.recall, 0), (cuts.f1, 0))
    )
    if not cuts.num_objects:
        recall, f1 = np.full((2, len(SCORES)), np.nan)
    best, cut = best_cut(cuts), None
    if best is not None:
        values = (cuts.scores, cuts.precision, cuts.recall, cuts.f1)
        cut = Cut(*(float(column[best]) for column in values))
    found = int(cuts.right[of_page]) if of_page >= 0 else 0
    kept = int(cuts.kept[of_page]) if of_page >= 0 else 0
    return ScoreCurve(precision, recall, f1, cut, cuts.num_objects, found, kept - found)
