"""Detections as a list in COCO's results format."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from detectron2.structures import Instances
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text

__all__ = ["ResultsFile", "coco_results"]


class ResultsFile:
    """Collects detections and writes them as one JSON list."""

    def __init__(self, file: str) -> None:
        """Check that ``file`` can be written.

        Raises:
            UserError: its folder cannot be written, or it exists and is no list, such as the
                annotations of a data set.
        """
        check_writable(os.path.dirname(file))
        if os.path.exists(file) and not _is_list(file):
            raise UserError(f"{file} holds something else than detections: name another file.")
        self._file = file
        self._results: list[dict[str, Any]] = []

    def add(
        self, instances: Instances, image_id: int | str, file_name: str, category_ids: Sequence[int]
    ) -> None:
        """Take the detections of one image; arguments as in :func:`coco_results`."""
        self._results += coco_results(instances, image_id, file_name, category_ids)

    def close(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        write_text(self._file, [json.dumps(self._results)])


def coco_results(
    instances: Instances, image_id: int | str, file_name: str, category_ids: Sequence[int]
) -> list[dict[str, Any]]:
    """One image's detections for ``pycocotools.coco.COCO.loadRes``.

    Args:
        instances: ``pred_boxes`` in pixels of the original image, ``scores``, ``pred_classes`` and,
            for instance segmentation, ``pred_masks``.
        image_id: of the image in its data set.
        file_name: of the image; pycocotools ignores it.
        category_ids: the id to write for class 0, 1, ...

    Returns:
        Per detection ``image_id``, ``file_name``, ``category_id``, ``bbox`` (x, y, width, height in
        pixels), ``score`` and, with masks, ``segmentation`` (run lengths).
    """
    from detectron2.evaluation.coco_evaluation import instances_to_coco_json

    results = instances_to_coco_json(instances, image_id)
    for result in results:
        result["category_id"] = category_ids[result["category_id"]]
        result["file_name"] = file_name
    return results


def _is_list(file: str) -> bool:
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as stream:
        return stream.read(1) == b"["
