"""The detections of a run as labels, to be corrected in a labelling tool."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fcos.data.importing.labels import LabelledImage, LabelledObject
from fcos.data.label_files import LABEL_FORMATS, WITH_MASKS, check_label_names, write_labels
from fcos.data.mask_forms import RUN_LENGTHS, mask_form
from fcos.predict.many.folder import DetectionFolder
from fcos.predict.many.shards import FinishedImages
from fcos.utils.errors import UserError

__all__ = ["FoundLabels"]

logger = logging.getLogger(__name__)


class FoundLabels:
    """The images that are done, each with its detections as labels; iterable many times.

    Args:
        kind: a key of LABEL_FORMATS; "": no labels are wished.
        folder: of the run.
        finished: the lines of all images, once the run is done.
        paths: of all images.
        categories: ids and names of the classes, in COCO's form.
        lowest: the lowest score among the detections, in words.
    """

    def __init__(
        self,
        kind: str,
        folder: DetectionFolder,
        finished: FinishedImages,
        paths: Sequence[str],
        categories: Sequence[dict[str, Any]],
        lowest: str,
    ) -> None:
        self._kind, self._folder = kind, folder.path_of(f"labels_{kind}")
        self._finished, self._paths, self._lowest = finished, paths, lowest
        self._names = {category["id"]: str(category["name"]) for category in categories}
        self._has_masks = kind in WITH_MASKS

    def check(self, is_going_on: bool, has_masks: bool) -> None:
        """Refuse what cannot be written, before images are detected in.

        Args:
            is_going_on: whether there are images left to detect in.
            has_masks: whether the model has them.

        Raises:
            UserError: the format is unknown, images would share a label file, or the run goes on
                and its labels are there already.
        """
        if not self._kind:
            return
        if self._kind not in LABEL_FORMATS:
            raise UserError(f"--labels {self._kind}: expected one of {', '.join(LABEL_FORMATS)}.")
        check_label_names(self._kind, self._paths)
        if is_going_on and os.path.exists(self._folder):
            raise UserError(
                f"{self._folder} is there already, and images are left to detect in: move it away, "
                "perhaps it was corrected by hand."
            )
        if has_masks and not self._has_masks:
            logger.warning(
                f"--labels {self._kind} writes boxes, not masks; {' and '.join(WITH_MASKS)} have "
                "both."
            )

    def write(self) -> None:
        """Write the labels, and say how many.

        Raises:
            UserError: the folder has other content already, or cannot be written.
        """
        if not self._kind:
            return
        note = f"Detections with {self._lowest}, to be corrected"
        write_labels(self._kind, self._folder, self, [*self._names.values()], note)
        number = sum(len(image.objects) for image in self)
        logger.info(f"{note}: {number} in {self._folder}.")

    def __iter__(self) -> Iterator[LabelledImage]:
        for number in np.flatnonzero(self._finished.is_done).tolist():
            height, width = self._finished.sizes[number].tolist()
            results = json.loads(b"[" + self._finished.results_of(number) + b"]")
            objects = [self._object(result, (height, width)) for result in results]
            yield LabelledImage(self._paths[number], "", objects, width, height)

    def _object(self, result: dict[str, Any], size: tuple[int, int]) -> LabelledObject:
        x, y, width, height = result["bbox"]
        name = self._names.get(result["category_id"])
        has_mask = self._has_masks and "segmentation" in result
        if name is None or (has_mask and mask_form(result["segmentation"], *size) != RUN_LENGTHS):
            raise UserError(
                f"{self._folder} cannot be written: a detection of the run is damaged (its "
                "category_id or its segmentation). Add --fresh to begin anew."
            )
        labelled = LabelledObject(name, (x, y, x + width, y + height))
        if has_mask:
            from pycocotools import mask as mask_api

            labelled.segmentation = result["segmentation"]
            labelled.area = float(mask_api.area(result["segmentation"]))
        return labelled
