"""From a result folder to the page that says where the detector fails."""

from __future__ import annotations

import json
import os

from fcos.evaluation.diagnosis.errors import KINDS
from fcos.evaluation.diagnosis.library import require_hotcoco
from fcos.evaluation.diagnosis.numbers import numbers_of
from fcos.evaluation.diagnosis.page import render_diagnosis
from fcos.evaluation.diagnosis.study import Diagnosis, diagnose
from fcos.evaluation.runs import open_folder, read_run
from fcos.evaluation.truth import check_ids, find_truth
from fcos.utils.files import check_writable, keep_inputs, write_text

__all__ = ["run_diagnosis", "summary_of_diagnosis"]


def run_diagnosis(
    run: str,
    output: str,
    *,
    dataset: str | None = None,
    annotations: str | None = None,
    images: str = "",
    config_file: str | None = None,
    num_images: int = 12,
    score: float | None = None,
) -> Diagnosis:
    """Look into the results of a run; write the page, and its numbers as JSON.

    Args:
        run: the OUTPUT_DIR of a training or an evaluation, or a results file; also "label=path".
        output: folder to write to.
        dataset, annotations, images, config_file: see
            :func:`fcos.evaluation.comparing.run_comparison`.
        num_images: see :func:`fcos.evaluation.diagnosis.study.diagnose`, as for ``score``.

    Raises:
        UserError: hotcoco is not installed; or an argument, the results or the data set cannot be
            used.
    """
    require_hotcoco()
    folder = open_folder(run)
    check_writable(output)
    truth, dataset = find_truth(
        [folder], dataset=dataset, annotations=annotations, images=images, config_file=config_file
    )
    detections = read_run(folder, dataset)
    check_ids(detections, truth)
    file = os.path.join(output, "diagnosis.json")
    keep_inputs(file, detections.results_file, truth.json_file)
    found = diagnose(detections, truth, num_images=num_images, score=score)
    numbers = json.dumps(numbers_of(found), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(file, [numbers, "\n"])
    write_text(os.path.join(output, "diagnosis.html"), [render_diagnosis(found)])
    return found


def summary_of_diagnosis(found: Diagnosis) -> str:
    """State the most important figures in some lines."""
    lines = []
    for task in found.tasks:
        between = task.intervals["AP"]
        text = f" (95 % interval {between.lower:.1f} to {between.upper:.1f})" if between else ""
        lines.append(f"{task.name} AP: {task.overall['AP']:.1f}{text}")
        costs = ", ".join(f"{cost.kind} {cost.cost:.1f}" for cost in task.errors.costs)
        lines.append(f"{task.name} AP50 {task.errors.ap50:.1f}, lost to: {costs}")
        worst = task.errors.worst
        if worst.cost:
            lines.append(
                f"What costs most is {worst.kind} ({worst.number:,}): {KINDS[worst.kind][1]}."
            )
    lines.append(f"Labels that are probably wrong: {found.num_suspicions:,}.")
    return "\n".join([*lines, *found.notes])
