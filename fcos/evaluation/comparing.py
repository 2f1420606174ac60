"""From result folders to the page that compares them."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence

from fcos.config import get_cfg
from fcos.data import register_custom_datasets
from fcos.evaluation.comparison import Comparison, compare, to_json
from fcos.evaluation.page import render_page, signed
from fcos.evaluation.runs import RunFolder, common_dataset, open_folders
from fcos.evaluation.truth import (
    Truth,
    default_name,
    read_truth,
    register_from_configs,
    truth_of_dataset,
)
from fcos.utils.files import check_writable, write_text

__all__ = ["run_comparison", "summary"]


def run_comparison(args: argparse.Namespace) -> Comparison:
    """Compare as the arguments say and write the page and the JSON.

    Raises:
        UserError: an argument, a result folder or the data set cannot be used.
    """
    folders = open_folders(args.folders)
    check_writable(args.output)
    truth, dataset = _find_truth(args, folders)
    comparison = compare(folders, truth, dataset, num_images=args.num_images, score=args.score)
    numbers = json.dumps(to_json(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    write_text(os.path.join(args.output, "comparison.json"), [numbers, "\n"])
    write_text(os.path.join(args.output, "comparison.html"), [render_page(comparison)])
    return comparison


def _find_truth(args: argparse.Namespace, folders: Sequence[RunFolder]) -> tuple[Truth, str | None]:
    if args.annotations:
        name = default_name(args.annotations)
        return read_truth(name, args.annotations, args.images or ""), None
    dataset = args.dataset or common_dataset(folders)
    if args.config_file:
        cfg = get_cfg()
        cfg.merge_from_file(args.config_file)
        register_custom_datasets(cfg)
    else:
        register_from_configs(dataset, folders)
    return truth_of_dataset(dataset), dataset


def summary(comparison: Comparison) -> str:
    lines = []
    for task in comparison.tasks:
        baseline = task.overall[0]["AP"]
        parts = [f"{task.labels[0]} {baseline:.1f}"]
        for label, figures in zip(task.labels[1:], task.overall[1:], strict=True):
            parts.append(f"{label} {figures['AP']:.1f} ({signed(figures['AP'] - baseline)})")
        lines.append(f"{task.name} AP: {', '.join(parts)}")
    return "\n".join(filter(None, [*lines, comparison.note_on_masks]))
