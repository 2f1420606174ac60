"""What a run is and measured, from the files that it left: config.yaml, metrics.json, results."""

from __future__ import annotations

import dataclasses
import math
import os
from glob import escape as glob_escape
from glob import glob
from typing import Any

from fcos.evaluation.comparison import max_dets_of
from fcos.evaluation.figures import figures
from fcos.evaluation.report.rows import MASKS, METRICS, ROWS, kind_of
from fcos.evaluation.runs import RESULTS, RunFolder, open_folder, read_run
from fcos.evaluation.training.history import METRICS as METRICS_FILE
from fcos.evaluation.training.history import History, read_history
from fcos.evaluation.training.summary import summarize
from fcos.evaluation.truth import Truth, check_ids
from fcos.utils.nested import flat

__all__ = ["FINAL", "Budget", "Measured", "measure"]

FINAL = "model_final.pth"
TASKS = {"box": "bbox", "mask": "segm"}


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training had; None where its files do not tell.

    Attributes:
        datasets: names in DATASETS.TRAIN.
        iterations: that were done.
        images_per_batch: SOLVER.IMS_PER_BATCH.
        sides: INPUT.MIN_SIZE_TRAIN.
        backbone: "R-50", or the model of timm.
        weights: MODEL.WEIGHTS that it began with; empty: at random.
    """

    datasets: tuple[str, ...]
    iterations: int | None
    images_per_batch: int | None
    sides: tuple[int, ...]
    backbone: str
    weights: str


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run.

    Attributes:
        folder: its result folder.
        trained_in: the folder of its training, if its weights come from another one.
        kind: see :func:`fcos.evaluation.report.rows.kind_of`.
        seed: SEED of its training; None if it was random or is not known.
        budget: of its training.
        seconds: of an iteration (median); None if that was not logged.
        figures: "box" and "mask" to METRICS in percent, NaN where nothing was found; empty if it
            is not finished.
        source: the file that they are from.
        note: a sentence on what is not as usual; may be empty.
    """

    folder: RunFolder
    trained_in: str
    kind: str
    seed: int | None
    budget: Budget
    seconds: float | None
    figures: dict[str, dict[str, float]]
    source: str
    note: str

    @property
    def label(self) -> str:
        return self.folder.label

    @property
    def title(self) -> str:
        """What it is: the title of its row or of its detector, else its label."""
        return ROWS[self.kind].title if self.kind in ROWS else MASKS.get(self.kind, self.label)

    @property
    def weights(self) -> str:
        """Path of the weights that were measured; may not exist."""
        final = os.path.join(self.trained_in, FINAL)
        named = str(flat(self.folder.config).get("MODEL.WEIGHTS", ""))
        return final if os.path.isfile(final) or not named else named


def measure(folder: RunFolder, truth: Truth, dataset: str | None) -> Measured:
    """Read the files of a run.

    The figures are those of the last evaluation in ``metrics.json``, which the training wrote, or,
    in a folder that was evaluated into without training or after it, those of its detections: an
    evaluation replaces ``config.yaml``, and may have other settings than the training had.

    Args:
        folder: an OUTPUT_DIR.
        truth: the data set.
        dataset: its name; None if it has none.

    Raises:
        UserError: it has neither a training nor results, or they cannot be used.
    """
    trained = _training_of(folder)
    history = _history_of(trained)
    found: dict[str, dict[str, float]] = {}
    source = note = ""
    if history is not None and not _is_finished(history):
        of = f" of {history.max_iter:,}" if history.max_iter else ""
        note = f"{folder.label} is not finished: {history.done:,}{of} iterations."
    elif history is not None and trained == folder.path and not _was_evaluated_since(trained):
        found, source = _logged(history, dataset), os.path.join(trained, METRICS_FILE)
        if not found:
            note = f"{folder.label} is trained, but was not evaluated after its last iteration."
    else:
        found, source = _evaluated(folder, truth, dataset)
        if history is None:
            note = f"{folder.label} was only evaluated: how it was trained is not known."
    if found and not math.isfinite(found["box"]["AP"]):
        note = f"{folder.label} found nothing, so it has no AP."
    trained_folder = open_folder(trained) if trained != folder.path else folder
    values = flat(trained_folder.config)
    seed = values.get("SEED")
    return Measured(
        folder=folder,
        trained_in=trained,
        kind=kind_of(folder.config),
        seed=seed if history is not None and isinstance(seed, int) and seed >= 0 else None,
        budget=_budget(values, history),
        seconds=None if history is None else summarize(history).seconds,
        figures=found,
        source=source,
        note=note,
    )


