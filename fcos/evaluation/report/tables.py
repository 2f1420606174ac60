"""The tables of a report: runs of one kind together, with their spread and what they had."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

from fcos.evaluation.report.measured import Budget, Measured
from fcos.evaluation.report.rows import MASKS, METRICS, PUBLISHED_MASKS, ROWS

__all__ = ["Line", "Spread", "budgets_of", "mask_lines", "spread_of", "table3_lines"]


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
        unfinished: sentences on those that have none.
        spreads: task to METRICS of the runs.
    """

    name: str
    title: str
    published: dict[str, dict[str, float]]
    runs: tuple[Measured, ...]
    unfinished: tuple[str, ...]
    spreads: dict[str, dict[str, Spread]]

    @property
    def seeds(self) -> str:
        """The seeds in words, "1, 2, 3"; a dash for one that is not known."""
        return ", ".join("\N{EN DASH}" if run.seed is None else str(run.seed) for run in self.runs)

    @property
    def first(self) -> Measured | None:
        """The run that stands for all in pictures: of the lowest seed."""
        return self.runs[0] if self.runs else None


def spread_of(values: Sequence[float]) -> Spread:
    """Compute mean and sample standard deviation; NaN where one value is."""
    if not values:
        return Spread(math.nan, math.nan, ())
    is_measured = all(map(math.isfinite, values))
    deviation = statistics.stdev(values) if len(values) > 1 and is_measured else math.nan
    return Spread(sum(values) / len(values), deviation, tuple(values))


def table3_lines(runs: Sequence[Measured]) -> list[Line]:
    """Make a line for every row of Table 3, also for those that were not run."""
    return [_line(name, row.title, {"box": row.published}, runs) for name, row in ROWS.items()]


def mask_lines(runs: Sequence[Measured]) -> list[Line]:
    """Make a line for each detector with masks."""
    return [
        _line(
            name,
            title,
            {task: {"AP": ap} for task, ap in PUBLISHED_MASKS.get(name, {}).items()},
            runs,
        )
        for name, title in MASKS.items()
    ]


def _line(
    name: str, title: str, published: dict[str, dict[str, float]], runs: Sequence[Measured]
) -> Line:
    of_kind = [run for run in runs if run.kind == name]
    found = sorted(
        (run for run in of_kind if run.figures),
        key=lambda run: (run.seed is None, run.seed or 0, run.label),
    )
    tasks = [task for task in ("box", "mask") if found and all(task in r.figures for r in found)]
    return Line(
        name=name,
        title=title,
        published=published,
        runs=tuple(found),
        unfinished=tuple(run.note for run in of_kind if not run.figures),
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
