"""The figures of a report, for its JSON file."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from fcos.evaluation.comparison_json import to_json
from fcos.evaluation.report.captions import caption_of
from fcos.evaluation.report.examples import Pair
from fcos.evaluation.report.measured import Measured
from fcos.evaluation.report.study import Study
from fcos.evaluation.report.tables import Line
from fcos.utils.json_files import for_json
from fcos.utils.nested import flat

__all__ = ["numbers_of"]


def numbers_of(study: Study) -> dict[str, Any]:
    """Collect all figures of a report; None stands for what cannot be measured."""
    truth = study.truth
    numbers: dict[str, Any] = for_json(
        {
            "data_set": {
                "name": truth.name,
                "annotations": truth.json_file,
                "images": len(truth.coco.imgs),
                "objects": len(truth.coco.anns),
            },
            "runs": [_run(run) for run in study.runs],
            "table3": {
                "caption": caption_of(study, study.table3),
                "rows": [_line(line) for line in study.table3],
            },
            "masks": {
                "caption": caption_of(study, study.masks),
                "rows": [_line(line) for line in study.masks],
            },
            "boxes_compared": _pair(study.boxes),
            "masks_compared": _pair(study.segmentation),
        }
    )
    return numbers


def _run(run: Measured) -> dict[str, Any]:
    return {
        "label": run.label,
        "folder": run.folder.path,
        "trained_in": run.trained_in,
        "kind": run.kind,
        "title": run.title,
        "proposal_generator": flat(run.folder.config).get("MODEL.PROPOSAL_GENERATOR.NAME"),
        "seed": run.seed,
        "budget": dataclasses.asdict(run.budget),
        "seconds_of_an_iteration": run.seconds,
        "figures": run.figures,
        "figures_from": run.source,
        "weights": os.path.abspath(run.weights) if os.path.isfile(run.weights) else run.weights,
        "note": run.note,
    }


def _line(line: Line) -> dict[str, Any]:
    return {
        "name": line.name,
        "title": line.title,
        "published": line.published,
        "runs": [run.label for run in line.runs],
        "seeds": [run.seed for run in line.runs],
        "unfinished": line.unfinished,
        "figures": {
            task: {metric: dataclasses.asdict(spread) for metric, spread in of_task.items()}
            for task, of_task in line.spreads.items()
        },
    }


def _pair(pair: Pair | None) -> dict[str, Any] | None:
    if pair is None:
        return None
    compared = {}
    if pair.comparison is not None:
        compared = to_json(pair.comparison)
        for task in ("box", "mask"):
            for part in ("classes", "precision_at_recall_0_to_1_by_0.01"):
                compared.get(task, {}).pop(part, None)
    return {
        "runs": [run.label for run in pair.runs],
        "rule": pair.rule,
        "why_not": pair.why_not,
        "comparison": compared,
    }
