"""The tables of a report: runs of one kind together, with their spread and what they had."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from fcos.evaluation.report.measured import Measured
from fcos.evaluation.report.rows import MASKS, METRICS, PUBLISHED_MASKS, ROWS
from fcos.evaluation.report.trained import Budget
from fcos.utils.nested import flat

__all__ = ["Line", "Spread", "budgets_of", "mask_lines", "spread_of", "table3_lines"]

# Keys on which the weights and the detections of a training depend, by how they begin.
_DECIDING = ("DATASETS.", "INPUT.", "MODEL.", "SOLVER.", "TEST.AUG.")
_NOT_DECIDING = {"MODEL.WEIGHTS", "MODEL.DEVICE", "SOLVER.CHECKPOINT_PERIOD"}


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure of several runs that differ in their seeds.

    Attributes:
        mean: NaN without runs.
        deviation: standard deviation of a sample; NaN for fewer than two runs.
        each: the figure of every run, in the order of the seeds.
    """

    mean: float
    deviation: float
    each: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of a table: a detector, and the runs of it.

    Attributes:
        name: a key of ROWS or MASKS.
        title: what it is.
        published: task, "box" or "mask", to published figures.
        runs: those that have figures, by their seeds; empty: it was not run.
        without: those that have none.
        spreads: task to METRICS of the runs.
    """

    name: str
    title: str
    published: dict[str, dict[str, float]]
    runs: tuple[Measured, ...]
    without: tuple[Measured, ...]
    spreads: dict[str, dict[str, Spread]]

    @property
    def seeds(self) -> str:
        """The seeds in words, "1, 2, 3"; a dash for one that is not known."""
        return ", ".join("\N{EN DASH}" if run.seed is None else str(run.seed) for run in self.runs)

    @property
    def state(self) -> str:
        """What stands where a line has no figures."""
        if not self.without:
            return "not run"
        is_done = any(run.is_finished for run in self.without)
        return "not evaluated" if is_done else "not finished"

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Sentences on the runs that have no figures."""
        return tuple(run.note for run in self.without)

    @property
    def first(self) -> Measured | None:
        """The run that stands for all in pictures: of the lowest seed that found something."""
        return next((run for run in self.runs if run.found_something), None)


def spread_of(values: Sequence[float]) -> Spread:
    """Compute mean and sample standard deviation; NaN where one value is."""
    if not values:
        return Spread(math.nan, math.nan, ())
    is_measured = all(map(math.isfinite, values))
    deviation = statistics.stdev(values) if len(values) > 1 and is_measured else math.nan
    return Spread(sum(values) / len(values), deviation, tuple(values))


def table3_lines(runs: Sequence[Measured]) -> list[Line]:
    """Make lines for every row of Table 3, also for those that were not run.

    Runs of a row that differ in more than their seeds have a line each.
    """
    return [
        line
        for name, row in ROWS.items()
        for line in _lines(name, row.title, {"box": row.published}, runs)
    ]


def mask_lines(runs: Sequence[Measured]) -> list[Line]:
    """Make lines for each detector with masks, as :func:`table3_lines` does."""
    return [
        line
        for name, title in MASKS.items()
        for line in _lines(
            name,
            title,
            {task: {"AP": ap} for task, ap in PUBLISHED_MASKS.get(name, {}).items()},
            runs,
        )
    ]


def _lines(
    name: str, title: str, published: dict[str, dict[str, float]], runs: Sequence[Measured]
) -> list[Line]:
    of_kind = [run for run in runs if run.kind == name]
    without = tuple(run for run in of_kind if not run.figures)
    groups = _groups([run for run in of_kind if run.figures]) or [[]]
    lines = []
    for place, group in enumerate(groups):
        labels = f" ({', '.join(run.label for run in group)})" if len(groups) > 1 else ""
        lines.append(_line(name, title + labels, published, group, () if place else without))
    return lines


def _groups(runs: Sequence[Measured]) -> list[list[Measured]]:
    """Part runs into those that differ in their seeds alone, each in the order of the seeds.

    Runs of the same seed, or of seeds that are not known, may be one training that was evaluated
    twice: no mean is taken of them.
    """
    groups: list[list[Measured]] = []
    for run in sorted(runs, key=lambda run: (run.seed is None, run.seed or 0, run.label)):
        for group in groups:
            is_new_seed = run.seed is not None and run.seed not in [other.seed for other in group]
            if is_new_seed and _settings(run) == _settings(group[0]):
                group.append(run)
                break
        else:
            groups.append([run])
    return groups


def _settings(run: Measured) -> tuple[Budget, dict[str, object]]:
    """Return what runs of a line have in common: their budget, and what decides the result."""
    values = flat(run.folder.config)
    return run.budget, {
        key: value
        for key, value in values.items()
        if key.startswith(_DECIDING) and key not in _NOT_DECIDING
    }


def _line(
    name: str,
    title: str,
    published: dict[str, dict[str, float]],
    found: Sequence[Measured],
    without: tuple[Measured, ...],
) -> Line:
    tasks = [task for task in ("box", "mask") if found and all(task in r.figures for r in found)]
    return Line(
        name=name,
        title=title,
        published=published,
        runs=tuple(found),
        without=without,
        spreads={
            task: {
                metric: spread_of([run.figures[task][metric] for run in found])
                for metric in METRICS
            }
            for task in tasks
        },
    )


def budgets_of(lines: Sequence[Line]) -> dict[Budget, list[str]]:
    """Group the runs of tables by what they had.

    Returns:
        Budget to the titles of the lines with runs that had it.
    """
    found: dict[Budget, list[str]] = {}
    for line in lines:
        for run in line.runs:
            titles = found.setdefault(run.budget, [])
            if line.title not in titles:
                titles.append(line.title)
    return found
