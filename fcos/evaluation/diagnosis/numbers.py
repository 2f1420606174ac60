"""The numbers of a diagnosis, for its JSON file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from fcos.evaluation.diagnosis.groups import Group
from fcos.evaluation.diagnosis.images import BadImage, Suspicion
from fcos.evaluation.diagnosis.scores import SCORES, ScoreCurve
from fcos.evaluation.diagnosis.study import Diagnosis, TaskDiagnosis
from fcos.utils.json_files import for_json

__all__ = ["numbers_of"]


def numbers_of(found: Diagnosis) -> dict[str, Any]:
    """Collect all numbers of a diagnosis; None stands for what cannot be measured."""
    truth, names = found.truth, found.truth.class_names
    return for_json(
        {
            "run": found.run.label,
            "results": found.run.results_file,
            "detections": len(found.run.results),
            "data_set": {
                "name": truth.name,
                "annotations": truth.json_file,
                "images": len(truth.coco.imgs),
                "objects": len(truth.coco.anns),
            },
            "notes": found.notes,
            "max_detections_per_image_and_class": found.max_dets,
            "score_threshold": found.score,
            "drawings_of_intervals": found.drawings,
            **{task.name: _task(task, names) for task in found.tasks},
            "levels": dataclasses.asdict(found.levels) if found.levels else None,
            "confusion": {
                "rows": "class of the object; the last: no object",
                "columns": "class of the detection; the last: missed",
                "classes": names,
                "matrix": found.matrix.tolist(),
            },
            "scores": _scores(found, names),
            "reliability": _reliability(found, names),
            "worst_images": [_image(image) for image in found.images],
            "suspicious_labels": {
                "total": found.num_suspicions,
                "first": [_suspicion(each) for each in found.suspicions],
            },
        }
    )


def _scores(found: Diagnosis, names: Sequence[str]) -> dict[str, Any]:
    together, *classes = (_curve(curve) for curve in found.curves)
    return {
        "at": SCORES,
        "all_classes": together,
        "classes": dict(zip(names, classes, strict=True)),
    }


def _reliability(found: Diagnosis, names: Sequence[str]) -> dict[str, Any]:
    of = found.reliability
    return {
        "error": of.error,
        "worst": of.worst,
        "bins": [dataclasses.asdict(each) for each in of.bins],
        "classes": {names[i]: error for i, error in of.classes.items()},
    }


def _task(task: TaskDiagnosis, names: Sequence[str]) -> dict[str, Any]:
    def groups(parts: Sequence[Group]) -> list[dict[str, Any]]:
        return [dataclasses.asdict(part) for part in parts]

    classes = zip(names, task.classes, task.class_intervals, strict=True)
    return {
        "figures": task.overall,
        "intervals": {name: _ends(interval) for name, interval in task.intervals.items()},
        "classes": {
            name: {"figures": of_class, "interval_of_AP": _ends(interval)}
            for name, of_class, interval in classes
        },
        "errors": {
            "AP50": task.errors.ap50,
            "kinds": {
                cost.kind: {"number": cost.number, "AP50_cost": cost.cost}
                for cost in task.errors.costs
            },
            "all_wrong_detections_cost": task.errors.wrong,
            "all_missed_objects_cost": task.errors.missed,
        },
        "by_size": groups(task.sizes),
        "by_level": groups(task.levels),
        "by_objects_of_the_image": groups(task.crowding),
    }


def _ends(interval: Any) -> list[float] | None:
    return [interval.lower, interval.upper] if interval else None


def _curve(curve: ScoreCurve) -> dict[str, Any]:
    return {
        "objects": curve.objects,
        "best_F1": dataclasses.asdict(curve.best) if curve.best else None,
        "at_score_threshold": {
            "found": curve.found,
            "wrong": curve.wrong,
            "missed": curve.objects - curve.found,
        },
        "precision": curve.precision,
        "recall": curve.recall,
        "F1": curve.f1,
    }


def _image(image: BadImage) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "file_name": image.file_name,
        **dataclasses.asdict(image.counts),
        "F1": image.counts.f1,
    }


def _suspicion(each: Suspicion) -> dict[str, Any]:
    return {
        "image_id": each.image_id,
        "file_name": each.file_name,
        "bbox": list(each.box),
        "detected_class": each.detected,
        "score": each.score,
        "labelled_class": each.labelled or None,
        "annotation_id": each.annotation_id,
    }
