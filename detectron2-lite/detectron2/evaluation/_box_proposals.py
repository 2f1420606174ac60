"""Recall of proposals, and the file that they are written to."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from detectron2.structures import Boxes, BoxMode, pairwise_iou
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table

logger = logging.getLogger("detectron2.evaluation.coco_evaluation")

_LIMITS = (100, 1000)
# Square pixels; both ends belong to a range.
_AREAS = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}


def proposal_recall(
    predictions: Sequence[Mapping[str, Any]], ground_truth: Any
) -> dict[str, float]:
    """The mean of the recalls at IoU 0.50, 0.55, ..., 0.95 in percent; NaN without objects.

    Objects of an image without any proposal do not count, and neither do crowds.

    Args:
        predictions: of each image "image_id" and "proposals".
        ground_truth: pycocotools' COCO.

    Returns:
        AR@100, ARs@100, ..., AR@1000, ...: of the best so many proposals of an image, for objects
        of all areas and of each range.
    """
    figures = {}
    for limit in _LIMITS:
        for name, (low, high) in _AREAS.items():
            overlaps = []
            for prediction in predictions:
                boxes, areas = _objects(ground_truth, prediction["image_id"])
                proposals = prediction["proposals"]
                if len(boxes) and len(proposals):
                    order = proposals.objectness_logits.argsort(descending=True)[:limit]
                    is_within = (areas >= low) & (areas <= high)
                    found = pairwise_iou(boxes[is_within], proposals.proposal_boxes[order])
                    overlaps.append(_best_pairs(found))
            figures[f"AR{name}@{limit}"] = _average_recall(torch.cat([torch.zeros(0), *overlaps]))
    logger.info("Recall of the proposals: \n%s", create_small_table(figures))
    return figures


def write_proposals(path: str, predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write the proposals in the form that a data set can be given precomputed ones in."""
    proposals = [prediction["proposals"] for prediction in predictions]
    contents = {
        "boxes": [one.proposal_boxes.tensor.numpy() for one in proposals],
        "objectness_logits": [one.objectness_logits.numpy() for one in proposals],
        "ids": [prediction["image_id"] for prediction in predictions],
        "bbox_mode": BoxMode.XYXY_ABS.value,
    }
    with PathManager.open(path, "wb") as file:
        pickle.dump(contents, file)


def _objects(ground_truth: Any, image_id: Any) -> tuple[Boxes, Tensor]:
    """Boxes and areas of the objects of an image."""
    annotations = ground_truth.loadAnns(ground_truth.getAnnIds(imgIds=image_id))
    objects = [a for a in annotations if a["iscrowd"] == 0]
    corners = [BoxMode.convert(a["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for a in objects]
    areas = torch.tensor([a["area"] for a in objects], dtype=torch.float64)
    return Boxes(torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)), areas


def _best_pairs(overlaps: Tensor) -> Tensor:
    """(objects, proposals) IoU to that of each object with a proposal of its own, (objects,).

    The pair that overlaps most is the first to be taken.
    """
    left, found = overlaps.clone(), overlaps.new_zeros(len(overlaps))
    for number in range(min(overlaps.shape)):
        place = int(left.argmax())
        row, column = divmod(place, overlaps.shape[1])
        found[number] = overlaps[row, column]
        left[row], left[:, column] = -1, -1
    return found


def _average_recall(overlaps: Tensor) -> float:
    thresholds = torch.arange(0.5, 0.95 + 1e-5, 0.05)
    is_found = (overlaps >= thresholds[:, None]).float()
    return float(is_found.mean(dim=1).mean() * 100)
