"""COCO's evaluation: hotcoco, which is compiled, or pycocotools where hotcoco is not installed.

Both give the same numbers and have the same classes COCO and COCOeval.

N detections of a data set with I images and K categories. Image and category ids of any kind are
replaced by their places in the sorted ids, which is the order in which pycocotools goes through
them and which decides between detections of equal score.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fcos.utils.errors import UserError

__all__ = ["DetectionColumns", "Evaluated", "GroundTruth", "Matches", "judge", "silence"]

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class DetectionColumns:
    """N detections, as columns.

    Attributes:
        images: (N,) int, places in :attr:`GroundTruth.image_ids`.
        classes: (N,) int, places in :attr:`GroundTruth.category_ids`.
        boxes: (N, 4) float, x, y, width, height in pixels.
        scores: (N,) float.
        masks: run-length encodings, "size" and compressed "counts"; None if there are none.
        areas: (N,) float, what ranges of areas are to take for the areas; None: their own.
    """

    images: np.ndarray
    classes: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    masks: Sequence[Mapping[str, Any]] | None = None
    areas: np.ndarray | None = None

    def part(self, is_kept: np.ndarray) -> DetectionColumns:
        """Return the detections that (N,) bool keeps, in the same order."""
        kept = np.flatnonzero(is_kept)
        return DetectionColumns(
            images=self.images[kept],
            classes=self.classes[kept],
            boxes=self.boxes[kept],
            scores=self.scores[kept],
            masks=None if self.masks is None else [self.masks[i] for i in kept.tolist()],
            areas=None if self.areas is None else self.areas[kept],
        )


@dataclasses.dataclass(frozen=True)
class Matches:
    """Which of N detections match an object of their class at IoU 0.50.

    Attributes:
        image_ids: of all I images, sorted.
        num_objects: (I,) int, objects of each image without crowds.
        objects_of_class: (K,) int, the same of each class.
        images: (N,) int, places in ``image_ids``.
        classes: (N,) int, places in :attr:`GroundTruth.category_ids`.
        scores: (N,) float.
        is_right: (N,) bool, matched to an object.
        is_wrong: (N,) bool, matched to nothing. Detections on a crowd, and those beyond the limit
            of detections, are neither right nor wrong.
    """

    image_ids: Sequence[Any]
    num_objects: np.ndarray
    objects_of_class: np.ndarray
    images: np.ndarray
    classes: np.ndarray
    scores: np.ndarray
    is_right: np.ndarray
    is_wrong: np.ndarray


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Precision and recall of detections.

    Attributes:
        precision: (10 IoU thresholds, 101 recalls, K, 4 ranges of areas, 3 limits of detections)
            in [0, 1]; -1 where there are no objects. The thresholds are 0.50, 0.55, ..., 0.95; the
            ranges all, small, medium, large; the last limit is the highest.
        recall: the same without the second axis.
    """

    precision: np.ndarray
    recall: np.ndarray


