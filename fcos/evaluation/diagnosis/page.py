"""The page of a diagnosis."""

from __future__ import annotations

import dataclasses

import numpy as np

from fcos.evaluation.diagnosis.charts import draw_reliability, draw_scores
from fcos.evaluation.diagnosis.confusion import confusions, shown_part
from fcos.evaluation.diagnosis.drawing import STYLES
from fcos.evaluation.diagnosis.errors import KINDS
from fcos.evaluation.diagnosis.study import Diagnosis
from fcos.evaluation.rendering import render

__all__ = ["render_diagnosis"]

_MOST_CLASSES = 15  # of the confusion matrix
_MOST_PAIRS = 12  # of confused classes
_OPEN_CLASSES = 30  # rows of the table of classes that are shown at once


@dataclasses.dataclass(frozen=True)
class _Part:
    """The classes of the confusion matrix that are shown.

    Attributes:
        labels: of the classes; the last may be all others.
        rows: counts, with a row and a column more than there are labels.
        others: how many classes are summed up in the last one.
    """

    labels: list[str]
    rows: list[list[int]]
    others: int


def render_diagnosis(found: Diagnosis) -> str:
    """Fill in templates/diagnosis.html; every name in it is escaped."""
    names, matrix = found.truth.class_names, found.matrix
    pairs = [
        (names[a], names[b], number, int(matrix[a].sum())) for a, b, number in confusions(matrix)
    ]
    return render(
        "diagnosis.html",
        found=found,
        names=names,
        kinds={kind: text for kind, (_, text) in KINDS.items()},
        part=_part(matrix, names),
        pairs=pairs[:_MOST_PAIRS],
        num_pairs=len(pairs),
        scores=draw_scores(found.curves, names, found.score),
        reliability=draw_reliability(found.reliability),
        limits=", ".join(f"{limit:g}" for limit in found.levels.limits) if found.levels else "",
        styles=STYLES,
        open_classes=len(names) <= _OPEN_CLASSES,
    )


def _part(matrix: np.ndarray, names: list[str]) -> _Part:
    shown = shown_part(matrix, _MOST_CLASSES)
    rest = [place for place in range(len(names)) if place not in shown]
    groups = [[place] for place in shown] + ([rest] if rest else []) + [[len(names)]]
    rows = [[int(matrix[np.ix_(a, b)].sum()) for b in groups] for a in groups]
    labels = [names[place] for place in shown] + (["other classes"] if rest else [])
    return _Part(labels, rows, len(rest))
