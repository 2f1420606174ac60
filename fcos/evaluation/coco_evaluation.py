"""Evaluate a detector as detectron2's COCOEvaluator does, in less time."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from fcos.checkpoint import ScoreThresholds
from fcos.data.left_out import left_out
from fcos.data.register import read_dataset
from fcos.data.truth_checks import check_evaluable
from fcos.evaluation.cocoeval import DetectionColumns, Evaluated, GroundTruth
from fcos.evaluation.detections import ImageDetections, pack, unpack
from fcos.evaluation.figures import (
    class_figures,
    distinct_names,
    figures,
    summary_lines,
    table_of_classes,
)
from fcos.evaluation.runs import RESULTS
from fcos.evaluation.thresholds import choose_thresholds
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text

__all__ = ["FastCOCOEvaluator"]

logger = logging.getLogger(__name__)

_RETURNED = ("AP", "AP50", "AP75", "APs", "APm", "APl")


class FastCOCOEvaluator(DatasetEvaluator):
    """Compute AP of boxes and masks: the results and the file of detectron2's COCOEvaluator.

    It differs from that in three ways:

    - the numbers, those of pycocotools, come from compiled code where hotcoco is installed;
    - an image that comes twice, because a sampler pads with it, counts once;
    - ``instances_predictions.pth``, a pickle of what the JSON file holds, is not written.
    """

    def __init__(
        self, dataset_name: str, tasks: Sequence[str], output_dir: str, max_dets: int = 100
    ) -> None:
        """
        Args:
            dataset_name: a registered data set. One without annotations in COCO's format is
                converted into it, in ``output_dir``.
            tasks: of "bbox" and "segm".
            output_dir: where ``coco_instances_results.json`` is written.
            max_dets: the best so many detections of an image and class count; at least 10.

        Raises:
            UserError: the annotation file lacks what is evaluated, or nothing can be written to
                ``output_dir``.
        """
        check_writable(output_dir)
        self._metadata = MetadataCatalog.get(dataset_name)
        self._name, self._tasks, self._max_dets = dataset_name, tasks, max_dets
        self._output_dir = output_dir
        with_masks = "segm" in tasks
        records = read_dataset(dataset_name, for_training=False, with_masks=with_masks)
        contents = records.as_coco()
        json_file = self._metadata.get("json_file")
        if not json_file:
            json_file = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
            if comm.is_main_process():
                write_text(json_file, [json.dumps(contents)])
        check_evaluable(json_file, records.images, with_masks)
        # What is left of the data set, if images are left out; comparisons need it.
        self._rest = records if left_out(dataset_name) else None
        # The annotations of a test set are usually not published.
        self._has_annotations = records.has_annotations
        self._truth = GroundTruth(contents, json_file, with_masks)
        self.reset()

    def reset(self) -> None:
        """Forget all detections."""
        self._images: dict[Any, ImageDetections] = {}
        self._evaluated: DetectionColumns | None = None

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add the detections of one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "instances": ``pred_boxes`` in pixels of the original images,
                ``scores``, ``pred_classes`` and, to evaluate masks, ``pred_masks``.

        Raises:
            UserError: the data set does not have such an image or class.
        """
        category_ids = self._category_ids()
        for image, output in zip(inputs, outputs, strict=True):
            image_id, found = image["image_id"], ImageDetections.of(output["instances"])
            if image_id not in self._truth.image_at:
                raise UserError(f"Data set {self._name!r} has no image with image_id {image_id!r}.")
            unknown = set(found.classes.tolist()) - category_ids.keys()
            if unknown:
                raise UserError(
                    f"The model found class {min(unknown)} on image {image_id}, but data set "
                    f"{self._name!r} has {len(category_ids)} classes, from 0 on: "
                    "MODEL.FCOS.NUM_CLASSES, or that of the ROI heads, has to be their number."
                )
            self._images.setdefault(image_id, found)

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Compute the metrics and log them.

        Returns:
            Task to metric to number from 0 to 100, NaN where there is nothing to measure: AP (mean
            over IoU 0.50, 0.55, ..., 0.95), AP50, AP75, APs, APm, APl (objects below 32^2 square
            pixels, between, and from 96^2 on) and "AP-NAME" of each class, or
            "AP-NAME (id ID)" if several have that name. Empty in all but the first process,
            without any image, and for a data set without annotations.

        Raises:
            UserError: the file cannot be written.
        """
        parts = comm.gather(pack(self._images), dst=0)
        if not comm.is_main_process():
            return {}
        images: dict[Any, ImageDetections] = {}
        for part in parts:
            for image_id, found in unpack(part):
                images.setdefault(image_id, found)
        if not images:
            logger.warning("There are no predictions to evaluate.")
            return {}
        self._write(images)
        if not self._has_annotations:
            logger.info("The data set has no annotations, so nothing is evaluated.")
            return {}
        columns = self._columns(images)
        if len(columns.scores):
            self._evaluated = dataclasses.replace(columns, masks=None)
        return {task: self._evaluate(task, columns) for task in self._tasks}

    def score_thresholds(self, **settings: Any) -> ScoreThresholds | None:
        """Choose the scores to cut at from the boxes that were evaluated last.

        Args:
            settings: keyword arguments of :func:`fcos.evaluation.thresholds.choose_thresholds`.

        Returns:
            None where :meth:`evaluate` had nothing to evaluate, as in all but the first process.
        """
        if self._evaluated is None:
            return None
        matches = self._truth.matches(self._evaluated, self._max_dets)
        return choose_thresholds(matches, self._places(), self._name, **settings)

    def _category_ids(self) -> dict[int, int]:
        """Map each class to its id; without a mapping in the metadata, the classes are the ids."""
        ids = self._metadata.get("thing_dataset_id_to_contiguous_id")
        return (
            {class_: id_ for id_, class_ in ids.items()}
            if ids
            else {id_: id_ for id_ in self._truth.category_ids}
        )

    def _places(self) -> dict[int, int]:
        """Map each class to its place among the categories of the data set."""
        return {class_: self._truth.category_at[i] for class_, i in self._category_ids().items()}

    def _write(self, images: Mapping[Any, ImageDetections]) -> None:
        category_ids = self._category_ids()
        file = os.path.join(self._output_dir, RESULTS)
        logger.info(f"Saving results to {file}")
        lists = (json.dumps(found.results(i, category_ids))[1:-1] for i, found in images.items())
        write_text(file, _joined(filter(None, lists)))
        if self._rest is not None:
            file = os.path.join(self._output_dir, f"{self._name}_evaluated.json")
            write_text(file, [json.dumps(self._rest.as_coco())])
            logger.warning(
                f"The figures of {self._name!r} are of {len(self._rest.images)} images: "
                f"{len(left_out(self._name) or ())} that cannot be used are left out with their "
                f"objects. To compare this run with others, give --annotations {file}."
            )

    def _columns(self, images: Mapping[Any, ImageDetections]) -> DetectionColumns:
        found = list(images.values())
        places = np.array([self._truth.image_at[image_id] for image_id in images])
        to_place = self._places()
        classes = np.concatenate([image.classes for image in found]).tolist()
        has_masks = any(image.masks is not None for image in found)
        return DetectionColumns(
            images=np.repeat(places, [len(image.scores) for image in found]),
            classes=np.array([to_place[class_] for class_ in classes], dtype=np.int64),
            boxes=np.concatenate([image.boxes for image in found]),
            scores=np.concatenate([image.scores for image in found]),
            masks=[mask for image in found for mask in image.run_lengths()] if has_masks else None,
        )

    def _evaluate(self, task: str, found: DetectionColumns) -> dict[str, float]:
        if not len(found.scores):
            logger.warning("The model found nothing in any image.")
            return dict.fromkeys(_RETURNED, math.nan)
        evaluated = self._truth.evaluate(found, task, self._max_dets)
        overall = figures(evaluated)
        lines = summary_lines(overall, self._max_dets)
        logger.info(f"COCO's summary for {task}:\n" + "\n".join(lines))
        metrics = {name: overall[name] for name in _RETURNED}
        logger.info(f"Evaluation results for {task}: \n{create_small_table(metrics)}")
        if not np.isfinite(list(metrics.values())).all():
            logger.info("Metrics that cannot be computed are shown as NaN.")
        metrics.update(self._per_class(task, evaluated))
        return metrics

    def _per_class(self, task: str, evaluated: Evaluated) -> dict[str, float]:
        names = self._metadata.get("thing_classes")
        if names is None or len(names) < 2:
            return {}
        values = [of_class["AP"] for of_class in class_figures(evaluated)]
        if len(names) != len(values):
            raise UserError(
                f"Data set {self._name!r} has {len(names)} names of classes, but its annotation "
                f"file has {len(values)} categories."
            )
        names = distinct_names(names, self._truth.category_ids)
        per_class = dict(zip(names, values, strict=True))
        logger.info(f"Per-category {task} AP: \n{table_of_classes(per_class)}")
        return {f"AP-{name}": value for name, value in per_class.items()}


def _joined(lists: Iterable[str]) -> Iterator[str]:
    """Join the insides of several JSON lists to one list, a piece at a time."""
    yield "["
    for number, inside in enumerate(lists):
        yield f", {inside}" if number else inside
    yield "]"
