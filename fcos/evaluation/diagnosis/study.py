"""All that the page says of a run."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np

from fcos.config.detector_keys import detector_keys
from fcos.evaluation.choice import best_score
from fcos.evaluation.comparison import max_dets_of
from fcos.evaluation.diagnosis.confusion import count_confusions
from fcos.evaluation.diagnosis.errors import ErrorCosts, error_costs
from fcos.evaluation.diagnosis.groups import (
    Group,
    Levels,
    by_crowding,
    by_level,
    by_size,
    find_levels,
)
from fcos.evaluation.diagnosis.images import BadImage, Suspicion, Views
from fcos.evaluation.diagnosis.scores import Reliability, ScoreCurve, reliability, score_curves
from fcos.evaluation.diagnosis.subject import Subject
from fcos.evaluation.figures import class_figures, figures
from fcos.evaluation.resampling import Interval, Outcomes, draw_images, interval, resampled
from fcos.evaluation.runs import Run
from fcos.evaluation.truth import Truth
from fcos.utils.nested import flat

__all__ = ["Diagnosis", "TaskDiagnosis", "diagnose"]

_HIGH = 0.1  # a lowest score above this tells that detections were left out
_USUAL_THRESHOLD = 0.05  # of scores, in an evaluation
_SUSPICIONS = 24  # labels to show


@dataclasses.dataclass(frozen=True)
class TaskDiagnosis:
    """The figures for boxes or for masks.

    Attributes:
        name: "box" or "mask".
        overall: METRICS, in percent.
        intervals: of AP, AP50, AP75, APs, APm and APl, 95 %.
        classes: METRICS of every class.
        class_intervals: of the AP of every class.
        errors: what they cost.
        sizes, levels, crowding: AP of parts of the objects.
    """

    name: str
    overall: dict[str, float]
    intervals: dict[str, Interval | None]
    classes: list[dict[str, float]]
    class_intervals: list[Interval | None]
    errors: ErrorCosts
    sizes: list[Group]
    levels: list[Group]
    crowding: list[Group]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What a run finds, and where it fails.

    Attributes:
        run: the detections.
        truth: the data set.
        max_dets: the best so many of an image and class count.
        drawings: how often images were drawn for the intervals.
        score: from which detections are counted and shown.
        is_score_given: it was asked for; else it is that with the best F1.
        tasks: boxes, and masks if the detections and the annotations have them.
        levels: of the pyramid; None: the config is of no FCOS, or there is none.
        matrix: see :func:`fcos.evaluation.diagnosis.confusion.count_confusions`.
        curves: of all classes together, then of each class.
        reliability: of the scores.
        images: the worst.
        suspicions: labels that are probably wrong, the first of ``num_suspicions``.
        notes: sentences on what the reader should know first.
    """

    run: Run
    truth: Truth
    max_dets: int
    drawings: int
    score: float
    is_score_given: bool
    tasks: list[TaskDiagnosis]
    levels: Levels | None
    matrix: np.ndarray
    curves: list[ScoreCurve]
    reliability: Reliability
    images: list[BadImage]
    suspicions: list[Suspicion]
    num_suspicions: int
    notes: list[str]


def diagnose(run: Run, truth: Truth, *, num_images: int, score: float | None = None) -> Diagnosis:
    """Find out where a run fails.

    Args:
        run: the detections.
        truth: the data set.
        num_images: how many images to draw at most; 0 reads no image files.
        score: count and show detections with at least this score; None for that with the best F1.
    """
    max_dets, found = max_dets_of(run.folder.config), truth.objects.columns(run.results)
    subject = Subject(truth, found, "bbox", max_dets)
    threshold = best_score(subject.matches) if score is None else score
    levels = find_levels(run.folder.config)
    subjects = [("box", subject)]
    if run.has_masks and truth.has_masks:
        subjects.append(("mask", Subject(truth, found, "segm", max_dets)))
    parts = [_task(name, of_task, levels) for name, of_task in subjects]
    stretch = bool(flat(run.folder.config).get("INPUT.STRETCH_RANGE", False))
    views = Views(subject, run.results, threshold)
    draw = num_images > 0 and bool(truth.image_root)
    images = views.worst(num_images, draw, stretch)
    suspicions = views.suspicions(_SUSPICIONS, draw, stretch)
    return Diagnosis(
        run=run,
        truth=truth,
        max_dets=max_dets,
        drawings=parts[0][1],
        score=threshold,
        is_score_given=score is not None,
        tasks=[task for task, _ in parts],
        levels=levels,
        matrix=count_confusions(subject, threshold),
        curves=score_curves(subject, threshold),
        reliability=reliability(subject),
        images=images,
        suspicions=suspicions,
        num_suspicions=views.num_suspicions,
        notes=_notes(run, truth, views.problems),
    )


def _task(name: str, subject: Subject, levels: Levels | None) -> tuple[TaskDiagnosis, int]:
    """Compute the figures of a task; and the number of drawings."""
    truth = subject.truth.objects
    evaluated = truth.evaluate(subject.found, subject.task, subject.max_dets)
    outcomes = Outcomes(truth, subject.found, subject.task, subject.max_dets)
    weights = draw_images([outcomes])
    again: dict[str, Any] = resampled(outcomes, weights)
    of_classes = again.pop("classes")
    task = TaskDiagnosis(
        name=name,
        overall=figures(evaluated),
        intervals={metric: interval(values) for metric, values in again.items()},
        classes=class_figures(evaluated),
        class_intervals=[interval(values) for values in of_classes.T],
        errors=error_costs(subject),
        sizes=by_size(subject),
        levels=by_level(subject, levels) if levels else [],
        crowding=by_crowding(subject),
    )
    return task, len(weights)


def _on_lowest_score(run: Run) -> list[str]:
    """Say why no detection has a low score: by the threshold of scores, or the limit of an image.

    Without a config, the limit is taken to be COCO's 100, and the threshold is not known.
    """
    lowest = min(result["score"] for result in run.results)
    if lowest <= _HIGH:
        return []
    values, keys = flat(run.folder.config), detector_keys(run.folder.config)
    threshold, most = values.get(keys.score_threshold), values.get(keys.most_found, 100)
    is_threshold_low = isinstance(threshold, (int, float)) and threshold <= _USUAL_THRESHOLD
    numbers = Counter(result["image_id"] for result in run.results).values()
    num_full = sum(number >= most for number in numbers) if isinstance(most, int) else 0
    said = f"No detection has a score below {lowest:.2f}"
    if num_full == len(numbers) or (num_full and is_threshold_low):
        key = f" ({keys.most_found})" if values else ""
        effect = ". COCO's AP is of 100 at most, too." if most >= 100 else ", which lowers AP."
        return [
            f"{said}: {num_full} of {len(numbers)} images have {most} detections, the most that an "
            f"image can have{key}, so those with lower scores were left out{effect}"
        ]
    if is_threshold_low:
        return []
    key = keys.score_threshold if values else "SCORE_THRESH_TEST"
    return [
        f"{said}: detections were left out, which lowers AP and recall. Evaluate with {key} "
        f"{_USUAL_THRESHOLD}."
    ]


def _notes(run: Run, truth: Truth, problems: list[str]) -> list[str]:
    notes = _on_lowest_score(run)
    if run.has_masks and not truth.has_masks:
        notes.append(
            f"The detections have masks, but the annotations of {truth.name} have none, so this "
            "page is on boxes."
        )
    if problems:
        more = f" So it is with {len(problems) - 1} more." if len(problems) > 1 else ""
        notes.append(f"Not all images can be drawn: {problems[0].rstrip('.')}.{more}")
    return notes
