"""Two detectors side by side on images that a rule chooses."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fcos.evaluation.choice import Choice, Counts
from fcos.evaluation.comparison import Comparison, compare
from fcos.evaluation.report.measured import Measured
from fcos.evaluation.truth import Truth
from fcos.utils.errors import UserError
from fcos.utils.values import in_words

__all__ = ["Pair", "choose_spread", "pair_of"]


@dataclasses.dataclass(frozen=True)
class Pair:
    """One or two runs, compared, with pictures.

    Attributes:
        runs: the first is what the other is compared to.
        comparison: None where there is nothing to compare.
        why_not: the sentence that says so; empty with a comparison.
        rule: how the images were chosen, in a sentence.
    """

    runs: tuple[Measured, ...]
    comparison: Comparison | None
    why_not: str
    rule: str


def choose_spread(per_run: Sequence[dict[Any, Counts]], number: int) -> list[Choice]:
    """Choose images at equal distances in the order of the first run's F1.

    Args:
        per_run: from :func:`fcos.evaluation.choice.count_images`.
        number: how many at most. Images without objects are left out.

    Returns:
        From the lowest F1 to the highest; of equal ones, the lower id comes first.
    """
    first = per_run[0]
    ids = sorted(
        (id_ for id_, counts in first.items() if counts.found + counts.missed),
        key=lambda id_: (first[id_].f1, isinstance(id_, str), id_),
    )
    number = min(number, len(ids))
    places = [round(i * (len(ids) - 1) / max(1, number - 1)) for i in range(number)]
    chosen = []
    for place in places:
        counts = tuple(run[ids[place]] for run in per_run)
        f1 = [count.f1 for count in counts]
        chosen.append(Choice(ids[place], counts, max(f1) - min(f1)))
    return chosen


def pair_of(
    runs: Sequence[tuple[str, Measured]], truth: Truth, dataset: str | None, num_images: int
) -> Pair:
    """Compare runs, and draw images by the rule of :func:`choose_spread`.

    Args:
        runs: one or two, each with the name that the report gives it.
        truth: the data set.
        dataset: its name, if it has one.
        num_images: how many images to draw.
    """
    folders = [dataclasses.replace(run.folder, label=name) for name, run in runs]
    measured = tuple(run for _, run in runs)
    try:
        found = compare(folders, truth, dataset, num_images=num_images, choose=choose_spread)
    except UserError as error:
        return Pair(measured, None, str(error), "")
    number = len(found.choices)
    shares = [f"{100 * i / max(1, number - 1):.0f} %" for i in range(number)]
    rule = (
        f"All images with objects are sorted by the F1 of {folders[0].label}, and by their id "
        f"where it is equal; shown are those at {in_words(shares)} of that order, from the worst "
        "image to the best."
        if number
        else ""
    )
    return Pair(measured, found, "", rule)
