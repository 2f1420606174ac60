"""The page of curves of one training or several, as one HTML file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fcos.evaluation.pictures import COLORS
from fcos.evaluation.rendering import render
from fcos.evaluation.runs import open_folder, open_folders
from fcos.evaluation.training.charts import draw_panels
from fcos.evaluation.training.history import METRICS, read_history
from fcos.evaluation.training.panels import choose_panels
from fcos.evaluation.training.summary import FIGURES, Summary, summarize
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text

__all__ = ["write_curves"]


def write_curves(runs: Sequence[str], output: str = "") -> tuple[str, list[Summary]]:
    """Write the page of curves of one training, or of several in the same panels.

    Args:
        runs: OUTPUT_DIRs, each "folder" or "label=folder"; a training may still be going on.
        output: path of the page, which ends in .html; empty for ``curves.html``, in the folder of
            the run if there is only one.

    Returns:
        The path of the page, and the figures of each run; ``str()`` of one is a sentence.

    Raises:
        UserError: a run has no ``metrics.json`` that can be read, or the page cannot be written.
    """
    if output and os.path.splitext(output)[1].lower() not in (".html", ".htm"):
        raise UserError(f"--output {output}: expected the name of a page, which ends in .html.")
    folders = open_folders(runs) if len(runs) > 1 else [open_folder(run) for run in runs]
    output = output or os.path.join(folders[0].path if len(runs) == 1 else "", "curves.html")
    summaries = [summarize(read_history(folder)) for folder in folders]
    check_writable(os.path.dirname(output))
    write_text(output, [render_page(summaries)])
    return output, summaries


def render_page(summaries: Sequence[Summary]) -> str:
    """Fill in templates/curves.html; every name in it is escaped."""
    histories = [summary.history for summary in summaries]
    resumed = [history.resumed for history in histories]
    end = max(history.done for history in histories)
    panels = choose_panels(histories)
    return render(
        "curves.html",
        runs=summaries,
        metrics_file=METRICS,
        colors=[COLORS[i % len(COLORS)] for i in range(len(summaries))],
        panels={
            heading: list(zip(chosen, draw_panels(chosen, resumed, end), strict=True))
            for heading, chosen in panels.items()
        },
        columns=_columns(summaries),
    )


def _columns(summaries: Sequence[Summary]) -> list[str]:
    """Return the names of the figures of all evaluations, in their usual order."""
    names = {name for s in summaries for found in s.evaluations.values() for name in found}
    tasks = sorted({name.rpartition("/")[0] for name in names})
    ordered = [f"{task}/{figure}" for task in tasks for figure in FIGURES]
    return [name for name in ordered if name in names]
