"""How much of AP is luck: the same figures on images drawn again, with replacement.

The bootstrap over images (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13): as
many images as there are, drawn with replacement; an image that is drawn twice counts twice. In
``hotcoco.compare`` it counts once, so that its intervals come out about a fifth too narrow.

Letters: I images, K classes, T IoU thresholds, N detections of a class, B drawings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.cocoeval import DetectionColumns, GroundTruth, judge, silence

__all__ = [
    "SHARE",
    "Interval",
    "Outcomes",
    "draw_images",
    "interval",
    "intervals_of_differences",
    "resampled",
]

SHARE = 95  # percent of the drawings that an interval holds
_RECALLS = np.linspace(0, 1, 101)
_MOST, _FEWEST = 1000, 200  # drawings
_WORK = 200_000_000  # detections, thresholds and drawings together: some 20 seconds
_CHUNK = 4_000_000  # numbers of an intermediate array


@dataclasses.dataclass(frozen=True)
class Interval:
    """Percentiles of a figure over the drawings, in percent of AP."""

    lower: float
    upper: float


@dataclasses.dataclass(frozen=True)
class _Class:
    """The detections of a class in the order of their scores, the highest first.

    Attributes:
        images: (N,) places of the images.
        is_right: (T, N) matched to an object.
        counts: (T, N) neither on a crowd nor of another size.
        num_objects: (I,).
    """

    images: np.ndarray
    is_right: np.ndarray
    counts: np.ndarray
    num_objects: np.ndarray


class Outcomes:
    """Which detections of a run are right, at each IoU and for each range of areas.

    Attributes:
        num_images: I.
        num_detections: of all classes.
    """

    def __init__(
        self, truth: GroundTruth, found: DetectionColumns, task: str, max_dets: int
    ) -> None:
        """
        Args:
            truth: the annotations.
            found, task, max_dets: see :meth:`fcos.evaluation.cocoeval.GroundTruth.evaluate`.
        """
        self.num_images, self.num_detections = len(truth.image_ids), len(found.scores)
        self._truth = truth
        # COCOeval goes through equal scores in the order of the images.
        places = np.lexsort((found.images, -found.scores))
        with silence():
            coco_eval = truth.prepared(found, task, max_dets)
            ranges = list(coco_eval.params.areaRng)
            self._areas = [self._judged(coco_eval, found, places, area) for area in ranges]

    def _judged(
        self, coco_eval: Any, found: DetectionColumns, places: np.ndarray, area: Sequence[float]
    ) -> list[_Class]:
        """Evaluate one range of areas."""
        coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [area], ["all"]
        coco_eval.evaluate()
        number = len(coco_eval.params.iouThrs)
        is_right, counts = np.zeros((2, number, len(found.scores)), dtype=bool)
        for threshold in range(number):
            judged = judge(coco_eval, threshold)
            ids = np.fromiter(judged, np.int64, len(judged)) - 1
            counts[threshold, ids] = True
            is_right[threshold, ids] = np.fromiter(judged.values(), bool, len(judged))
        images, classes, areas = self._truth.objects.T
        is_inside = (areas >= area[0]) & (areas <= area[1])
        parts = []
        for class_ in range(len(self._truth.category_ids)):
            of_class = places[found.classes[places] == class_]
            objects = images[is_inside & (classes == class_)].astype(np.int64)
            parts.append(
                _Class(
                    images=found.images[of_class],
                    is_right=is_right[:, of_class],
                    counts=counts[:, of_class],
                    num_objects=np.bincount(objects, minlength=self.num_images),
                )
            )
        return parts

    def average_precision(self, area: int, weights: np.ndarray) -> np.ndarray:
        """Compute AP of every class for weighted images.

        Args:
            area: index of COCO's ranges: all, small, medium, large.
            weights: (B, I) int, how often an image counts.

        Returns:
            (B, K, T) in [0, 1]; NaN where no object of the class counts.
        """
        return np.stack([_average_precision(c, weights) for c in self._areas[area]], axis=1)


def draw_images(runs: Sequence[Outcomes], seed: int = 0) -> np.ndarray:
    """Draw images with replacement, the same for all runs.

    Returns:
        (B, I) int32, how often each image is drawn. The more detections there are, the fewer
        drawings: B is 1000 down to 200.
    """
    work = 40 * max(1, sum(run.num_detections for run in runs))  # 10 thresholds, 4 ranges of areas
    number = min(_MOST, max(_FEWEST, _WORK // work))
    num_images = runs[0].num_images
    generator = np.random.default_rng(seed)
    shares = np.full(num_images, 1 / num_images)
    return generator.multinomial(num_images, shares, size=number).astype(np.int32)


def resampled(run: Outcomes, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Compute AP for each drawing.

    Args:
        run: the detections.
        weights: (B, I) from :func:`draw_images`.

    Returns:
        AP, AP50, AP75, APs, APm and APl, (B,), and "classes", AP of each class, (B, K); all in
        percent, NaN where there is nothing to measure.
    """
    of_all = 100 * run.average_precision(0, weights)
    found = {
        "AP": _mean(of_all),
        "AP50": _mean(of_all[:, :, :1]),
        "AP75": _mean(of_all[:, :, 5:6]),
    }
    for area, name in enumerate(("APs", "APm", "APl"), 1):
        found[name] = _mean(100 * run.average_precision(area, weights))
    return found | {"classes": of_all.mean(axis=2)}


