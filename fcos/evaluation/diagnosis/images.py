"""The worst images, and labels that are probably wrong: what to look at, as pictures and shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torchvision.ops import box_convert, box_iou

from fcos.evaluation.choice import Counts, count_images
from fcos.evaluation.diagnosis.drawing import STYLES, Picture, Shape, outline_of, read_picture
from fcos.evaluation.diagnosis.subject import IOU, Subject
from fcos.utils.errors import UserError

__all__ = ["BadImage", "Suspicion", "Views", "choose_worst"]

_NEAR = 0.1  # IoU from which a box beside a suspicious one is drawn with it


@dataclasses.dataclass(frozen=True)
class BadImage:
    """An image with mistakes.

    Attributes:
        image_id, file_name: as in the annotation file.
        counts: what is found, wrong and missed.
        picture: of all of it; None: not drawn.
        objects: found and missed ones, and crowds.
        detections: right and wrong ones.
    """

    image_id: Any
    file_name: str
    counts: Counts
    picture: Picture | None = None
    objects: tuple[Shape, ...] = ()
    detections: tuple[Shape, ...] = ()


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """A label that is probably wrong, or lacking.

    Attributes:
        image_id, file_name: as in the annotation file.
        box: of the detection, x, y, width, height in pixels.
        detected: class of the detection.
        score: of it.
        labelled: class of the object that it lies on; empty: it lies on none.
        annotation_id: of that object.
        picture: of the part of the image around it; None: not drawn.
        shapes: the detection, and the objects around it.
    """

    image_id: Any
    file_name: str
    box: tuple[float, ...]
    detected: str
    score: float
    labelled: str
    annotation_id: Any
    picture: Picture | None = None
    shapes: tuple[Shape, ...] = ()


def choose_worst(counts: dict[Any, Counts], number: int) -> list[Any]:
    """Choose the images with the lowest F1; of equal ones, those with more mistakes."""
    wrong = [(count.f1, -count.wrong - count.missed, i) for i, count in enumerate(counts.values())]
    ids = list(counts)
    return [ids[place] for f1, _, place in sorted(wrong) if f1 < 1][:number]


class Views:
    """The detections of a run on the images of a data set, as boxes with a meaning."""

    def __init__(self, subject: Subject, results: Sequence[dict[str, Any]], score: float) -> None:
        """
        Args:
            subject: the detections as boxes.
            results: the same in COCO's results format.
            score: those below it are left out.
        """
        self._subject, self._results, self._score = subject, results, score
        self._annotations = subject.truth.coco.dataset["annotations"]
        names = dict(zip(subject.truth.category_ids, subject.truth.class_names, strict=True))
        self._names: dict[Any, str] = names
        self._objects_of: dict[Any, list[int]] = {}
        for place, annotation in enumerate(self._annotations):
            self._objects_of.setdefault(annotation["image_id"], []).append(place)
        self._detections_of: dict[Any, list[int]] = {}
        for place, result in enumerate(results):
            if result["score"] >= score:
                self._detections_of.setdefault(result["image_id"], []).append(place)
        # Ids are places plus 1; the highest scores match first, so a cut does not change them.
        found = subject.evaluated(with_crowds=True).image_diagnostics(IOU, score)
        self._is_right = {id_ - 1: status == "tp" for id_, status in found["dt_status"].items()}
        self._match = {a - 1: b - 1 for a, b in found["gt_match"].items()}
        self._doubts = found["label_errors"]
        self.problems: list[str] = []

    def worst(self, number: int, draw: bool, stretch_range: bool = False) -> list[BadImage]:
        """Choose and draw the worst images.

        Args:
            number: how many at most.
            draw: read image files.
            stretch_range: see :func:`fcos.data.images.read_bgr`.
        """
        counts = count_images(self._subject.matches, self._score)
        images = []
        for image_id in choose_worst(counts, number):
            name = self._subject.truth.coco.imgs[image_id]["file_name"]
            picture = self._read(image_id, stretch_range) if draw else None
            objects = self._objects_of.get(image_id, [])
            detections = self._detections_of.get(image_id, [])
            shapes: tuple[tuple[Shape, ...], ...] = ((), ())
            if picture:
                shapes = (
                    tuple(map(self._object, objects)),
                    tuple(self._detection(d) for d in detections if d in self._is_right),
                )
            images.append(BadImage(image_id, name, counts[image_id], picture, *shapes))
        return images

    @property
    def num_suspicions(self) -> int:
        return len(self._doubts)

    def suspicions(self, number: int, draw: bool, stretch_range: bool = False) -> list[Suspicion]:
        """List labels that are probably wrong, those with the highest scores first.

        A wrong detection that has an IoU of at least 0.50 with an object of another class, which is
        not found, doubts its class. One with an IoU below 0.10 with all objects has probably found
        what has no label.

        Args:
            number, draw, stretch_range: as for :meth:`worst`.
        """
        return [self._suspicion(doubt, draw, stretch_range) for doubt in self._doubts[:number]]

    def _suspicion(self, doubt: dict[str, Any], draw: bool, stretch_range: bool) -> Suspicion:
        result = self._results[doubt["dt_id"] - 1]
        image_id, box = result["image_id"], tuple(map(float, result["bbox"]))
        about = None if doubt["gt_id"] is None else self._annotations[doubt["gt_id"] - 1]
        picture = self._read(image_id, stretch_range, box) if draw else None
        shapes = (
            *map(self._object, self._near(image_id, box)),
            self._detection(doubt["dt_id"] - 1),
        )
        return Suspicion(
            image_id=image_id,
            file_name=self._subject.truth.coco.imgs[image_id]["file_name"],
            box=box,
            detected=self._names[result["category_id"]],
            score=float(result["score"]),
            labelled=self._names[about["category_id"]] if about else "",
            annotation_id=about["id"] if about else None,
            picture=picture,
            shapes=shapes if picture else (),
        )

    def _near(self, image_id: Any, box: Sequence[float]) -> list[int]:
        """Return the places of the objects around a box."""
        places = self._objects_of.get(image_id, [])
        if not places:
            return []
        boxes = [box, *(self._annotations[place]["bbox"] for place in places)]
        corners = box_convert(torch.tensor(boxes, dtype=torch.float64), "xywh", "xyxy")
        ious = box_iou(corners[:1], corners[1:])[0].tolist()
        return [place for place, iou in zip(places, ious, strict=True) if iou >= _NEAR]

    def _read(
        self, image_id: Any, stretch_range: bool, around: Sequence[float] | None = None
    ) -> Picture | None:
        try:
            return read_picture(self._subject.truth, image_id, stretch_range, around)
        except UserError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return None

    def _object(self, place: int) -> Shape:
        annotation = self._annotations[place]
        name = self._names[annotation["category_id"]]
        if annotation["iscrowd"]:
            return self._shape("crowd", annotation, f"crowd: {name}", f"crowd of {name}")
        by = self._match.get(place, -1)
        if by >= 0 and self._results[by]["score"] >= self._score:
            score = self._results[by]["score"]
            return self._shape("found", annotation, "", f"{name}, found with score {score:.2f}")
        return self._shape("missed", annotation, name, f"{name}, missed")

    def _detection(self, place: int) -> Shape:
        result = self._results[place]
        name = self._names[result["category_id"]]
        text = f"{name} {result['score']:.2f}"
        if self._is_right[place]:
            return self._shape("found", result, "", f"{text}, right")
        return self._shape("wrong", result, text, f"{text}, wrong")

    def _shape(self, style: str, thing: dict[str, Any], text: str, title: str) -> Shape:
        mark = STYLES[style].mark
        outline = ""
        if thing.get("segmentation") and self._subject.truth.has_masks:
            outline = outline_of(self._subject.truth, thing)
        label = f"{mark} {text}".strip() if text else ""
        return Shape(style, tuple(map(float, thing["bbox"])), label, title, outline)
