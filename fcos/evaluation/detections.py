"""Detections of an image as arrays, and those of many images packed to be sent."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from detectron2.structures import Instances

__all__ = ["ImageDetections", "pack", "unpack"]


@dataclasses.dataclass(frozen=True)
class ImageDetections:
    """N detections on one image, as arrays.

    Attributes:
        boxes: (N, 4) float32, x, y, width, height in pixels.
        scores: (N,) float32.
        classes: (N,) int64.
        masks: N compressed run-length encodings; None if the detector makes no masks.
        size: rows and columns of the masks.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: tuple[bytes, ...] | None = None
    size: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, instances: Instances) -> ImageDetections:
        """Convert ``pred_boxes``, ``scores``, ``pred_classes`` and, if there are any, masks."""
        instances = instances.to(torch.device("cpu"))
        boxes = instances.pred_boxes.tensor.float()
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
        columns = boxes.numpy(), instances.scores.float().numpy(), instances.pred_classes.numpy()
        if not instances.has("pred_masks"):
            return cls(*columns)
        return cls(*columns, _encoded(instances.pred_masks), tuple(instances.image_size))

    def run_lengths(self) -> list[dict[str, Any]]:
        """Return the masks in COCO's format."""
        size = list(self.size)
        return [{"size": size, "counts": counts.decode("ascii")} for counts in self.masks or ()]

    def results(self, image_id: Any, category_ids: Mapping[int, int]) -> list[dict[str, Any]]:
        """Return COCO's results format; ``category_ids`` has the id of each class."""
        columns = zip(self.classes.tolist(), self.boxes.tolist(), self.scores.tolist(), strict=True)
        results: list[dict[str, Any]] = [
            {"image_id": image_id, "category_id": category_ids[class_], "bbox": box, "score": score}
            for class_, box, score in columns
        ]
        for result, mask in zip(results, self.run_lengths(), strict=False):
            result["segmentation"] = mask
        return results


def _encoded(masks: torch.Tensor) -> tuple[bytes, ...]:
    from pycocotools import mask as mask_api

    # One at a time, because a second copy of all masks could take gigabytes.
    return tuple(
        mask_api.encode(np.asfortranarray(mask.numpy(), dtype=np.uint8))["counts"] for mask in masks
    )


def pack(images: Mapping[Any, ImageDetections]) -> dict[str, Any]:
    """Put the detections of many images into a few arrays, which are quick to send.

    Args:
        images: by image id; all with masks or all without.

    Returns:
        What :func:`unpack` takes apart again.
    """
    found = list(images.values())
    packed: dict[str, Any] = {"image_ids": list(images)}
    if not found:
        return packed
    packed["numbers"] = np.array([len(image.scores) for image in found])
    for name in ("boxes", "scores", "classes"):
        packed[name] = np.concatenate([getattr(image, name) for image in found])
    if any(image.masks is not None for image in found):
        masks = [mask for image in found for mask in image.masks or ()]
        packed["sizes"] = np.array([image.size for image in found])
        packed["lengths"] = np.array([len(mask) for mask in masks], dtype=np.int64)
        packed["masks"] = b"".join(masks)
    return packed


def unpack(packed: Mapping[str, Any]) -> Iterator[tuple[Any, ImageDetections]]:
    """Yield the image ids and detections that :func:`pack` was given, in the same order."""
    if not packed["image_ids"]:
        return
    ends = packed["numbers"].cumsum()
    ends_of_masks = np.concatenate([[0], packed.get("lengths", np.zeros(0, int)).cumsum()])
    for i, (image_id, end) in enumerate(zip(packed["image_ids"], ends, strict=True)):
        start = end - packed["numbers"][i]
        boxes, scores, classes = (packed[k][start:end] for k in ("boxes", "scores", "classes"))
        if "masks" not in packed:
            yield image_id, ImageDetections(boxes, scores, classes)
            continue
        cuts = ends_of_masks[start : end + 1].tolist()
        masks = tuple(packed["masks"][a:b] for a, b in itertools.pairwise(cuts))
        height, width = packed["sizes"][i].tolist()
        yield image_id, ImageDetections(boxes, scores, classes, masks, (height, width))
