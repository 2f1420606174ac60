"""Which of the logged numbers are drawn together, and under which heading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from fcos.evaluation.training.charts import Line, Panel
from fcos.evaluation.training.history import MEMORY, History, Series

__all__ = ["TASKS", "ap_names", "choose_panels", "split_time"]

TASKS = {"bbox": "Box", "segm": "Mask"}
_FIGURE = re.compile(r"(?P<task>(?:.*/)?(?P<kind>bbox|segm)\w*)/AP")
# With the kind of weights behind it, such as validation_EMA/total_loss.
_VALIDATION = re.compile(r"(?P<what>validation\w*)/(?P<term>.+)")
_TOTAL = "total_loss"
_DRAWN_APART = {"lr", "time", "data_time", "rank_data_time", "eta_seconds", MEMORY}
_MOST_OTHERS = 24  # panels of what else was logged


def choose_panels(histories: Sequence[History]) -> dict[str, list[Panel]]:
    """Choose the panels of each heading of the page.

    Args:
        histories: of the runs, which are drawn into the same panels.
    """
    logged = list(dict.fromkeys(name for history in histories for name in history.series))
    losses = [_loss_panel(histories, term, logged) for term in _terms(logged)]
    tasks = dict.fromkeys(found["task"] for name in logged if (found := _FIGURE.fullmatch(name)))
    panels = {
        "Losses and learning rate": [*losses, *_plain(histories, "lr", "Learning rate")],
        "Average precision": [_ap_panel(histories, task) for task in tasks],
        "Time and memory": [*_time_panels(histories), *_memory_panels(histories)],
        "What else was logged": [
            panel for name in _others(logged)[:_MOST_OTHERS] for panel in _plain(histories, name)
        ],
    }
    return {heading: of_it for heading, of_it in panels.items() if of_it}


def ap_names(history: History) -> list[str]:
    """Return the names of the averages over all classes: ``bbox/AP``, ``data set/segm/AP``, ..."""
    return [name for name in history.series if _FIGURE.fullmatch(name)]


def split_time(history: History) -> tuple[Series, Series] | None:
    """Split the seconds of an iteration into those that it waited for data, and the others.

    Returns:
        Two series of the same iterations; None where the times were not logged.
    """
    total, data = history.series.get("time"), history.series.get("data_time")
    if total is None or data is None:
        return None
    total, data = total.finite, data.finite
    both, in_total, in_data = np.intersect1d(
        total.iterations, data.iterations, assume_unique=True, return_indices=True
    )
    if not len(both):
        return None
    waited = np.minimum(data.values[in_data], total.values[in_total])  # they are two medians
    return Series(both, waited), Series(both, total.values[in_total] - waited)


def _terms(logged: Sequence[str]) -> list[str]:
    """Return the losses in training or in validation, the total first."""
    in_training = [name for name in logged if "loss" in name and "/" not in name]
    in_validation = [found["term"] for name in logged if (found := _VALIDATION.fullmatch(name))]
    return sorted(dict.fromkeys(in_training + in_validation), key=lambda term: term != _TOTAL)


def _others(logged: Sequence[str]) -> list[str]:
    """Return what no other panel shows; AP by class or by size is in the log."""
    terms = set(_terms(logged))
    return [
        name
        for name in logged
        if name not in terms
        and not _VALIDATION.fullmatch(name)
        and name not in _DRAWN_APART
        and not re.search(r"(bbox|segm)\w*/A[PR]", name)
    ]


def _lines(
    histories: Sequence[History], name: str, what: str = "", style: int = 0, **how: bool
) -> Iterator[Line]:
    """Yield the line of each run that has the numbers; a single run has lines of many styles."""
    several = len(histories) > 1
    for run, history in enumerate(histories):
        if name in history.series:
            label = ", ".join(filter(None, [history.label if several else "", what]))
            number = run if several else style
            yield Line(label, history.series[name], number, number, **how)


def _loss_panel(histories: Sequence[History], term: str, logged: Sequence[str]) -> Panel:
    in_validation: list[Line] = []
    of_term = (found for name in logged if (found := _VALIDATION.fullmatch(name)))
    for style, found in enumerate((f for f in of_term if f["term"] == term), start=1):
        what = found["what"].replace("_", " ")
        in_validation += _lines(histories, found[0], what, style, is_measured=True)
    what = "training" if in_validation and len(histories) == 1 else ""
    return Panel(term, [*_lines(histories, term, what), *in_validation], may_be_log=True)


def _ap_panel(histories: Sequence[History], task: str) -> Panel:
    # With several runs, only what they are compared by.
    figures = ("AP", "AP50", "AP75") if len(histories) == 1 else ("AP",)
    lines: list[Line] = []
    for style, figure in enumerate(figures):
        what = figure if len(figures) > 1 else ""
        how = {"is_measured": True, "marks_best": style == 0}
        lines += _lines(histories, f"{task}/{figure}", what, style, **how)
    before, _, kind = task.rpartition("/")
    name = re.sub("bbox|segm", lambda found: TASKS[found[0]], kind).replace("_", " ")
    return Panel(" ".join(filter(None, [before, name, "AP"])), lines, grows=True)


def _plain(histories: Sequence[History], name: str, title: str = "") -> list[Panel]:
    lines = list(_lines(histories, name))
    return [Panel(title or name, lines)] if lines else []


def _time_panels(histories: Sequence[History]) -> list[Panel]:
    parts = [(run, split) for run, h in enumerate(histories) if (split := split_time(h))]
    if not parts:
        return []
    if len(histories) == 1:
        waited, rest = parts[0][1]
        lines = [Line("waiting for data", waited), Line("computing", rest, 1, 1)]
        return [Panel("Time of an iteration", lines, "seconds", stacked=True)]
    labels = [history.label for history in histories]
    return [
        Panel(title, [Line(labels[run], split[which], run, run) for run, split in parts], "seconds")
        for which, title in ((1, "Computing in an iteration"), (0, "Waiting for data"))
    ]


def _memory_panels(histories: Sequence[History]) -> list[Panel]:
    lines = list(_lines(histories, MEMORY))
    return [Panel("Largest GPU memory so far", lines, "MiB")] if lines else []
