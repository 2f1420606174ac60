"""All that the page says of the data sets of a config, before anything is drawn."""

from __future__ import annotations

import dataclasses

import numpy as np

from fcos.config import CfgNode
from fcos.data import check_datasets
from fcos.evaluation.dataset.advice import (
    Advice,
    Trial,
    advise,
    advise_on_number,
    try_config,
)
from fcos.evaluation.dataset.assignment import FATES, Assigned, assign
from fcos.evaluation.dataset.changes import changed
from fcos.evaluation.dataset.splits import Split, read_splits
from fcos.evaluation.dataset.suspicious import (
    Shared,
    Suspicion,
    notes_on_classes,
    shared_images,
    suspicious_labels,
)
from fcos.evaluation.figures import distinct_names
from fcos.modeling.fcos.settings import targets_of
from fcos.utils.errors import UserError

__all__ = ["Study", "study_data"]

_MOST_TRIED = 5000  # images that each change of the config is tried on


@dataclasses.dataclass(frozen=True)
class Study:
    """What is known of the data sets of a config.

    Attributes:
        splits: the data sets, those for training first.
        class_names: each once.
        trial: the config, tried on all images of the training sets.
        of_box, of_center: what is learnt by all locations in a box, and by those near its middle.
        problem: why training would refuse the data sets, in a sentence; empty if it would not.
        notes: what its checks say.
        suspicions: of all data sets.
        notes_on_classes: on classes that are rare or in some data sets only.
        shared: images to evaluate on that training sees.
        advice: changes to the config, each on top of the earlier ones.
        first, last: the config, and the config with all advice followed, tried on the same images.
    """

    splits: list[Split]
    class_names: list[str]
    trial: Trial
    of_box: Assigned
    of_center: Assigned
    problem: str
    notes: list[str]
    suspicions: list[Suspicion]
    notes_on_classes: list[str]
    shared: Shared
    advice: list[Advice]
    first: Trial
    last: Trial

    @property
    def training(self) -> list[Split]:
        """The data sets to train on."""
        return [split for split in self.splits if split.is_training]

    def with_fate(self, fate: str) -> list[tuple[Split, np.ndarray]]:
        """Return the objects of a fate of FATES, of each training set by their indices."""
        is_it = self.trial.assigned.fates.numpy() == list(FATES).index(fate)
        ends = np.cumsum([len(split.objects.boxes) for split in self.training])
        parts = np.split(is_it, ends[:-1])
        return [(s, np.flatnonzero(part)) for s, part in zip(self.training, parts, strict=True)]


def study_data(cfg: CfgNode) -> Study:
    """Look at the data sets of a config in every way that the page shows.

    Raises:
        UserError: a data set cannot be read, or there is no object to learn from.
    """
    problem, notes = _checked(cfg)  # first: training skips what is found to be unreadable here
    splits = read_splits(cfg)
    training = [split.objects for split in splits if split.is_training]
    if not any(len(objects.boxes) for objects in training):
        raise UserError(f"{', '.join(cfg.DATASETS.TRAIN)}: no image has an object to learn from.")
    data = splits[0].data
    class_names = distinct_names(data.class_names, data.category_ids)
    trial = try_config(cfg, training, sum(len(objects.sizes) for objects in training))
    is_center = cfg.MODEL.FCOS.CENTER_SAMPLE
    other_cfg = changed(cfg, {"MODEL.FCOS.CENTER_SAMPLE": not is_center})
    other = assign(trial.inputs, targets_of(other_cfg))
    advice, (first, last) = advise(cfg, training, _MOST_TRIED)
    return Study(
        splits=splits,
        class_names=class_names,
        trial=trial,
        of_box=other if is_center else trial.assigned,
        of_center=trial.assigned if is_center else other,
        problem=problem,
        notes=notes,
        suspicions=[found for split in splits for found in suspicious_labels(split)],
        notes_on_classes=notes_on_classes(splits, class_names),
        shared=shared_images(splits),
        advice=advice + advise_on_number(cfg, [split.objects for split in splits]),
        first=first,
        last=last,
    )


def _checked(cfg: CfgNode) -> tuple[str, list[str]]:
    """Return why training would refuse the data sets, or else the notes that it would print."""
    try:
        reports = check_datasets(cfg)
    except UserError as error:
        return str(error), []
    return "", list(dict.fromkeys(f"{r.name}: {note}" for r in reports for note in r.notes))
