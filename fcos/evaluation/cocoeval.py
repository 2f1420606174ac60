"""COCO's evaluation in compiled code (hotcoco), with the numbers of pycocotools.

N detections of a data set with I images and K categories. Image and category ids of any kind are
replaced by their places in the sorted ids, which is the order in which pycocotools goes through
them and which decides between detections of equal score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import hotcoco
import numpy as np

from fcos.utils.errors import UserError

__all__ = ["Detections", "Evaluated", "GroundTruth", "Matches"]


@dataclasses.dataclass(frozen=True)
class Detections:
    """N detections, as columns.

    Attributes:
        images: (N,) int, places in :attr:`GroundTruth.image_ids`.
        classes: (N,) int, places in :attr:`GroundTruth.category_ids`.
        boxes: (N, 4) float, x, y, width, height in pixels.
        scores: (N,) float.
        masks: run-length encodings, "size" and compressed "counts"; None if there are none.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: Sequence[Mapping[str, Any]] | None = None


@dataclasses.dataclass(frozen=True)
class Matches:
    """How the detections of one class on one image fit its objects, at IoU 0.50.

    Attributes:
        image_id: in the annotation file.
        detections: (D,) int, places among the detections that were evaluated, best score first.
        scores: (D,) float.
        is_found: (D,) bool, the detection has an object.
        counts: (D,) bool; a detection on a crowd does not count.
        num_objects: crowds do not count.
    """

    image_id: Any
    detections: np.ndarray
    scores: np.ndarray
    is_found: np.ndarray
    counts: np.ndarray
    num_objects: int


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """COCO's evaluation of detections.

    Attributes:
        precision: (10 IoU thresholds, 101 recalls, K, 4 ranges of areas, 3 limits of detections)
            in [0, 1]; -1 where there are no objects. The ranges are all, small, medium, large; the
            last limit is the highest.
        recall: the same without the second axis.
        thresholds: (10,) IoU 0.50, 0.55, ..., 0.95.
    """

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray


