"""The detections to look into, and the objects that they should have found."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from fcos.evaluation.cocoeval import DetectionColumns, GroundTruth, Matches
from fcos.evaluation.truth import Truth

__all__ = ["IOU", "Subject"]

IOU = 0.5  # from which a detection finds an object


@dataclasses.dataclass(frozen=True)
class Subject:
    """The detections of a run, as boxes or as masks.

    Attributes:
        truth: the data set.
        found: N detections.
        task: "bbox" or "segm".
        max_dets: the best so many of an image and class count.
    """

    truth: Truth
    found: DetectionColumns
    task: str
    max_dets: int

    @functools.cached_property
    def matches(self) -> Matches:
        """Which detections find an object of their class."""
        return self.truth.objects.matches(self.found, self.max_dets, self.task)

    @functools.cached_property
    def that_count(self) -> tuple[GroundTruth, DetectionColumns]:
        """The annotations without crowds, and the detections that are right or wrong.

        Left out are detections on a crowd, and those beyond ``max_dets``. AP at IoU 0.50 remains
        the same. hotcoco takes a crowd for an object that a detection may miss by a little.
        """
        contents = self.truth.coco.dataset
        objects = self.truth.objects
        if any(annotation["iscrowd"] for annotation in contents["annotations"]):
            kept = [a for a in contents["annotations"] if not a["iscrowd"]]
            contents = {**contents, "annotations": kept}
            objects = GroundTruth(contents, self.truth.json_file, self.truth.has_masks)
        return objects, self.found.part(self.matches.is_right | self.matches.is_wrong)

    def evaluated(self, with_crowds: bool = False) -> Any:
        """Evaluate at IoU 0.50 and for all areas.

        Args:
            with_crowds: evaluate everything; else :attr:`that_count`.

        Returns:
            hotcoco's COCOeval; see :meth:`fcos.evaluation.cocoeval.GroundTruth.prepared`.
        """
        objects, found = (self.truth.objects, self.found) if with_crowds else self.that_count
        return objects.evaluated_at(IOU, found, self.task, self.max_dets)
