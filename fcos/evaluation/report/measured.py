"""What a run is and measured, from the files that it left: config.yaml, metrics.json, results."""

from __future__ import annotations

import dataclasses
import math
import os
from glob import escape as glob_escape
from glob import glob

from fcos.evaluation.comparison import max_dets_of
from fcos.evaluation.figures import figures
from fcos.evaluation.report.rows import MASKS, METRICS, ROWS, kind_of
from fcos.evaluation.report.trained import Budget, budget_of, seed_of, training_in, weights_of
from fcos.evaluation.runs import RESULTS, RunFolder, open_folder, read_run
from fcos.evaluation.training.history import METRICS as METRICS_FILE
from fcos.evaluation.training.history import History, read_history
from fcos.evaluation.training.summary import summarize
from fcos.evaluation.truth import Truth, check_ids
from fcos.utils.nested import flat

__all__ = ["FINAL", "Measured", "measure"]

FINAL = "model_final.pth"
TASKS = {"box": "bbox", "mask": "segm"}


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        folder: its result folder.
        trained_in: the folder of its training, if its weights come from another one.
        is_finished: whether its training is, as far as is known.
        kind: see :func:`fcos.evaluation.report.rows.kind_of`.
        seed: SEED of its training; None if it was random or is not known.
        budget: of its training.
        seconds: of an iteration (median); None if that was not logged.
        figures: "box" and "mask" to METRICS in percent, NaN where nothing was found; empty if it
            is not finished.
        source: the file that they are from.
        weights: path or name of the weights that were measured; may not exist.
        note: a sentence on what is not as usual; may be empty.
    """

    folder: RunFolder
    trained_in: str
    is_finished: bool
    kind: str
    seed: int | None
    budget: Budget
    seconds: float | None
    figures: dict[str, dict[str, float]]
    source: str
    weights: str
    note: str

    @property
    def label(self) -> str:
        return self.folder.label

    @property
    def title(self) -> str:
        """What it is: the title of its row or of its detector, else its label."""
        return ROWS[self.kind].title if self.kind in ROWS else MASKS.get(self.kind, self.label)

    @property
    def found_something(self) -> bool:
        """Whether it has figures, and they are numbers."""
        return bool(self.figures) and math.isfinite(self.figures["box"]["AP"])


def measure(folder: RunFolder, truth: Truth, dataset: str | None) -> Measured:
    """Read the files of a run.

    The figures are those of the last evaluation in ``metrics.json``, which the training wrote, or,
    in a folder that was evaluated into without training or after it, those of its detections: an
    evaluation replaces ``config.yaml``, and may have other settings and other weights than the
    training left. What those had is then read from the checkpoint that was evaluated.

    Args:
        folder: an OUTPUT_DIR.
        truth: the data set.
        dataset: its name; None if it has none.

    Raises:
        UserError: it has neither a training nor results, or they cannot be used.
    """
    own = _history_of(folder.path)
    if own is not None and not (_is_finished(own) and _was_evaluated_since(folder)):
        return _measure_training(folder, own, dataset)
    return _measure_evaluation(folder, truth, dataset)


def _measure_training(folder: RunFolder, history: History, dataset: str | None) -> Measured:
    """Measure what was trained and evaluated in its own folder."""
    found: dict[str, dict[str, float]] = {}
    is_finished = _is_finished(history)
    if is_finished:
        found, note = _logged(history, folder, dataset)
    else:
        of = f" of {history.max_iter:,}" if history.max_iter else ""
        note = f"{folder.label} is not finished: {history.done:,}{of} iterations."
    values = flat(folder.config)
    return Measured(
        folder=folder,
        trained_in=folder.path,
        is_finished=is_finished,
        kind=kind_of(folder.config),
        seed=seed_of(values),
        budget=budget_of(values, history.done),
        seconds=summarize(history).seconds,
        figures=found,
        source=os.path.join(folder.path, METRICS_FILE) if found else "",
        weights=os.path.join(folder.path, FINAL),
        note=note or _note_on(folder, found),
    )


def _measure_evaluation(folder: RunFolder, truth: Truth, dataset: str | None) -> Measured:
    """Measure the detections in a folder; they are of the weights that its config names."""
    found, source = _evaluated(folder, truth, dataset)
    weights = weights_of(folder) or os.path.join(folder.path, FINAL)
    trained = os.path.dirname(weights)
    history = _history_of(trained)
    is_last = os.path.basename(weights) == FINAL
    values, iterations = training_in(weights)
    if not values and history is not None and is_last:
        values, iterations = flat(open_folder(trained).config), history.done
    note = _note_on(folder, found)
    if iterations is None:
        note = f"{folder.label} was only evaluated: how it was trained is not known."
    elif history is not None and not is_last and iterations < history.done:
        note = (
            f"{folder.label} is of {os.path.basename(weights)}, the weights after {iterations:,} "
            f"of {history.done:,} iterations."
        )
    return Measured(
        folder=folder,
        trained_in=trained if history is not None else folder.path,
        is_finished=True,
        kind=kind_of(folder.config),
        seed=seed_of(values),
        budget=budget_of(values, iterations),
        seconds=None if history is None else summarize(history).seconds,
        figures=found,
        source=source,
        weights=weights,
        note=note,
    )


def _note_on(folder: RunFolder, found: dict[str, dict[str, float]]) -> str:
    if found and not math.isfinite(found["box"]["AP"]):
        return f"{folder.label} found nothing, so it has no AP."
    return ""


def _was_evaluated_since(folder: RunFolder) -> bool:
    """Say whether a folder was evaluated into after its training, which begins with its config.

    An evaluation writes another MODEL.WEIGHTS than the training began with. Of a training with
    detectron2, whose checkpoints have no config, the age of the files has to tell.
    """
    config, final = (os.path.join(folder.path, name) for name in ("config.yaml", FINAL))
    inside = os.path.join(glob_escape(folder.path), "inference", "**", RESULTS)
    if not glob(inside, recursive=True) or not os.path.isfile(config) or not os.path.isfile(final):
        return False
    trained, _ = training_in(final)
    if trained:
        return trained["MODEL.WEIGHTS"] != flat(folder.config).get("MODEL.WEIGHTS")
    return os.path.getmtime(config) > os.path.getmtime(final)


def _history_of(path: str) -> History | None:
    if not os.path.isfile(os.path.join(path, METRICS_FILE)):
        return None
    return read_history(open_folder(path))


def _is_finished(history: History) -> bool:
    # One that ended early, by TEST.PATIENCE, has its last checkpoint.
    is_done = history.max_iter is not None and history.done >= history.max_iter
    return is_done or os.path.isfile(os.path.join(history.path, FINAL))


def _logged(
    history: History, folder: RunFolder, dataset: str | None
) -> tuple[dict[str, dict[str, float]], str]:
    """Find the figures of the evaluation after the last iteration, or say why there are none."""
    last = summarize(history).evaluations.get(history.done, {})
    tests = folder.test_datasets
    # With several data sets, the names of figures begin with that of the data set.
    start = f"{dataset}/" if len(tests) > 1 else ""
    found = {}
    for task, name in TASKS.items():
        if dataset in (None, *tests) and f"{start}{name}/AP" in last:
            found[task] = {m: last.get(f"{start}{name}/{m}", math.nan) for m in METRICS}
    if found:
        return found, ""
    if dataset not in (None, *tests):
        return {}, f"{folder.label} is trained, but was not evaluated on {dataset}."
    if any("box_proposals/" in name for name in history.series):
        return {}, f"{folder.label} proposes regions: it has recalls, and no AP."
    return {}, f"{folder.label} is trained, but was not evaluated after its last iteration."


def _evaluated(
    folder: RunFolder, truth: Truth, dataset: str | None
) -> tuple[dict[str, dict[str, float]], str]:
    """Compute the figures of the detections in a folder; NaN if there are none."""
    run = read_run(folder, dataset, may_be_empty=True)
    if not run.results:
        tasks = ["box", "mask"] if flat(folder.config).get("MODEL.MASK_ON") else ["box"]
        return {task: dict.fromkeys(METRICS, math.nan) for task in tasks}, run.results_file
    check_ids(run, truth)
    max_dets = max_dets_of(folder.config)
    both = run.has_masks and truth.has_masks
    found = {}
    for task, name in TASKS.items() if both else [("box", TASKS["box"])]:
        overall = figures(truth.evaluate(run.results, name, max_dets))
        found[task] = {metric: overall[metric] for metric in METRICS}
    return found, run.results_file
