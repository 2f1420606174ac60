"""Average precision by COCO's rules, computed by COCO's own code (pycocotools)."""

from __future__ import annotations

import itertools
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from detectron2._missing import missing, missing_names
from detectron2.data.catalog import MetadataCatalog
from detectron2.data.datasets.coco import _open_coco, convert_to_coco_json
from detectron2.evaluation._box_proposals import proposal_recall, write_proposals
from detectron2.evaluation._coco_api import ap, run_coco_api, table_of_classes
from detectron2.evaluation.evaluator import DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table

__all__ = ["COCOEvaluator", "instances_to_coco_json"]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)

# Metric: (IoU threshold, None for the mean over all; index of the range of areas).
_METRICS = {
    "AP": (None, 0),
    "AP50": (0.50, 0),
    "AP75": (0.75, 0),
    "APs": (None, 1),
    "APm": (None, 2),
    "APl": (None, 3),
}


class COCOEvaluator(DatasetEvaluator):
    """AP of boxes and masks, or recall of proposals, on any dataset, from 0 to 100; NaN where there
    is nothing to measure.

    The results are those of pycocotools: AP (mean over IoU 0.50, 0.55, ..., 0.95), AP50, AP75,
    APs, APm, APl (objects below 32^2, between, and from 96^2 square pixels), and "AP-NAME" of
    each class. Of proposals it is "box_proposals": AR@100, AR@1000 (mean recall of so many over
    the same IoU), and ARs@100, ARm@100, ... of the same ranges of areas.
    """

    def __init__(
        self,
        dataset_name: str,
        tasks: Sequence[str] | None = None,
        distributed: bool = True,
        output_dir: str | None = None,
        *,
        max_dets_per_image: int | None = None,
        use_fast_impl: bool = True,
        kpt_oks_sigmas: Sequence[float] = (),
        allow_cached_coco: bool = True,
    ) -> None:
        """
        Args:
            dataset_name: a registered dataset, whose metadata names a "json_file" in COCO's format
                or which is in detectron2's format (and is converted into one in ``output_dir``).
            tasks: of "bbox" and "segm". None: what the predictions have.
            distributed: collect from all processes and evaluate in the main one. False: each
                process evaluates what it has.
            output_dir: where to write the predictions, as the model made them
                (instances_predictions.pth) and in COCO's format (coco_instances_results.json).
            max_dets_per_image: the best so many of an image count, 100 if None. Fewer than 10 act
                as 10, because pycocotools sorts its three limits 1, 10 and this one.
            use_fast_impl: without effect; pycocotools does the work in any case.
            kpt_oks_sigmas: keypoints are not part of detectron2-lite.
            allow_cached_coco: use an annotation file that an earlier conversion has written.

        Raises:
            FileNotFoundError: the dataset's annotation file does not exist.
            NotImplementedError: keypoints are asked for.
            ValueError: no ``output_dir`` for a dataset that has to be converted, or a task that
                does not exist.
        """
        if len(kpt_oks_sigmas) or "keypoints" in (tasks or ()):
            raise missing("COCOEvaluator for keypoints")
        if unknown := set(tasks or ()) - {"bbox", "segm"}:
            raise ValueError(f"tasks: expected 'bbox' and 'segm', got {sorted(unknown)}")
        self._tasks = tasks
        self._distributed = distributed
        self._output_dir = output_dir
        self._max_dets = 100 if max_dets_per_image is None else max_dets_per_image
        self._metadata = MetadataCatalog.get(dataset_name)
        if self._metadata.get("json_file") is None:
            if output_dir is None:
                raise ValueError(
                    f"Dataset '{dataset_name}' has no annotation file in COCO's format, so "
                    "COCOEvaluator needs an output_dir to write one into"
                )
            path = os.path.join(output_dir, f"{dataset_name}_coco_format.json")
            convert_to_coco_json(dataset_name, path, allow_cached=allow_cached_coco)
            self._metadata.json_file = path
        self._coco = _open_coco(self._metadata.json_file, dataset_name)
        # The annotations of a test set are usually not published.
        self._has_annotations = "annotations" in self._coco.dataset
        self.reset()

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions: list[dict[str, Any]] = []

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Take the predictions of one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "instances": ``pred_boxes``, ``scores``, ``pred_classes`` and
                perhaps ``pred_masks``, or "proposals": ``proposal_boxes`` and
                ``objectness_logits``, in pixels of the original images.

        Raises:
            NotImplementedError: neither of them, or keypoints.
        """
        cpu = torch.device("cpu")
        for image, output in zip(inputs, outputs, strict=True):
            prediction = {"image_id": image["image_id"]}
            if "instances" in output:
                instances = output["instances"].to(cpu)
                prediction["instances"] = instances_to_coco_json(instances, image["image_id"])
            if "proposals" in output:
                prediction["proposals"] = output["proposals"].to(cpu)
            if len(prediction) == 1:
                raise missing(f"COCOEvaluator for {', '.join(output) or 'empty outputs'}")
            self._predictions.append(prediction)

    def evaluate(
        self, img_ids: Sequence[Any] | None = None
    ) -> OrderedDict[str, dict[str, float]] | dict[str, Any]:
        """Compute the metrics and log them.

        Args:
            img_ids: evaluate these images only.

        Returns:
            Task to metric to number; an empty dict in all but the main process, if there were no
            predictions at all, or if the dataset has no annotations.

        Raises:
            AssertionError: a prediction has a class or image that the dataset has not.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            gathered = comm.gather(predictions, dst=0)
            if not comm.is_main_process():
                return {}
            predictions = list(itertools.chain.from_iterable(gathered))
        if not predictions:
            logger.warning("[COCOEvaluator] There are no predictions to evaluate.")
            return {}
        has_instances, has_proposals = (key in predictions[0] for key in ("instances", "proposals"))
        results = self._in_coco_format(predictions) if has_instances else []
        if self._output_dir:
            self._write(self._output_dir, predictions, results if has_instances else None)
        if not self._has_annotations:
            logger.info("The dataset has no annotations, so nothing is evaluated.")
            return OrderedDict()
        figures = OrderedDict()
        if has_proposals:
            figures["box_proposals"] = proposal_recall(predictions, self._coco)
        if not has_instances:
            return figures
        tasks = self._tasks or sorted({"bbox"} | {"segm" for r in results if "segmentation" in r})
        figures.update((task, self._evaluate(task, results, img_ids)) for task in tasks)
        return figures

    def _in_coco_format(self, predictions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """All predictions in one list, with the category ids of the annotation file."""
        results = [dict(r) for prediction in predictions for r in prediction["instances"]]
        if unknown := {result["image_id"] for result in results} - self._coco.imgs.keys():
            raise AssertionError(
                f"There are predictions for image {min(unknown, key=str)} "
                f"(and {len(unknown) - 1} others), which the annotation file does not have"
            )
        id_map = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if id_map is None:
            return results
        category_ids = {class_: category for category, class_ in id_map.items()}
        for result in results:
            class_ = result["category_id"]
            if class_ not in category_ids:
                raise AssertionError(
                    f"A prediction for image {result['image_id']} has class {class_}, but the "
                    f"dataset has {len(category_ids)} classes, 0 to {len(category_ids) - 1}"
                )
            result["category_id"] = category_ids[class_]
        return results

    @staticmethod
    def _write(folder: str, predictions: list[Any], results: list[Any] | None) -> None:
        PathManager.mkdirs(folder)
        path = os.path.join(folder, "instances_predictions.pth")
        with PathManager.open(path, "wb") as file:
            torch.save(predictions, file)
        if "proposals" in predictions[0]:
            write_proposals(os.path.join(folder, "box_proposals.pkl"), predictions)
        if results is None:
            return
        path = os.path.join(folder, "coco_instances_results.json")
        logger.info("Saving results to %s", path)
        with PathManager.open(path, "w") as file:
            json.dump(results, file)

    def _evaluate(
        self, task: str, results: list[dict[str, Any]], img_ids: Sequence[Any] | None
    ) -> dict[str, float]:
        if not results:
            logger.warning("The model found nothing in any image.")
            return dict.fromkeys(_METRICS, float("nan"))
        coco_eval = run_coco_api(self._coco, results, task, img_ids, self._max_dets)
        metrics = {name: ap(coco_eval, *which) for name, which in _METRICS.items()}
        logger.info("Evaluation results for %s: \n%s", task, create_small_table(metrics))
        if not np.isfinite(list(metrics.values())).all():
            logger.info("Metrics that cannot be computed are shown as NaN.")
        classes = self._metadata.get("thing_classes")
        if classes is not None and len(classes) > 1:
            if len(classes) != len(coco_eval.params.catIds):
                raise AssertionError(
                    f"The metadata names {len(classes)} classes, but the annotation file has "
                    f"{len(coco_eval.params.catIds)} categories"
                )
            per_class = {name: ap(coco_eval, class_=i) for i, name in enumerate(classes)}
            logger.info("Per-category %s AP: \n%s", task, table_of_classes(per_class))
            metrics.update({f"AP-{name}": value for name, value in per_class.items()})
        return metrics


def instances_to_coco_json(instances: Instances, img_id: Any) -> list[dict[str, Any]]:
    """The predictions for one image in COCO's format for results.

    Args:
        instances: N predictions on the CPU: ``pred_boxes`` (in pixels of the original image),
            ``scores``, ``pred_classes``, and perhaps ``pred_masks`` (N, H, W) bool.
        img_id: the image's id in the annotation file.

    Returns:
        N dicts with "image_id", "category_id" (the class), "bbox" (x, y, width, height), "score",
        and "segmentation" (compressed run-length encoding) if there are masks.

    Raises:
        NotImplementedError: there are keypoints.
    """
    if instances.has("pred_keypoints"):
        raise missing("instances_to_coco_json with pred_keypoints")
    if len(instances) == 0:
        return []
    corners = instances.pred_boxes.tensor
    boxes = torch.as_tensor(BoxMode.convert(corners, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)).tolist()
    classes, scores = instances.pred_classes.tolist(), instances.scores.tolist()
    results = [
        {"image_id": img_id, "category_id": class_, "bbox": box, "score": score}
        for class_, box, score in zip(classes, boxes, scores, strict=True)
    ]
    if instances.has("pred_masks"):
        for result, mask in zip(results, instances.pred_masks, strict=True):
            result["segmentation"] = _encoded(mask)
    return results


def _encoded(mask: torch.Tensor) -> dict[str, Any]:
    from pycocotools import mask as mask_api

    encoded = mask_api.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))
    return {**encoded, "counts": encoded["counts"].decode("ascii")}  # JSON has no bytes
