"""What all jobs do with an image: detect, and make COCO results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from detectron2.config import CfgNode
from detectron2.structures import Instances
from fcos.checkpoint import DEFAULT_SCORE
from fcos.config.detector_keys import FCOS_KEYS, setting_of
from fcos.config.unused import warn_of_unused
from fcos.data import register_custom_datasets
from fcos.predict.predictor import Predictor

__all__ = ["Detector", "prepare_cfg"]


def prepare_cfg(cfg: CfgNode, threshold: float | None) -> CfgNode:
    """Return a frozen copy of a config to detect with, and register its data sets.

    Its lowest score (``MODEL.FCOS.SCORE_THRESH_TEST`` of an FCOS) is lowered where it would hide
    detections above the threshold. FCOS compares that with the class probability, and its score is
    the root of this times centerness: a score of at least t has a probability of at least t * t.

    Args:
        cfg: a config with MODEL.WEIGHTS.
        threshold: score in [0, 1] that a detection must have at least. None: that of the
            checkpoint, found with the lowest score of this config, or the default.

    Raises:
        UserError: the data sets that it declares cannot be registered.
    """
    warn_of_unused(cfg, training=False)
    cfg = cfg.clone()
    cfg.defrost()
    lowest = float(DEFAULT_SCORE if threshold is None else threshold)
    now, key = setting_of(cfg, "score_threshold")
    least = lowest**2 if key == FCOS_KEYS.score_threshold else lowest
    cfg.merge_from_list([key, min(now, least)] if key else [])
    cfg.freeze()
    register_custom_datasets(cfg)
    return cfg


@dataclasses.dataclass(frozen=True)
class Detector:
    """A predictor, and the ids to write for its classes.

    Attributes:
        predictor: of a config of :func:`prepare_cfg`.
        category_ids: of class 0, 1, ...; only :meth:`results` needs them.
    """

    predictor: Predictor
    category_ids: Sequence[int] = ()

    def __call__(self, images: Sequence[np.ndarray]) -> list[Instances]:
        """Detect in images at once; see :meth:`fcos.predict.Predictor.detect_batch`."""
        return self.predictor.detect_batch(images)

    def results(
        self, instances: Instances, image_id: int | str, file_name: str
    ) -> list[dict[str, Any]]:
        """Return the detections of an image for ``pycocotools.coco.COCO.loadRes``.

        Args:
            instances: ``pred_boxes`` in pixels of the original image, ``scores``, ``pred_classes``
                and, for instance segmentation, ``pred_masks``.
            image_id: of the image in its data set.
            file_name: of the image; pycocotools ignores it.

        Returns:
            Per detection ``image_id``, ``file_name``, ``category_id``, ``bbox`` (x, y, width,
            height in pixels), ``score`` and, with masks, ``segmentation`` (run lengths).
        """
        from detectron2.evaluation.coco_evaluation import instances_to_coco_json

        results = instances_to_coco_json(instances, image_id)
        for result in results:
            result["category_id"] = self.category_ids[result["category_id"]]
            result["file_name"] = file_name
        return results
