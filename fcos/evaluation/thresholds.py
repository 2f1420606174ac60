"""Choose the scores to cut at, class by class, from the detections of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from detectron2.data import MetadataCatalog
from fcos.checkpoint import ClassThreshold, ScoreThresholds
from fcos.evaluation.cocoeval import Matches
from fcos.evaluation.cuts import best_cut, cuts_of
from fcos.evaluation.runs import RunFolder, read_run
from fcos.evaluation.truth import check_ids, truth_of_dataset
from fcos.utils.errors import UserError

__all__ = ["choose_thresholds", "thresholds_of_results"]


def choose_thresholds(
    matches: Matches,
    places: Mapping[int, int],
    dataset: str,
    *,
    square_root: bool,
    augmented: bool = False,
    precision: float | None = None,
    recall: float | None = None,
) -> ScoreThresholds:
    """Choose the score to cut at for each class.

    Args:
        matches: of the detections.
        places: of each class of the model, its place among the categories of the data set.
        dataset: its name.
        square_root, augmented: as of :class:`fcos.checkpoint.ScoreThresholds`.
        precision, recall: as of :func:`fcos.evaluation.cuts.best_cut`.
    """
    rule = "best F1"
    if precision is not None:
        rule = f"a precision of at least {precision:g}"
    elif recall is not None:
        rule = f"a recall of at least {recall:g}"
    number = 1 + max(places, default=-1)
    classes = tuple(
        _of_class(matches, places[class_], precision, recall)
        if class_ in places
        else ClassThreshold(None)
        for class_ in range(number)
    )
    return ScoreThresholds(rule, dataset, square_root, augmented, classes)


def _of_class(
    matches: Matches, place: int, precision: float | None, recall: float | None
) -> ClassThreshold:
    counts = (matches.classes == place) & (matches.is_right | matches.is_wrong)
    objects = int(matches.objects_of_class[place])
    cuts = cuts_of(matches.scores[counts], matches.is_right[counts], objects)
    best = best_cut(cuts, precision, recall)
    detections = int(counts.sum())
    if best is None:
        return ClassThreshold(None, objects=objects, detections=detections)
    return ClassThreshold(
        float(cuts.scores[best]),
        float(cuts.precision[best]),
        float(cuts.recall[best]),
        objects,
        detections,
    )


def thresholds_of_results(
    file: str, dataset: str, max_dets: int, **settings: Any
) -> ScoreThresholds:
    """Choose the scores from the detections that an evaluation has written.

    Args:
        file: in COCO's results format, or the folder of an evaluation.
        dataset: the name of the data set that was evaluated on; it is registered.
        max_dets: the best so many of an image and class count.
        settings: the other arguments of :func:`choose_thresholds`.

    Raises:
        UserError: the file or the data set cannot be used, or they do not belong together.
    """
    if not os.path.exists(file):
        raise UserError(f"The results {file} do not exist.")
    run = read_run(RunFolder("", file, {}), None)
    truth = truth_of_dataset(dataset)
    check_ids(run, truth)
    place_of = {id_: place for place, id_ in enumerate(truth.category_ids)}
    ids = MetadataCatalog.get(dataset).get("thing_dataset_id_to_contiguous_id")
    places = {class_: place_of[id_] for id_, class_ in ids.items()} if ids else place_of
    return choose_thresholds(truth.matches(run.results, max_dets), places, dataset, **settings)
