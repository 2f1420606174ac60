"""Compare runs: all that the page shows and the JSON file holds, as data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.evaluation.choice import Choice, Counts, best_score, choose_images, count_images
from fcos.evaluation.cocoeval import Evaluated
from fcos.evaluation.figures import class_figures, curves, differences, figures
from fcos.evaluation.pictures import Detection, Drawer
from fcos.evaluation.runs import Run, RunFolder, read_run
from fcos.evaluation.truth import Truth, check_ids
from fcos.utils.nested import flat

__all__ = [
    "Comparison",
    "RunScore",
    "Task",
    "compare",
    "different_settings",
    "in_words",
    "max_dets_of",
    "to_json",
]

_MISSING = "\N{EN DASH}"


@dataclasses.dataclass
class Task:
    """The figures for boxes or for masks.

    Attributes:
        name: "box" or "mask".
        labels: of the runs that have them, the baseline first.
        overall: METRICS of each of these runs, in percent.
        classes: of each of these runs, METRICS of every class.
        curves: of each of these runs, CURVES to 101 precisions.
    """

    name: str
    labels: list[str] = dataclasses.field(default_factory=list)
    overall: list[dict[str, float]] = dataclasses.field(default_factory=list)
    classes: list[list[dict[str, float]]] = dataclasses.field(default_factory=list)
    curves: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)

    def add(self, label: str, evaluated: Evaluated) -> None:
        """Add the figures of a run."""
        self.labels.append(label)
        self.overall.append(figures(evaluated))
        self.classes.append(class_figures(evaluated))
        self.curves.append(curves(evaluated))


@dataclasses.dataclass(frozen=True)
class RunScore:
    """A run and the score from which its detections are counted and drawn.

    Attributes:
        run: the detections.
        score: the threshold.
        counts: what that finds, gets wrong and misses on every image.
        is_wrong: of each of the run's results, matched to no object.
    """

    run: Run
    score: float
    counts: dict[Any, Counts]
    is_wrong: np.ndarray


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Runs on one data set; the first run is the baseline.

    Attributes:
        truth: the data set.
        max_dets: so many detections of an image and class count.
        runs: with their thresholds.
        is_score_given: one threshold for all was asked for; else each run has its best.
        tasks: boxes, and masks where a run and the annotations have them.
        note_on_masks: a sentence on what has no masks; empty if all or no run has them.
        choices: the images to show.
        pictures: of each of these images, JPEG files: ground truth, and each run.
        settings: keys that differ between the ``config.yaml`` of the runs, with each one's value.
    """

    truth: Truth
    max_dets: int
    runs: list[RunScore]
    is_score_given: bool
    tasks: list[Task]
    note_on_masks: str
    choices: list[Choice]
    pictures: list[list[bytes]]
    settings: dict[str, list[str]]

    @property
    def labels(self) -> list[str]:
        return [scored.run.label for scored in self.runs]

    @property
    def better(self) -> tuple[list[int], int]:
        """Count the images on which each run alone has the highest F1, and those where none has."""
        wins, ties = [0] * len(self.runs), 0
        for image_id in self.truth.coco.imgs:
            f1 = [scored.counts[image_id].f1 for scored in self.runs]
            if f1.count(max(f1)) == 1:
                wins[f1.index(max(f1))] += 1
            else:
                ties += 1
        return wins, ties


def compare(
    folders: Sequence[RunFolder],
    truth: Truth,
    dataset: str | None,
    *,
    num_images: int = 12,
    score: float | None = None,
) -> Comparison:
    """Evaluate the results in folders and draw the images on which they differ.

    Args:
        folders: from :func:`fcos.evaluation.runs.open_folders`; the first is the baseline.
        truth: the data set.
        dataset: its name, if it has one by which a folder may hold results.
        num_images: images to draw at most.
        score: count and draw detections with at least this score; None for the score that gives
            each run its best F1 over the data set.

    Raises:
        UserError: results cannot be used, or an image cannot be drawn.
    """
    runs = [read_run(folder, dataset) for folder in folders]
    for run in runs:
        check_ids(run, truth)
    # A higher limit than a detector's own changes none of its figures.
    max_dets = max(max_dets_of(folder.config) for folder in folders)
    boxes, masks = Task("box"), Task("mask")
    scored = [_evaluate_boxes(truth, run, max_dets, score, boxes) for run in runs]
    for run in runs if truth.has_masks else ():
        if run.has_masks:
            masks.add(run.label, truth.evaluate(run.results, "segm", max_dets))
    choices = choose_images([run.counts for run in scored], num_images)
    return Comparison(
        truth=truth,
        max_dets=max_dets,
        runs=scored,
        is_score_given=score is not None,
        tasks=[task for task in (boxes, masks) if task.labels],
        note_on_masks=_note_on_masks(runs, truth),
        choices=choices,
        pictures=_draw(truth, bool(masks.labels), scored, choices),
        settings=different_settings([folder.config for folder in folders]),
    )


