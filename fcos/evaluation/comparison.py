"""Compare runs: all that the page shows, as data."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fcos.config.detector_keys import detector_keys
from fcos.evaluation.choice import Choice, Counts, best_score, choose_images, count_images
from fcos.evaluation.cocoeval import Evaluated
from fcos.evaluation.figures import class_figures, curves, figures
from fcos.evaluation.pictures import Detection, Drawer
from fcos.evaluation.resampling import Interval, intervals_of_differences
from fcos.evaluation.runs import Run, RunFolder, read_run
from fcos.evaluation.truth import Truth, check_ids
from fcos.utils.nested import flat
from fcos.utils.values import in_words

__all__ = [
    "Comparison",
    "RunScore",
    "Task",
    "compare",
    "different_settings",
    "max_dets_of",
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
        intervals: of each of these runs but the baseline, the 95 % intervals of AP, AP50, AP75,
            APs, APm and APl minus those of the baseline; see :mod:`fcos.evaluation.resampling`.
    """

    name: str
    labels: list[str] = dataclasses.field(default_factory=list)
    overall: list[dict[str, float]] = dataclasses.field(default_factory=list)
    classes: list[list[dict[str, float]]] = dataclasses.field(default_factory=list)
    curves: list[dict[str, np.ndarray]] = dataclasses.field(default_factory=list)
    intervals: list[dict[str, Interval | None]] = dataclasses.field(default_factory=list)

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
    def note_on_one(self) -> str:
        """A sentence for a comparison of one run with nothing; else empty."""
        if len(self.runs) > 1:
            return ""
        run = self.runs[0].run
        return (
            f"{run.label} is compared with nothing. To see where it fails: "
            f"fcos diagnose {run.folder.path}"
        )

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
    choose: Callable[[Sequence[dict[Any, Counts]], int], list[Choice]] = choose_images,
) -> Comparison:
    """Evaluate the results in folders and draw the images on which they differ.

    Args:
        folders: from :func:`fcos.evaluation.runs.open_folders`; the first is the baseline.
        truth: the data set.
        dataset: its name, if it has one by which a folder may hold results.
        num_images: images to draw at most.
        score: count and draw detections with at least this score; None for the score that gives
            each run its best F1 over the data set.
        choose: chooses the images, by default those on which the runs differ most.

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
    with_masks = [run for run in runs if run.has_masks and truth.has_masks]
    for run in with_masks:
        masks.add(run.label, truth.evaluate(run.results, "segm", max_dets))
    for task, of_task, name in ((boxes, runs, "bbox"), (masks, with_masks, "segm")):
        columns = [truth.objects.columns(run.results) for run in of_task]
        task.intervals = intervals_of_differences(truth.objects, columns, name, max_dets)
    choices = choose([run.counts for run in scored], num_images)
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
        COCO's 100, or more where its detector gives more.
    """
    most = flat(config).get(detector_keys(config).most_found, 100)
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
