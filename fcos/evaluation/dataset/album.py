"""The pictures of the page: which objects, and what training sees."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from fcos.evaluation.dataset.assignment import FATES
from fcos.evaluation.dataset.batches import Sample, training_samples
from fcos.evaluation.dataset.sheet import Tile, choose_range, draw_tiles, tiles_of
from fcos.evaluation.dataset.splits import Split
from fcos.evaluation.dataset.study import Study
from fcos.predict import class_colors

__all__ = ["Album", "make_album"]

_EXAMPLES = 6  # pictures of each thing that the page points at
_MOST_CLASSES = 100  # that have pictures
_MOST_PAIRS = 6  # of images that two data sets share
_SAMPLES = 16  # of what training sees

Strip = list[tuple[bytes, str]]  # JPEG files with their captions


@dataclasses.dataclass(frozen=True)
class Album:
    """Strips of pictures, in the order of what they show.

    Attributes:
        classes: class -> objects of it, from the smallest to the largest.
        fates: fate -> objects that no location learns.
        suspicions: of each suspicion of the study.
        pairs: of images that training and evaluation share.
        samples: what training sees first.
        end_of_samples: why there are no more of them, if the stream stopped.
        problems: why images could not be drawn.
    """

    classes: dict[str, Strip]
    fates: dict[str, Strip]
    suspicions: list[Strip]
    pairs: Strip
    samples: list[Sample]
    end_of_samples: str
    problems: list[str]


def make_album(study: Study) -> Album:
    """Choose and draw the pictures of the page."""
    fates = [fate for fate in list(FATES)[1:] if study.trial.assigned.count(fate)]
    sheets = _sheets(study)
    groups = [
        *sheets.values(),
        *(_spread(study.with_fate(fate)) for fate in fates),
        *(_spread([(found.split, found.which)]) for found in study.suspicions),
        _pairs(study),
    ]
    colors = class_colors(len(study.class_names))
    tiles = [tile for group in groups for tile in group]
    drawn, problems = draw_tiles(tiles, colors, study.trial.cfg.INPUT.STRETCH_RANGE)
    pictures, strips = iter(drawn), []
    for group in groups:
        pairs = [(next(pictures), tile.caption) for tile in group]
        strips.append([(picture, caption) for picture, caption in pairs if picture is not None])
    samples, end = training_samples(study.trial.cfg, study.class_names, _SAMPLES)
    first, second = len(sheets), len(sheets) + len(fates)
    return Album(
        classes=dict(zip(sheets, strips[:first], strict=True)),
        fates=dict(zip(fates, strips[first:second], strict=True)),
        suspicions=strips[second:-1],
        pairs=strips[-1],
        samples=samples,
        end_of_samples=end,
        problems=problems,
    )


def _sheets(study: Study) -> dict[str, list[Tile]]:
    """Choose objects of every class, or of the most frequent and the rarest ones."""
    split = max(study.training, key=lambda split: len(split.objects.boxes))
    classes = split.objects.classes
    counts = np.bincount(classes, minlength=len(study.class_names))
    order = [i for i in np.argsort(-counts, kind="stable").tolist() if counts[i]]
    if len(order) > _MOST_CLASSES:
        order = order[: _MOST_CLASSES // 2] + order[-_MOST_CLASSES // 2 :]
    areas = split.objects.sides.prod(axis=1)
    most = 8 if len(order) <= 12 else _EXAMPLES
    chosen = {}
    for number in order:
        of_class = np.flatnonzero(classes == number)
        which = of_class[choose_range(areas[of_class], most)]
        chosen[study.class_names[number]] = tiles_of(split, which.tolist())
    return chosen


def _spread(groups: Sequence[tuple[Split, np.ndarray]]) -> list[Tile]:
    """Choose a few objects of each data set, from the smallest to the largest."""
    present = [(split, which) for split, which in groups if len(which)]
    tiles = []
    for split, which in present[:_EXAMPLES]:
        areas = split.objects.sides[which].prod(axis=1)
        chosen = which[choose_range(areas, max(1, _EXAMPLES // len(present)))]
        tiles += tiles_of(split, chosen.tolist())
    return tiles


def _pairs(study: Study) -> list[Tile]:
    nothing = np.zeros((0, 4)), np.zeros(0, int)
    return [
        Tile(path, f"{use}: {os.path.basename(path)}", None, *nothing)
        for pair in study.shared.pairs[:_MOST_PAIRS]
        for path, use in zip(pair, ("training", "evaluation"), strict=True)
    ]