class GroundTruth:
    """The annotations of a data set, to evaluate detections against.

    Attributes:
        image_ids: sorted.
        category_ids: sorted, as COCO numbers the classes.
        image_at: the place of each image id.
        category_at: the place of each category id.
        objects: (G, 3), places of image and category, and area in square pixels, without crowds.
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
        self._num_objects = np.zeros(len(images), dtype=np.int64)
        self._objects_of_class = np.zeros(len(self.category_ids), dtype=np.int64)
        keys = ["bbox", "area", *(["segmentation"] if with_masks else [])]
        annotations: list[dict[str, Any]] = []
        for annotation in contents["annotations"]:
            image, category = annotation["image_id"], annotation["category_id"]
            if image not in self.image_at or category not in self.category_at:
                continue
            _check(annotation, keys, source)
            is_crowd = int(annotation.get("iscrowd", 0))
            self._num_objects[self.image_at[image]] += not is_crowd
            self._objects_of_class[self.category_at[category]] += not is_crowd
            annotations.append(
                {
                    "id": len(annotations) + 1,  # their own may be anything
                    "image_id": self.image_at[image] + 1,
                    "category_id": self.category_at[category] + 1,
                    "iscrowd": is_crowd,
                    **{key: annotation[key] for key in keys},
                }
            )
        self.objects = _columns_of(annotations)
        size = ("height", "width") if with_masks else ()
        self._coco_class, self._eval_class = _library()
        self._coco = self._coco_class()
        self._coco.dataset = {
            "images": [{"id": i, **{k: x[k] for k in size}} for i, x in enumerate(images, 1)],
            "categories": [
                {"id": i, "name": str(id_)} for i, id_ in enumerate(self.category_ids, 1)
            ],
            "annotations": annotations,
        }
        with silence():
            self._coco.createIndex()

    def columns(self, results: Sequence[Mapping[str, Any]]) -> DetectionColumns:
        """Make columns of detections in COCO's results format, all or none with masks."""
        has_masks = bool(results) and "segmentation" in results[0]
        return DetectionColumns(
            images=np.array([self.image_at[r["image_id"]] for r in results], dtype=np.int64),
            classes=np.array([self.category_at[r["category_id"]] for r in results], dtype=np.int64),
            boxes=np.array([r["bbox"] for r in results], dtype=float).reshape(-1, 4),
            scores=np.array([r["score"] for r in results], dtype=float),
            masks=[r["segmentation"] for r in results] if has_masks else None,
        )

    def evaluate(self, found: DetectionColumns, task: str, max_dets: int) -> Evaluated:
        """Compute precision and recall.

        Args:
            found: the detections; for masks, with masks.
            task: "bbox" or "segm".
            max_dets: the best so many of an image and class count; at least 10.

        Raises:
            ValueError: another task, or masks are asked for and not there.
        """
        with silence():
            coco_eval = self.prepared(found, task, max_dets)
            coco_eval.evaluate()
            coco_eval.accumulate()
        return Evaluated(coco_eval.eval["precision"], coco_eval.eval["recall"])

    def matches(self, found: DetectionColumns, max_dets: int, task: str = "bbox") -> Matches:
        """Match detections to objects of their class at IoU 0.50, the highest score first.

        Args:
            found: the detections.
            max_dets: as for :meth:`evaluate`, as is ``task``.
        """
        judged = judge(self.evaluated_at(0.5, found, task, max_dets))
        places = np.fromiter(judged, np.int64, len(judged)) - 1
        is_right, is_wrong = np.zeros((2, len(found.scores)), dtype=bool)
        is_right[places] = np.fromiter(judged.values(), bool, len(judged))
        is_wrong[places] = ~is_right[places]
        return Matches(
            image_ids=self.image_ids,
            num_objects=self._num_objects,
            objects_of_class=self._objects_of_class,
            images=found.images,
            classes=found.classes,
            scores=found.scores,
            is_right=is_right,
            is_wrong=is_wrong,
        )

    def evaluated_at(self, iou: float, found: DetectionColumns, task: str, max_dets: int) -> Any:
        """Return a COCOeval, see :meth:`prepared`, evaluated at one IoU and for all areas.

        Every threshold and range of areas costs as much memory.
        """
        with silence():
            coco_eval = self.prepared(found, task, max_dets)
            coco_eval.params.iouThrs = [iou]
            coco_eval.params.areaRng, coco_eval.params.areaRngLbl = [[0.0, 1e10]], ["all"]
            coco_eval.evaluate()
        return coco_eval

    def prepared(self, found: DetectionColumns, task: str, max_dets: int) -> Any:
        """Return a COCOeval; see :meth:`evaluate`. In it, ids are places plus 1, of images,
        categories and detections as in ``found``, of objects as in the annotation file."""
        if task not in ("bbox", "segm"):
            raise ValueError(f"task: expected 'bbox' or 'segm', got {task!r}")
        loaded = self._load(found, task)
        if found.areas is not None:
            loaded.update_anns(ids=np.arange(1, len(found.scores) + 1), area=found.areas)
        coco_eval = self._eval_class(self._coco, loaded, task)
        coco_eval.params.maxDets = [1, 10, max_dets]
        return coco_eval

    def _load(self, found: DetectionColumns, task: str) -> Any:
        if task == "segm" and found.masks is None:
            raise ValueError("found: masks are to be evaluated, but the detections have none")
        if not len(found.scores):  # pycocotools loads no empty list
            return self._coco_class()
        images, classes = found.images + 1, found.classes + 1
        if task == "bbox":
            return self._coco.loadRes(
                np.column_stack([images, found.boxes, found.scores, classes]).astype(np.float64)
            )
        # Without a box: the size of an object would be taken from it, not from the mask.
        columns = zip(
            images.tolist(), classes.tolist(), found.masks or (), found.scores.tolist(), strict=True
        )
        keys = ("image_id", "category_id", "segmentation", "score")
        return self._coco.loadRes([dict(zip(keys, row, strict=True)) for row in columns])


def _columns_of(annotations: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return places of image and category, and area, of those that are no crowds; (G, 3)."""
    objects = [a for a in annotations if not a["iscrowd"]]
    rows = [[a["image_id"] - 1, a["category_id"] - 1, a["area"]] for a in objects]
    return np.array(rows, dtype=float).reshape(-1, 3)


def _library() -> tuple[Any, Any]:
    """Import the classes COCO and COCOeval."""
    try:
        import hotcoco

        return hotcoco.COCO, hotcoco.COCOeval
    except ImportError as error:
        logger.warning(
            f"hotcoco cannot be imported ({error}), so pycocotools evaluates: the figures are the "
            "same, but it takes some 20 times as long."
        )
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval


def silence() -> contextlib.redirect_stdout[io.StringIO]:
    """Discard what pycocotools prints about its progress."""
    return contextlib.redirect_stdout(io.StringIO())


def judge(coco_eval: Any, threshold: int = 0) -> dict[int, bool]:
    """Say of each detection that counts, by its id, whether it is right.

    Args:
        coco_eval: after evaluate(), with one range of areas, called "all".
        threshold: index of its IoU thresholds.
    """
    if hasattr(coco_eval, "image_diagnostics"):  # hotcoco's, in a tenth of the time
        iou = coco_eval.params.iouThrs[threshold]
        # At this score it looks for no mistakes in the annotations.
        status = coco_eval.image_diagnostics(iou, score_thr=1.0)["dt_status"]
        return {id_: text == "tp" for id_, text in status.items()}
    judged = {}
    for pair in filter(None, coco_eval.evalImgs):  # an image and a class
        matches, ignored = pair["dtMatches"][threshold], pair["dtIgnore"][threshold]
        rows = zip(pair["dtIds"], matches, ignored, strict=True)
        judged.update({id_: object_id > 0 for id_, object_id, is_ignored in rows if not is_ignored})
    return judged


def _check(annotation: Mapping[str, Any], keys: Sequence[str], source: str) -> None:
    missing = [key for key in keys if annotation.get(key) is None or annotation[key] == []]
    if missing:
        raise UserError(
            f"{source}: annotation {annotation.get('id')} has no {' and no '.join(missing)}, which "
            "the evaluation needs."
        )