def interval(values: np.ndarray) -> Interval | None:
    """Return the middle 95 % of (B,) values; None if there is nothing to measure."""
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    rest = (100 - SHARE) / 2
    lower, upper = np.percentile(values, [rest, 100 - rest]).tolist()
    return Interval(lower, upper)


def intervals_of_differences(
    truth: GroundTruth, runs: Sequence[DetectionColumns], task: str, max_dets: int
) -> list[dict[str, Interval | None]]:
    """Compute intervals of each run's figures minus those of the first, drawing by drawing.

    Args:
        truth: the annotations.
        runs: the detections of each run.
        task, max_dets: see :meth:`fcos.evaluation.cocoeval.GroundTruth.evaluate`.

    Returns:
        For each run but the first, figure to interval; both runs see the same images.
    """
    if len(runs) < 2:
        return []
    outcomes = [Outcomes(truth, run, task, max_dets) for run in runs]
    weights = draw_images(outcomes)
    first, *others = (resampled(run, weights) for run in outcomes)
    names = [name for name in first if name != "classes"]
    return [{name: interval(other[name] - first[name]) for name in names} for other in others]


def _average_precision(of: _Class, weights: np.ndarray) -> np.ndarray:
    """Return (B, T)."""
    step = max(1, _CHUNK // max(1, len(of.images)))
    chunks = [weights[i : i + step] for i in range(0, len(weights), step)]
    return np.concatenate([_of_chunk(of, chunk) for chunk in chunks])


def _of_chunk(of: _Class, weights: np.ndarray) -> np.ndarray:
    num_objects = weights @ of.num_objects
    found = np.full((len(weights), len(of.counts)), np.nan)
    for t, (counts, is_right) in enumerate(zip(of.counts, of.is_right, strict=True)):
        if not t or (counts != of.counts[t - 1]).any():
            images = of.images[counts]
            claimed = weights[:, images].cumsum(axis=1)
        right = np.flatnonzero(is_right[counts])
        correct = weights[:, images[right]].cumsum(axis=1)
        found[:, t] = _mean_precision(correct, claimed[:, right], num_objects)
    found[num_objects == 0] = np.nan
    return found


def _mean_precision(
    correct: np.ndarray, claimed: np.ndarray, num_objects: np.ndarray
) -> np.ndarray:
    """Average precision over 101 recalls, as COCO does.

    Args:
        correct: (B, P) right detections up to and with each of P right ones.
        claimed: (B, P) all detections up to there.
        num_objects: (B,).
    """
    if not correct.shape[1]:
        return np.zeros(len(correct))
    precision = correct / np.maximum(claimed, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # here or at more recall
    recall = correct / np.maximum(num_objects, 1)[:, None]
    reached = np.searchsorted(_RECALLS, recall, side="right")  # of the 101, up to each detection
    newly = np.diff(reached, axis=1, prepend=0)
    return (newly * best).sum(axis=1) / len(_RECALLS)


def _mean(values: np.ndarray) -> np.ndarray:
    """Return the mean of (B, K, T) over the classes that have objects, and the thresholds."""
    has_objects = np.isfinite(values)
    number = has_objects.sum(axis=(1, 2))
    total = np.where(has_objects, values, 0).sum(axis=(1, 2))
    return np.where(number, total / np.maximum(number, 1), np.nan)