def max_dets_of(config: dict[str, Any]) -> int:
    """Find the limit of detections that the evaluator of a run with this config used.

    Returns:
        COCO's 100, or more where MODEL.FCOS.NMS_POST_TOPK is more.
    """
    most = flat(config).get("MODEL.FCOS.NMS_POST_TOPK", 100)
    return max(100, most) if isinstance(most, int) else 100


def different_settings(configs: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Find the keys whose values differ between configs; none where a config is not known.

    Args:
        configs: contents of each ``config.yaml``.

    Returns:
        Key (``"SOLVER.BASE_LR"``) to the value in each config, an en dash where it has none.
        OUTPUT_DIR, which always differs, is left out.
    """
    if not all(configs):
        return {}
    found = [flat(config) for config in configs]
    keys = sorted(set().union(*found) - {"OUTPUT_DIR"})
    values = {key: [_shown(f[key]) if key in f else _MISSING for f in found] for key in keys}
    return {key: texts for key, texts in values.items() if len(set(texts)) > 1}


def to_json(comparison: Comparison) -> dict[str, Any]:
    """Collect all numbers of a comparison; None stands for what cannot be measured."""
    truth, (wins, ties) = comparison.truth, comparison.better
    return {
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


def in_words(names: Sequence[str]) -> str:
    """Join names: ``"A"``, ``"A and B"``, ``"A, B and C"``."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _evaluate_boxes(
    truth: Truth, run: Run, max_dets: int, score: float | None, task: Task
) -> RunScore:
    """Add a run to the figures for boxes, and count what it finds."""
    task.add(run.label, truth.evaluate(run.results, "bbox", max_dets))
    matches = truth.matches(run.results, max_dets)
    score = best_score(matches) if score is None else score
    return RunScore(run, score, count_images(matches, score), matches.is_wrong)


def _draw(
    truth: Truth, with_masks: bool, runs: Sequence[RunScore], choices: Sequence[Choice]
) -> list[list[bytes]]:
    shown = {choice.image_id for choice in choices}
    kept: list[dict[Any, list[Detection]]] = []
    for scored in runs:
        kept.append({image_id: [] for image_id in shown})
        for result, is_wrong in zip(scored.run.results, scored.is_wrong.tolist(), strict=True):
            if result["image_id"] in shown and result["score"] >= scored.score:
                kept[-1][result["image_id"]].append((result, is_wrong))
    drawer = Drawer(truth, with_masks)
    return [drawer.draw(c.image_id, [of_run[c.image_id] for of_run in kept]) for c in choices]


def _note_on_masks(runs: Sequence[Run], truth: Truth) -> str:
    having = [run.label for run in runs if run.has_masks]
    if not having:
        return ""
    if not truth.has_masks:
        return f"Masks are not compared: the annotations of {truth.name} have none."
    lacking = [run.label for run in runs if not run.has_masks]
    if not lacking:
        return ""
    verb = "has" if len(lacking) == 1 else "have"
    if len(having) == 1:
        rest = f"the mask figures of {having[0]} are shown, but compared with nothing"
    else:
        rest = f"masks are compared for {in_words(having)} only"
    return f"{in_words(lacking)} {verb} no masks: {rest}."


def _shown(value: object) -> str:
    return repr(value) if value == "" else str(value)


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
        "classes": classes,
        "precision_at_recall_0_to_1_by_0.01": {
            label: {name: _numbers(values) for name, values in of_run.items()}
            for label, of_run in zip(task.labels, task.curves, strict=True)
        },
    }


def _by_run(labels: Sequence[str], found: Sequence[dict[str, float]]) -> dict[str, Any]:
    def clean(of: dict[str, float]) -> dict[str, float | None]:
        return dict(zip(of, _numbers(list(of.values())), strict=True))

    return {
        "figures": {label: clean(of) for label, of in zip(labels, found, strict=True)},
        "difference_to_baseline": {
            label: clean(differences(of, found[0]))
            for label, of in zip(labels[1:], found[1:], strict=True)
        },
    }


def _numbers(values: Sequence[float] | np.ndarray) -> list[float | None]:
    return [float(value) if math.isfinite(value) else None for value in values]


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
