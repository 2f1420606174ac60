"""Every kind of work that is measured, in the order of the table."""

from __future__ import annotations

from benchmarks.rows import (
    evaluation,
    inference,
    loader,
    losses,
    postprocess,
    processes,
    startup,
    targets,
    training,
)
from benchmarks.work import Row

__all__ = ["ROWS"]

ROWS: tuple[Row, ...] = (
    targets.ROW,
    losses.ROW,
    postprocess.ROW,
    inference.ROW,
    training.ROW,
    loader.ROW,
    evaluation.ROW,
    startup.ROW,
    processes.ROW,
)