class GroundTruth:
    """The annotations of a data set, ready to be evaluated against.

    Attributes:
        image_ids: sorted.
        category_ids: sorted, as COCO numbers the classes.
        image_at: the place of each image id.
        category_at: the place of each category id.
    """

    def __init__(self, contents: Mapping[str, Any], source: str, with_masks: bool = False) -> None:
        """
        Args:
            contents: of an annotation file in COCO's format, which is neither changed nor kept.
                Annotations of images and categories that it does not list are left out.
            source: what messages call it, such as its path.
            with_masks: masks are to be evaluated too.

        Raises:
            UserError: an annotation lacks what is evaluated.
        """
        images = sorted(contents["images"], key=lambda image: image["id"])
        self.image_ids = [image["id"] for image in images]
        self.category_ids = sorted(category["id"] for category in contents["categories"])
        self.image_at = {id_: place for place, id_ in enumerate(self.image_ids)}
        self.category_at = {id_: place for place, id_ in enumerate(self.category_ids)}
        keys = ["bbox", "area", *(["segmentation"] if with_masks else [])]
        annotations: list[dict[str, Any]] = []
        for annotation in contents["annotations"]:
            image, category = annotation["image_id"], annotation["category_id"]
            if image not in self.image_at or category not in self.category_at:
                continue
            _check(annotation, keys, source)
            annotations.append(
                {
                    "id": len(annotations) + 1,  # their own may be anything
                    "image_id": self.image_at[image] + 1,
                    "category_id": self.category_at[category] + 1,
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                    **{key: annotation[key] for key in keys},
                }
            )
        size = ("height", "width") if with_masks else ()
        self._coco = hotcoco.COCO(
            {
                "images": [{"id": i, **{k: x[k] for k in size}} for i, x in enumerate(images, 1)],
                "categories": [
                    {"id": i, "name": str(id_)} for i, id_ in enumerate(self.category_ids, 1)
                ],
                "annotations": annotations,
            }
        )

    def columns(self, results: Sequence[Mapping[str, Any]]) -> Detections:
        """Detections in COCO's results format, all or none with masks, as columns."""
        has_masks = bool(results) and "segmentation" in results[0]
        return Detections(
            images=np.array([self.image_at[r["image_id"]] for r in results], dtype=np.int64),
            classes=np.array([self.category_at[r["category_id"]] for r in results], dtype=np.int64),
            boxes=np.array([r["bbox"] for r in results], dtype=float).reshape(-1, 4),
            scores=np.array([r["score"] for r in results], dtype=float),
            masks=[r["segmentation"] for r in results] if has_masks else None,
        )

    def evaluate(self, found: Detections, task: str, max_dets: int) -> Evaluated:
        """COCO's evaluation.

        Args:
            found: the detections; for masks, with masks.
            task: "bbox" or "segm".
            max_dets: the best so many of an image and class count; at least 10.

        Raises:
            ValueError: another task, or masks are asked for and not there.
        """
        coco_eval = self._prepared(found, task, max_dets)
        coco_eval.evaluate()
        coco_eval.accumulate()
        accumulated = coco_eval.eval
        assert accumulated is not None
        thresholds = np.asarray(coco_eval.params.iouThrs)
        return Evaluated(accumulated["precision"], accumulated["recall"], thresholds)

    def matches(self, found: Detections, max_dets: int) -> list[Matches]:
        """Which detections are right at box IoU 0.50, for each class and image that has any.

        Args:
            found: the detections.
            max_dets: as for :meth:`evaluate`.
        """
        coco_eval = self._prepared(found, "bbox", max_dets)
        coco_eval.params.iouThrs = [0.5]  # every threshold and range of areas costs as much memory
        coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0.0, 1e10]], ["all"]
        coco_eval.evaluate()
        return [
            Matches(
                image_id=self.image_ids[entry["image_id"] - 1],
                detections=np.asarray(entry["dtIds"], dtype=np.int64) - 1,
                scores=np.asarray(entry["dtScores"], dtype=float),
                is_found=np.asarray(entry["dtMatched"][0], dtype=bool),
                counts=~np.asarray(entry["dtIgnore"][0], dtype=bool),
                num_objects=int((~np.asarray(entry["gtIgnore"], dtype=bool)).sum()),
            )
            for entry in coco_eval.evalImgs
            if entry is not None
        ]

    def _prepared(self, found: Detections, task: str, max_dets: int) -> hotcoco.COCOeval:
        if task not in ("bbox", "segm"):
            raise ValueError(f"task: expected 'bbox' or 'segm', got {task!r}")
        coco_eval = hotcoco.COCOeval(self._coco, self._load(found, task), task)
        coco_eval.params.maxDets = [1, 10, max_dets]
        return coco_eval

    def _load(self, found: Detections, task: str) -> hotcoco.COCO:
        images, classes = found.images + 1, found.classes + 1
        if task == "bbox":
            return self._coco.loadRes(
                np.column_stack([images, found.boxes, found.scores, classes]).astype(np.float64)
            )
        if found.masks is None:
            raise ValueError("found: masks are to be evaluated, but the detections have none")
        # Without a box: the size of an object would be taken from it, not from the mask.
        columns = zip(
            images.tolist(), classes.tolist(), found.masks, found.scores.tolist(), strict=True
        )
        keys = ("image_id", "category_id", "segmentation", "score")
        return self._coco.loadRes([dict(zip(keys, row, strict=True)) for row in columns])


def _check(annotation: Mapping[str, Any], keys: Sequence[str], source: str) -> None:
    missing = [key for key in keys if annotation.get(key) is None or annotation[key] == []]
    if missing:
        raise UserError(
            f"{source}: annotation {annotation.get('id')} has no {' and no '.join(missing)}, which "
            "the evaluation needs."
        )
