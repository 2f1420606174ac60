"""The page of a report."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from fcos.config import get_cfg
from fcos.evaluation.comparison import different_settings
from fcos.evaluation.pictures import WRONG
from fcos.evaluation.rendering import render
from fcos.evaluation.report.captions import budget_in_words, caption_of
from fcos.evaluation.report.measured import Measured
from fcos.evaluation.report.rows import BASELINE, RETINANET, ROWS
from fcos.evaluation.report.steps import Steps
from fcos.evaluation.report.study import Study
from fcos.evaluation.report.tables import Line

__all__ = ["render_report"]

# What runs of one table always differ in, or what the table is about.
_EXPECTED = ("SEED", "MODEL.WEIGHTS", *(f"MODEL.FCOS.{key}" for key in ROWS[BASELINE].settings))
_EXPECTED_OF_MASKS = ("SEED", "MODEL.")
# Keys under MODEL.FCOS that the text of the steps or its table of levels tells, and those that
# matter only when a training begins.
_TOLD = {
    *ROWS[BASELINE].settings,
    *("FPN_STRIDES", "IN_FEATURES", "TOP_LEVELS", "SIZES_OF_INTEREST", "POS_RADIUS"),
    *("NUM_CLASSES", "NUM_STACKED_CONVS", "PRIOR_PROB", "PRIOR_DISTANCE"),
    *("LOSS_ALPHA", "LOSS_GAMMA", "SCORE_THRESH_TEST", "NMS_PRE_TOPK", "NMS_POST_TOPK"),
    "REINIT_CLS_LOGITS",
}


def render_report(study: Study, steps: Steps | None, steps_why_not: str) -> str:
    """Fill in templates/report.html; every name in it is escaped.

    Args:
        study: what the report is about.
        steps: the pictures of the steps; None if they cannot be drawn.
        steps_why_not: the sentence that says so.
    """
    fcos, untold = _settings_of_fcos(study)
    last = _last(study)
    parent, sources = _sources(study.runs)
    return render(
        "report.html",
        study=study,
        baseline=study.baseline,
        last=last,
        from_baseline=_change(study.table3, study.baseline, last),
        changes=[_change(study.table3, *pair) for pair in pairwise([None, *study.table3])],
        captions={
            "baseline": caption_of(study, [study.baseline]),
            "table3": caption_of(study, study.table3),
            "masks": caption_of(study, study.masks),
            "runs": _budgets(study),
        },
        each_seed=_each_seed(study.table3),
        settings=_other_settings(study.table3, _EXPECTED),
        mask_settings=_other_settings(study.masks, _EXPECTED_OF_MASKS),
        parent=parent,
        sources=sources,
        fcos=fcos,
        untold=untold,
        limits=fcos["SIZES_OF_INTEREST"] or [8 * s for s in fcos["FPN_STRIDES"][:-1]],
        steps=steps,
        steps_why_not=steps_why_not,
        wrong=WRONG,
    )


def _settings_of_fcos(study: Study) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys under MODEL.FCOS of the detector that is shown.

    Returns:
        All of them, and those in which it differs from what the text tells.
    """
    settings = dict(get_cfg().MODEL.FCOS)
    differ = {}
    if study.subject is not None:
        own = study.subject.folder.config.get("MODEL", {}).get("FCOS", {})
        differ = {k: v for k, v in own.items() if k in settings and v != settings[k]}
        settings.update(own)
    untold = {
        f"MODEL.FCOS.{key}": value
        for key, value in differ.items()
        if key not in _TOLD and not key.endswith("_TRAIN")
    }
    return settings, untold


def _sources(runs: Sequence[Measured]) -> tuple[str, list[str]]:
    """Return where the figures of each run are from.

    Returns:
        The folder that has the folders of all runs, by their names, and the paths inside of these;
        or an empty text and whole paths.
    """
    paths = [os.path.normpath(run.folder.path) for run in runs]
    sources = [run.source or path for run, path in zip(runs, paths, strict=True)]
    parents = {os.path.dirname(path) for path in paths}
    named = all(os.path.basename(path) == run.label for run, path in zip(runs, paths, strict=True))
    if len(parents) > 1 or not named:
        return "", sources
    inner = [os.path.relpath(*pair) for pair in zip(sources, paths, strict=True)]
    return parents.pop() or ".", ["" if name == "." else name for name in inner]


def _last(study: Study) -> Line | None:
    """Return the last row that was run after the baseline."""
    names = list(ROWS)
    after = names[names.index(BASELINE) + 1 :]
    found = [line for line in study.table3 if line.name in after and line.runs]
    return found[-1] if found else None


def _change(lines: list[Line], before: Line | None, after: Line | None) -> float | None:
    """Return the change of the mean AP between two rows; None unless each has one line with AP."""
    if before is None or after is None or not (before.first and after.first):
        return None
    for row in (before, after):
        if sum(line.name == row.name for line in lines) > 1:
            return None
    means = [line.spreads["box"]["AP"].mean for line in (before, after)]
    return means[1] - means[0]


def _each_seed(table3: list[Line]) -> dict[str, Any] | None:
    """Lay out the AP of every seed; None where no row has several."""
    if max(len(line.runs) for line in table3) < 2:
        return None
    seeds = sorted({run.seed for line in table3 for run in line.runs if run.seed is not None})
    rows = {}
    for line in table3:
        of_seed = {run.seed: run.figures["box"]["AP"] for run in line.runs}
        if of_seed:
            rows[line.title] = [of_seed.get(seed) for seed in seeds]
    return {"seeds": seeds, "rows": rows}


def _other_settings(
    lines: list[Line], expected: tuple[str, ...]
) -> dict[str, dict[str, list[str]]]:
    """Find keys that differ between the detectors of a table: key to value to their names.

    RetinaNet, which has keys of its own, is left out.

    Args:
        lines: of the table.
        expected: how keys begin that always differ, or that the table is about.
    """
    pairs = [(line.name, run) for line in lines if line.name != RETINANET for run in line.runs]
    if not pairs:
        return {}
    found: dict[str, dict[str, list[str]]] = {}
    for key, values in different_settings([run.folder.config for _, run in pairs]).items():
        if not key.startswith(expected):
            for (name, _), value in zip(pairs, values, strict=True):
                names = found.setdefault(key, {}).setdefault(value, [])
                if name not in names:
                    names.append(name)
    return found


def _budgets(study: Study) -> list[str]:
    """Write what each run had; runs that had the same are named together."""
    labels: dict[str, list[str]] = {}
    for run in study.runs:
        labels.setdefault(budget_in_words(run.budget, study.training_images), []).append(run.label)
    if len(labels) == 1:
        return list(labels)
    return [f"{', '.join(names)}: {text}" for text, names in labels.items()]
