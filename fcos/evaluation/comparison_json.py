"""The numbers of a comparison, for its JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fcos.evaluation.choice import Choice
from fcos.evaluation.comparison import Comparison, RunScore, Task
from fcos.evaluation.figures import differences
from fcos.evaluation.truth import Truth
from fcos.utils.json_files import for_json

__all__ = ["to_json"]


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Collect all numbers of a comparison; None stands for what cannot be measured."""
    truth, (wins, ties) = comparison.truth, comparison.better
    numbers: dict[str, Any] = for_json(
        {
            "data_set": {
                "name": truth.name,
                "annotations": truth.json_file,
                "images": len(truth.coco.imgs),
                "objects": len(truth.coco.anns),
            },
            "baseline": comparison.labels[0],
            "max_detections_per_image_and_class": comparison.max_dets,
            "runs": [_run_json(scored) for scored in comparison.runs],
            **{task.name: _task_json(task, truth) for task in comparison.tasks},
            "note_on_masks": comparison.note_on_masks,
            "images": {
                "better": dict(zip(comparison.labels, wins, strict=True)),
                "equal": ties,
                "shown": [_choice_json(c, comparison.labels, truth) for c in comparison.choices],
            },
            "different_settings": {
                key: dict(zip(comparison.labels, texts, strict=True))
                for key, texts in comparison.settings.items()
            },
        }
    )
    return numbers


def _run_json(scored: RunScore) -> dict[str, Any]:
    run = scored.run
    return {
        "label": run.label,
        "results": run.results_file,
        "detections": len(run.results),
        "has_masks": run.has_masks,
        "score_threshold": scored.score,
    }


def _task_json(task: Task, truth: Truth) -> dict[str, Any]:
    classes = [
        {
            "id": category_id,
            "name": truth.coco.cats[category_id]["name"],
            **_by_run(task.labels, [of_run[index] for of_run in task.classes]),
        }
        for index, category_id in enumerate(truth.category_ids)
    ]
    return {
        **_by_run(task.labels, task.overall),
        "interval_of_difference": {
            label: {name: found and dataclasses.asdict(found) for name, found in of_run.items()}
            for label, of_run in zip(task.labels[1:], task.intervals, strict=True)
        },
        "classes": classes,
        "precision_at_recall_0_to_1_by_0.01": dict(zip(task.labels, task.curves, strict=True)),
    }


def _by_run(labels: Sequence[str], found: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {
        "figures": dict(zip(labels, found, strict=True)),
        "difference_to_baseline": {
            label: differences(of, found[0])
            for label, of in zip(labels[1:], found[1:], strict=True)
        },
    }


def _choice_json(choice: Choice, labels: Sequence[str], truth: Truth) -> dict[str, Any]:
    return {
        "image_id": truth.coco.imgs[choice.image_id]["id"],
        "file_name": truth.coco.imgs[choice.image_id]["file_name"],
        "difference": choice.difference,
        "runs": {
            label: {**dataclasses.asdict(counts), "f1": counts.f1}
            for label, counts in zip(labels, choice.counts, strict=True)
        },
    }
