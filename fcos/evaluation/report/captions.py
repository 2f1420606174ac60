"""What stands in the caption of every table: data, images, iterations, seeds, budget."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from fcos.evaluation.report.rows import MASKS
from fcos.evaluation.report.study import Study
from fcos.evaluation.report.tables import Line, budgets_of
from fcos.evaluation.report.trained import Budget

__all__ = ["budget_in_words", "caption_of"]

_TABLE3 = "R-50, 90,000 iterations of 16 images of COCO trainval35k, evaluated on minival"
# The same images under other names: trainval35k is train2017, and minival is val2017.
_MODEL_ZOO = "R-50, 90,000 iterations of 16 images of COCO train2017, evaluated on val2017"
_SAME_IMAGES = ("coco_2017_val", "coco_2014_minival")


def caption_of(study: Study, lines: Sequence[Line]) -> list[str]:
    """Write the sentences below a table.

    Args:
        study: what the report is about.
        lines: of the table.
    """
    truth = study.truth
    budgets = budgets_of(lines)
    sentences = []
    for budget, titles in budgets.items():
        of = "" if len(budgets) == 1 else f"{'; '.join(titles)}: "
        sentences.append(of + budget_in_words(budget, study.training_images))
    if len(budgets) > 1:
        sentences.append("The budgets differ, so the lines can be compared only with care.")
    sentences.append(
        f"Evaluated on {truth.name}: {len(truth.coco.imgs):,} images, {len(truth.coco.anns):,} "
        "objects."
    )
    seeds = sorted({run.seed for line in lines for run in line.runs if run.seed is not None})
    if any(line.runs for line in lines):
        sentences.append(_seeds(seeds, max(len(line.runs) for line in lines)))
    is_of_masks = any(line.name in MASKS for line in lines)
    sentences.append(_published(study.dataset, _MODEL_ZOO if is_of_masks else _TABLE3))
    return sentences


def budget_in_words(budget: Budget, images: Mapping[str, int | None]) -> str:
    """Write a sentence on what a training had.

    Args:
        budget: of the training.
        images: images of each training set; None where that is not known.
    """
    if budget.iterations is None:
        return "How it was trained is not known: its training left no files here."
    data = ", ".join(
        name if images.get(name) is None else f"{name} ({images[name]:,} images)"
        for name in budget.datasets
    )
    text = f"Trained on {data or 'unknown data'} for {budget.iterations:,} iterations"
    if budget.images_per_batch:
        seen = budget.iterations * budget.images_per_batch
        text += f" of {budget.images_per_batch} images, {seen:,} in all"
        known = [images.get(name) or 0 for name in budget.datasets]
        if known and all(known):
            text += f" ({seen / sum(known):.1f} times each)"
    if budget.sides:
        text += f"; shorter side {', '.join(map(str, budget.sides))} pixels"
    start = os.path.basename(budget.weights) or "random weights"
    return f"{text}; {budget.backbone} from {start}."


def _seeds(seeds: Sequence[int], most: int) -> str:
    named = ", ".join(map(str, seeds)) or "not known"
    if most < 2:
        return f"Seed: {named}; one run of each, so there is no spread."
    return (
        f"Seeds: {named}; mean \N{PLUS-MINUS SIGN} standard deviation over the seeds of a line; "
        "one seed has no spread."
    )


def _published(dataset: str | None, published: str) -> str:
    if dataset in _SAME_IMAGES:
        return f"Published: {published}, which are the images of this evaluation."
    if dataset is not None and dataset.startswith("coco_20"):
        return f"Published figures are of other images of COCO and another training: {published}."
    return (
        f"This is not COCO. Published figures are of other data and another training: {published}."
    )
