"""From result folders to the page that compares them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from fcos.evaluation.comparison import Comparison, compare
from fcos.evaluation.comparison_json import to_json
from fcos.evaluation.page import render_page
from fcos.evaluation.rendering import signed, verdict
from fcos.evaluation.runs import open_folders
from fcos.evaluation.truth import find_truth
from fcos.utils.files import check_writable, write_text

__all__ = ["run_comparison", "summary"]


def run_comparison(
    folders: Sequence[str],
    output: str,
    *,
    dataset: str | None = None,
    annotations: str | None = None,
    images: str = "",
    config_file: str | None = None,
    num_images: int = 12,
    score: float | None = None,
) -> Comparison:
    """Compare result folders, and write the page and its numbers as JSON.

    Args:
        folders: each "folder" or "label=folder", the baseline first.
        output: folder to write to.
        dataset: name of the data set; None for the one that the folders have in common.
        annotations: a file in COCO's format, in place of a data set.
        images: with ``annotations``, the folder of the images; empty to draw none.
        config_file: declares the data set under DATASETS.CUSTOM; None for the folders' own config.
        num_images: see :func:`fcos.evaluation.comparison.compare`, as for ``score``.

    Raises:
        UserError: an argument, a result folder or the data set cannot be used.
    """
    opened = open_folders(folders)
    check_writable(output)
    truth, dataset = find_truth(
        opened, dataset=dataset, annotations=annotations, images=images, config_file=config_file
    )
    comparison = compare(opened, truth, dataset, num_images=num_images, score=score)
    numbers = json.dumps(to_json(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(output, "comparison.json"), [numbers, "\n"])
    write_text(os.path.join(output, "comparison.html"), [render_page(comparison)])
    return comparison


def summary(comparison: Comparison) -> str:
    """State AP and its differences in some lines, for boxes and for masks."""
    lines = []
    for task in comparison.tasks:
        baseline = task.overall[0]["AP"]
        parts = [f"{task.labels[0]} {baseline:.1f}"]
        for label, figures in zip(task.labels[1:], task.overall[1:], strict=True):
            parts.append(f"{label} {figures['AP']:.1f} ({signed(figures['AP'] - baseline)})")
        lines.append(f"{task.name} AP: {', '.join(parts)}")
        for label, intervals in zip(task.labels[1:], task.intervals, strict=True):
            lines.append(verdict(task.labels[0], label, intervals["AP"]))
    return "\n".join(filter(None, [*lines, comparison.note_on_masks, comparison.note_on_one]))
