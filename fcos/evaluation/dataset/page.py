"""The page on data sets as one HTML file."""

from __future__ import annotations

from typing import Any

from fcos.evaluation.dataset.album import Album
from fcos.evaluation.dataset.assignment import FATES
from fcos.evaluation.dataset.charts import FATE_COLORS, draw_contents, draw_learning
from fcos.evaluation.dataset.study import Study
from fcos.evaluation.rendering import render
from fcos.predict import class_colors

__all__ = ["render_report"]


def render_report(numbers: dict[str, Any], study: Study, album: Album) -> str:
    """Fill in templates/dataset.html; every name in it is escaped.

    Args:
        numbers: of :func:`fcos.evaluation.dataset.numbers.numbers_of`.
        study: what they are of.
        album: the pictures.
    """
    training = [split.objects for split in study.training]
    trial = study.trial
    colors = class_colors(len(study.class_names))
    return render(
        "dataset.html",
        numbers=numbers,
        album=album,
        fates=FATES,
        fate_colors=FATE_COLORS,
        class_colors={
            name: f"rgb({red},{green},{blue})"
            for name, (red, green, blue) in zip(study.class_names, colors, strict=True)
        },
        contents=draw_contents(training),
        learning=draw_learning(
            training, trial.inputs, trial.assigned, trial.cfg.MODEL.FCOS.FPN_STRIDES
        ),
        seed=trial.cfg.SEED,
    )
