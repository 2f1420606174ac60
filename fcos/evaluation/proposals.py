"""How many objects the proposals of a model cover: AR of class-agnostic regions.

Letters: P proposals and G objects of one image.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import Boxes, pairwise_iou
from detectron2.utils import comm
from detectron2.utils.logger import create_small_table
from fcos.data.register import read_dataset
from fcos.data.truth_checks import check_evaluable
from fcos.utils.errors import UserError

__all__ = ["ProposalEvaluator", "best_overlaps"]

logger = logging.getLogger(__name__)

TASK = "box_proposals"
LIMITS = (100, 1000)
# Square pixels; both ends belong to a range, as in COCO's evaluation.
_AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
_THRESHOLDS = np.array([0.5 + 0.05 * i for i in range(10)], dtype=np.float32)


def best_overlaps(proposals: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Give each object a proposal of its own; the pair that overlaps most is the first.

    Args:
        proposals: (P, 4) float, x1, y1, x2, y2 in pixels.
        objects: (G, 4), the same.

    Returns:
        (G,) float32, the IoU of each object with its proposal; 0 without one. Not in the order of
        ``objects``.
    """
    found = np.zeros(len(objects), dtype=np.float32)
    ious = pairwise_iou(*(Boxes(torch.from_numpy(each).float()) for each in (objects, proposals)))
    left = ious.numpy()
    for number in range(min(left.shape)):
        row, column = np.unravel_index(left.argmax(), left.shape)
        found[number] = left[row, column]
        left[row], left[:, column] = -1, -1
    return found


class ProposalEvaluator(DatasetEvaluator):
    """Compute the recall of proposals, as detectron2's COCOEvaluator does for a ProposalNetwork.

    It differs in two ways: an image that comes twice, because a sampler pads with it, counts once;
    and the objects of an image without any proposal are missed, where detectron2 forgets them.
    """

    def __init__(self, dataset_name: str) -> None:
        """
        Args:
            dataset_name: a registered data set.

        Raises:
            UserError: its annotations lack what is evaluated.
        """
        self._name = dataset_name
        records = read_dataset(dataset_name, for_training=False)
        check_evaluable(f"Data set {dataset_name!r}", records.images, with_masks=False)
        self._has_annotations = records.has_annotations
        contents = records.as_coco()
        objects: dict[Any, list[list[float]]] = {image["id"]: [] for image in contents["images"]}
        for annotation in contents["annotations"]:
            if not annotation.get("iscrowd", 0):
                x, y, width, height = annotation["bbox"]
                box = [x, y, x + width, y + height, annotation["area"]]
                objects[annotation["image_id"]].append(box)
        # Of each image (G, 5), corners and area.
        self._objects = {i: np.array(rows, float).reshape(-1, 5) for i, rows in objects.items()}
        self.reset()

    def reset(self) -> None:
        """Forget all proposals."""
        self._overlaps: dict[Any, dict[tuple[str, int], np.ndarray]] = {}

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        """Add the proposals of one batch.

        Args:
            inputs: dicts with "image_id".
            outputs: dicts with "proposals": ``proposal_boxes`` in pixels of the original images and
                ``objectness_logits``.

        Raises:
            UserError: the data set does not have such an image.
        """
        for image, output in zip(inputs, outputs, strict=True):
            image_id, found = image["image_id"], output["proposals"].to(torch.device("cpu"))
            if image_id not in self._objects:
                raise UserError(f"Data set {self._name!r} has no image with image_id {image_id!r}.")
            order = found.objectness_logits.argsort(descending=True, stable=True)
            boxes = found.proposal_boxes.tensor[order].numpy()
            objects = self._objects[image_id]
            self._overlaps[image_id] = {
                (area, limit): best_overlaps(boxes[:limit], objects[_is_within(objects, area), :4])
                for area, limit in itertools.product(_AREAS, LIMITS)
            }

    def evaluate(self) -> dict[str, dict[str, float]]:
        """Compute the recall and log it.

        Returns:
            ``{"box_proposals": ...}`` with AR@100 and AR@1000, the mean recall of so many proposals
            of an image over IoU 0.50, 0.55, ..., 0.95, from 0 to 100, and ARs@100, ARm@100, ... of
            objects below 32^2 square pixels, between, and from 96^2 on; NaN without objects. Empty
            in all but the first process, without any image, and for a data set without
            annotations.
        """
        parts = comm.gather(self._overlaps, dst=0)
        if not comm.is_main_process():
            return {}
        images = {i: found for part in parts for i, found in part.items()}
        if not images:
            logger.warning("There are no proposals to evaluate.")
            return {}
        if not self._has_annotations:
            logger.info("The data set has no annotations, so nothing is evaluated.")
            return {}
        figures = {}
        for limit, area in itertools.product(LIMITS, _AREAS):
            overlaps = np.concatenate([found[area, limit] for found in images.values()])
            figures[f"AR{area}@{limit}"] = _average_recall(overlaps)
        logger.info(f"Recall of the proposals: \n{create_small_table(figures)}")
        return {TASK: figures}


def _is_within(objects: np.ndarray, area: str) -> np.ndarray:
    low, high = _AREAS[area]
    return (objects[:, 4] >= low) & (objects[:, 4] <= high)


def _average_recall(overlaps: np.ndarray) -> float:
    if not len(overlaps):
        return float("nan")
    return 100 * float((overlaps >= _THRESHOLDS[:, None]).mean(axis=1).mean())
