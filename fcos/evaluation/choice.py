"""Choose the images on which runs differ most.

Runs are compared by their F1 on an image: detections with at least a score are matched to its
objects, by COCO's rules, at IoU 0.50 and of the same class; F1 = 2 found / (2 found + wrong +
missed). An image without objects and without detections has F1 1. Crowds, and detections on them,
do not count.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.cocoeval import Matches
from fcos.evaluation.cuts import cuts_of

__all__ = ["Choice", "Counts", "best_score", "choose_images", "count_images"]


@dataclasses.dataclass
class Counts:
    """What a run got right and wrong on an image.

    Attributes:
        found: objects with a detection of their class.
        wrong: detections without an object.
        missed: objects without a detection.
    """

    found: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def f1(self) -> float:
        """In [0, 1]; 1 where there is nothing to find and nothing was claimed."""
        total = 2 * self.found + self.wrong + self.missed
        return 2 * self.found / total if total else 1.0


@dataclasses.dataclass(frozen=True)
class Choice:
    """An image to show.

    Attributes:
        image_id: in the annotation file.
        counts: of each run.
        difference: highest minus lowest F1 of the runs, in [0, 1].
    """

    image_id: Any
    counts: tuple[Counts, ...]
    difference: float


def best_score(matches: Matches) -> float:
    """Find the score threshold with the highest F1 over all images together.

    Scores of two detectors mean different things; at its own best threshold each is judged as it
    would be used.

    Args:
        matches: from :meth:`fcos.evaluation.truth.Truth.matches`, here and below.

    Returns:
        A score of a detection; that detection is kept. 0 if no detection counts.
    """
    counts = matches.is_right | matches.is_wrong
    found = cuts_of(matches.scores[counts], matches.is_right[counts], matches.num_objects.sum())
    return float(found.scores[found.f1.argmax()]) if len(found.scores) else 0.0


def count_images(matches: Matches, score: float) -> dict[Any, Counts]:
    """Count what is found, wrong and missed on every image, by its id.

    Args:
        matches: of a run.
        score: detections below it are left out. The others keep the objects that they matched,
            because the highest scores are matched first.
    """
    is_kept, size = matches.scores >= score, len(matches.image_ids)
    found = np.bincount(matches.images[is_kept & matches.is_right], minlength=size)
    wrong = np.bincount(matches.images[is_kept & matches.is_wrong], minlength=size)
    rows = np.column_stack([found, wrong, matches.num_objects - found]).tolist()
    return {id_: Counts(*row) for id_, row in zip(matches.image_ids, rows, strict=True)}


def choose_images(per_run: Sequence[dict[Any, Counts]], number: int) -> list[Choice]:
    """Choose the images on which F1 differs most between runs.

    Args:
        per_run: from :func:`count_images`, at least one.
        number: how many at most. Images on which all runs have the same F1 are not chosen.

    Returns:
        The largest difference first. Of equal ones, that with the larger difference in the number
        of mistakes (wrong + missed), then that with the lower id.
    """
    ranked = []
    for image_id in sorted(per_run[0], key=lambda i: (isinstance(i, str), i)):
        counts = tuple(run[image_id] for run in per_run)
        f1 = [count.f1 for count in counts]
        mistakes = [count.wrong + count.missed for count in counts]
        choice = Choice(image_id, counts, max(f1) - min(f1))
        ranked.append(((choice.difference, max(mistakes) - min(mistakes)), choice))
    ranked.sort(key=lambda pair: pair[0], reverse=True)  # stable, also in reverse
    return [choice for _, choice in ranked if choice.difference > 0][:number]