def _training_of(folder: RunFolder) -> str:
    """Return the folder in which the weights of a run were trained, as far as is known."""
    if os.path.isfile(os.path.join(folder.path, METRICS_FILE)):
        return folder.path
    other = os.path.dirname(str(flat(folder.config).get("MODEL.WEIGHTS", "")))
    return other if os.path.isfile(os.path.join(other, METRICS_FILE)) else folder.path


def _was_evaluated_since(path: str) -> bool:
    """Say whether a folder was evaluated into after its training, which begins with its config."""
    config, final = (os.path.join(path, name) for name in ("config.yaml", FINAL))
    results = glob(os.path.join(glob_escape(path), "inference", "**", RESULTS), recursive=True)
    if not results or not os.path.isfile(config) or not os.path.isfile(final):
        return False
    return os.path.getmtime(config) > os.path.getmtime(final)


def _history_of(path: str) -> History | None:
    if not os.path.isfile(os.path.join(path, METRICS_FILE)):
        return None
    return read_history(open_folder(path))


def _is_finished(history: History) -> bool:
    # One that ended early, by TEST.PATIENCE, has its last checkpoint.
    is_done = history.max_iter is not None and history.done >= history.max_iter
    return is_done or os.path.isfile(os.path.join(history.path, FINAL))


def _logged(history: History, dataset: str | None) -> dict[str, dict[str, float]]:
    """Find the figures of the evaluation after the last iteration."""
    evaluations = summarize(history).evaluations
    last = evaluations.get(history.done, {})
    found = {}
    for task, name in TASKS.items():
        for prefix in (name, f"{dataset}/{name}"):
            if f"{prefix}/AP" in last:
                found[task] = {m: last.get(f"{prefix}/{m}", math.nan) for m in METRICS}
    return found


def _evaluated(
    folder: RunFolder, truth: Truth, dataset: str | None
) -> tuple[dict[str, dict[str, float]], str]:
    """Compute the figures of the detections in a folder."""
    run = read_run(folder, dataset)
    check_ids(run, truth)
    max_dets = max_dets_of(folder.config)
    tasks = TASKS if run.has_masks and truth.has_masks else {"box": TASKS["box"]}
    found = {}
    for task, name in tasks.items():
        overall = figures(truth.evaluate(run.results, name, max_dets))
        found[task] = {metric: overall[metric] for metric in METRICS}
    return found, run.results_file


def _budget(values: dict[str, Any], history: History | None) -> Budget:
    """Read the budget from the config of a training, under dotted keys."""
    sides, batch = values.get("INPUT.MIN_SIZE_TRAIN"), values.get("SOLVER.IMS_PER_BATCH")
    names = values.get("DATASETS.TRAIN")
    return Budget(
        datasets=tuple(map(str, names)) if isinstance(names, (list, tuple)) else (),
        iterations=history.done if history else None,
        images_per_batch=batch if isinstance(batch, int) else None,
        sides=tuple(sides) if isinstance(sides, (list, tuple)) else (),
        backbone=_backbone(values),
        weights=str(values.get("MODEL.WEIGHTS") or ""),
    )


def _backbone(values: dict[str, Any]) -> str:
    if "timm" in str(values.get("MODEL.BACKBONE.NAME")):
        return str(values.get("MODEL.TIMM.NAME"))
    return f"R-{values.get('MODEL.RESNETS.DEPTH')}"
