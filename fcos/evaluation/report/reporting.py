"""From result folders to the report."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence

from fcos.evaluation.report.numbers import numbers_of
from fcos.evaluation.report.page import render_report
from fcos.evaluation.report.steps import show_steps
from fcos.evaluation.report.study import Study, study_runs
from fcos.evaluation.runs import open_folders
from fcos.evaluation.truth import find_truth
from fcos.utils.files import check_writable, write_text

__all__ = ["summary_of_course", "write_report"]


def write_report(
    folders: Sequence[str], output: str, *, dataset: str | None = None, num_images: int = 5
) -> Study:
    """Write the report on runs, and its figures as JSON.

    Args:
        folders: each "folder" or "label=folder"; which rows of Table 3 they are is told by their
            ``config.yaml``.
        output: folder to write ``report.html`` and ``report.json`` to.
        dataset: name of the data set; None for the one that the folders have in common.
        num_images: images to draw of each comparison.

    Raises:
        UserError: an argument, a result folder or the data set cannot be used.
    """
    opened = open_folders(folders)
    check_writable(output)
    truth, dataset = find_truth(opened, dataset=dataset)
    study = study_runs(opened, truth, dataset, num_images)
    steps, why_not = show_steps(study)
    numbers = json.dumps(numbers_of(study), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(output, "report.json"), [numbers, "\n"])
    write_text(os.path.join(output, "report.html"), [render_report(study, steps, why_not)])
    return study


def summary_of_course(study: Study) -> str:
    """State the most important figures in some lines, and what was not run."""
    lines = []
    for line in [*study.table3, *study.masks]:
        for task, figures in line.spreads.items():
            spread = figures["AP"]
            ap = f"{spread.mean:.1f}" if math.isfinite(spread.mean) else "none, a run found nothing"
            deviation = f" ± {spread.deviation:.1f}" if math.isfinite(spread.deviation) else ""
            lines.append(f"{line.title}: {task} AP {ap}{deviation} (seeds {line.seeds})")
    empty = [line for line in [*study.table3, *study.masks] if not line.runs]
    for what in ("not finished", "not evaluated", "not run"):
        titles = [line.title for line in empty if line.state == what]
        if titles:
            lines.append(f"{what.capitalize()}: {'; '.join(titles)}.")
    return "\n".join([*lines, *(run.note for run in study.runs if run.note)])
