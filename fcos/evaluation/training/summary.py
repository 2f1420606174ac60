"""What is said of a training in words and in tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from fcos.evaluation.training.history import MEMORY, History
from fcos.evaluation.training.panels import ap_names, split_time
from fcos.utils.values import listed

__all__ = ["FIGURES", "Evaluation", "Summary", "summarize"]

FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_MOST_ROWS = 24  # of the table of evaluations

Evaluation = dict[str, float]  # name, such as "bbox/AP50", to its value


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of a run.

    Attributes:
        history: what was logged.
        metric: the name of the AP that ``best`` is about; empty if nothing was evaluated.
        best: the number of iterations before the best evaluation; None if no evaluation has a
            number.
        evaluations: number of iterations -> figures, by name.
        seconds: of an iteration (median); None if the times were not logged.
        waiting: the share of it that it waited for data.
        memory: the largest GPU memory, in MiB; None without a GPU.
        notes: sentences on what is not as usual.
    """

    history: History
    metric: str
    best: int | None
    evaluations: dict[int, Evaluation]
    seconds: float | None
    waiting: float | None
    memory: float | None
    notes: list[str]

    def __str__(self) -> str:
        history = self.history
        of = f" of {history.max_iter:,}" if history.max_iter else ""
        text = f"{history.label}: {history.done:,}{of} iterations"
        if self.best is not None:
            value = self.evaluations[self.best][self.metric]
            text += f", {self.metric} {value:.1f} at best, after {self.best:,}"
        return f"{text}."

    @property
    def shown(self) -> dict[int, Evaluation]:
        """Some of the evaluations: evenly spread, with the best and the last one."""
        every = list(self.evaluations)
        which = np.linspace(0, len(every) - 1, min(len(every), _MOST_ROWS)).round().astype(int)
        chosen = {every[i] for i in which.tolist()} | {self.best}
        return {at: found for at, found in self.evaluations.items() if at in chosen}

    @property
    def last(self) -> float | None:
        """The metric of the last evaluation."""
        values = [found[self.metric] for found in self.evaluations.values() if self.metric in found]
        return values[-1] if values else None


def summarize(history: History) -> Summary:
    """Find the figures of a run."""
    names = ap_names(history)
    metric = next((n for n in names if n.endswith(history.best_metric)), (names or [""])[0])
    evaluations = _evaluations(history, names)
    values = {
        at: found[metric]
        for at, found in evaluations.items()
        if np.isfinite(found.get(metric, np.nan))
    }
    split, memory = split_time(history), history.series.get(MEMORY)
    waited, rest = (part.values for part in split) if split else (None, None)
    return Summary(
        history=history,
        metric=metric,
        best=max(values, key=values.__getitem__) if values else None,
        evaluations=evaluations,
        seconds=None if waited is None else float(np.median(waited + rest)),
        waiting=None if waited is None else float(waited.sum() / max((waited + rest).sum(), 1e-9)),
        memory=None if memory is None else float(memory.values.max()),
        notes=list(_notes(history, split is not None)),
    )


def _evaluations(history: History, names: list[str]) -> dict[int, Evaluation]:
    found: dict[int, Evaluation] = {}
    for name in names:
        for figure in FIGURES:
            key = f"{name.removesuffix('AP')}{figure}"
            series = history.series.get(key)
            for at, value in zip(series.iterations, series.values, strict=True) if series else ():
                # Counted from 0; what is evaluated after the last one has one number more.
                found.setdefault(min(int(at) + 1, history.done), {})[key] = float(value)
    return dict(sorted(found.items()))


def _notes(history: History, has_times: bool) -> Iterator[str]:
    label = history.label
    for name, series in history.series.items():
        lost = series.iterations[~np.isfinite(series.values)].tolist()
        if lost and not _is_of_class(name):
            numbers = listed([f"{at:,}" for at in lost])
            why = ": nothing was detected, or there is nothing to find" if "/AP" in name else ""
            yield f"{label}: {name} is not finite at iteration {numbers}{why}."
    if history.unreadable:
        lines = "1 line" if history.unreadable == 1 else f"{history.unreadable:,} lines"
        yield f"{label}: {lines} of metrics.json could not be read, as a kill may leave them."
    if not has_times:
        yield f"{label}: no times yet; those of the first iterations are not logged."
    if MEMORY not in history.series:
        yield f"{label}: no GPU memory, because log.txt states none, as without a GPU."


def _is_of_class(name: str) -> bool:
    return "/AP-" in name or name.endswith(("/APs", "/APm", "/APl", "/AP50", "/AP75"))
