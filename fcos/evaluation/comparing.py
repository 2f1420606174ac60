"""From result folders to the page that compares them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence

from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.evaluation.comparison import Comparison, compare, to_json
from fcos.evaluation.page import render_page
from fcos.evaluation.rendering import signed
from fcos.evaluation.runs import RunFolder, common_dataset, open_folders
from fcos.evaluation.truth import (
    default_name,
    read_truth,
    register_from_configs,
    truth_of_dataset,
)
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
    if annotations:
        truth, dataset = read_truth(default_name(annotations), annotations, images), None
    else:
        dataset = dataset or common_dataset(opened)
        _register(dataset, opened, config_file)
        truth = truth_of_dataset(dataset)
    comparison = compare(opened, truth, dataset, num_images=num_images, score=score)
    numbers = json.dumps(to_json(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(output, "comparison.json"), [numbers, "\n"])
    write_text(os.path.join(output, "comparison.html"), [render_page(comparison)])
    return comparison


def summary(comparison: Comparison) -> str:
    """State AP and its differences in one line for boxes and one for masks."""
    lines = []
    for task in comparison.tasks:
        baseline = task.overall[0]["AP"]
        parts = [f"{task.labels[0]} {baseline:.1f}"]
        for label, figures in zip(task.labels[1:], task.overall[1:], strict=True):
            parts.append(f"{label} {figures['AP']:.1f} ({signed(figures['AP'] - baseline)})")
        lines.append(f"{task.name} AP: {', '.join(parts)}")
    return "\n".join(filter(None, [*lines, comparison.note_on_masks]))


def _register(dataset: str, folders: Sequence[RunFolder], config_file: str | None) -> None:
    if config_file:
        cfg = get_cfg()
        cfg.merge_from_file(config_file)
        register_custom_datasets(cfg)
    else:
        register_from_configs(dataset, folders)
