"""Records: the images of a data set with their objects, and which of these are learnt from."""

from __future__ import annotations

import dataclasses
import reprlib
from typing import Any

from detectron2.structures import BoxMode
from fcos.data.boxes import corners
from fcos.data.image_names import image_path
from fcos.data.mask_forms import BROKEN_POLYGONS, POLYGONS, RUN_LENGTHS, loadable

__all__ = [
    "DatasetRecords",
    "ImageRecord",
    "ObjectRecord",
    "is_marked_crowd",
]


@dataclasses.dataclass(slots=True)
class ObjectRecord:
    """An annotation.

    Attributes:
        id: in the annotation file; without a file, the place among the annotations of the image.
        category_id: in the annotation file; without a file, the class.
        box: 4 finite numbers in pixels; rotated ones have 5.
        mode: what the numbers of ``box`` are.
        is_degenerate: nothing of the box lies inside the image.
        is_crowd: a region of many objects, not one of them.
        mask_form: of the segmentation, see :mod:`fcos.data.mask_forms`; "" for none, and where
            masks are not read.
        segmentation, area, keypoints: as in the file; None if it does not have them.
    """

    id: Any
    category_id: Any
    box: list[float]
    mode: BoxMode
    is_degenerate: bool
    is_crowd: bool
    mask_form: str
    segmentation: Any = None
    area: Any = None
    keypoints: Any = None

    @property
    def is_learnt(self) -> bool:
        """Whether training learns from it. Whatever counts objects of a training counts these."""
        return not (self.is_crowd or self.is_left_out)

    @property
    def is_left_out(self) -> bool:
        """Whether training never sees it. A crowd is seen, and then not learnt from."""
        return self.is_degenerate or self.mask_form == BROKEN_POLYGONS

    @property
    def where(self) -> str:
        """Name it in a message."""
        return f"annotation {self.id}"

    @property
    def xyxy(self) -> list[float]:
        """Left, top, right, bottom, in pixels."""
        return corners(self.box, self.mode)

    def as_dict(self, class_of: dict[Any, int]) -> dict[str, Any]:
        """Return the annotation in detectron2's form.

        Args:
            class_of: the class of each category id.
        """
        annotation: dict[str, Any] = {"iscrowd": int(self.is_crowd), "bbox": self.box}
        if self.keypoints:
            annotation["keypoints"] = _pixel_centers(self.keypoints)
        annotation["category_id"] = class_of[self.category_id]
        if self.mask_form in (POLYGONS, RUN_LENGTHS):
            annotation["segmentation"] = loadable(self.segmentation)
        annotation["bbox_mode"] = self.mode
        return annotation

    def as_coco(self, image_id: Any) -> dict[str, Any]:
        """Return the annotation in COCO's form; an absent area is that of the box."""
        box = self.box
        if self.mode != BoxMode.XYWH_ABS:
            left, top, right, bottom = self.xyxy
            box = [left, top, right - left, bottom - top]
        annotation = {
            "id": self.id,
            "image_id": image_id,
            "category_id": self.category_id,
            "bbox": box,
            "area": max(0, box[2]) * max(0, box[3]) if self.area is None else self.area,
            "iscrowd": int(self.is_crowd),
        }
        if self.mask_form == POLYGONS:
            annotation["segmentation"] = loadable(self.segmentation)
        elif self.segmentation is not None:
            annotation["segmentation"] = self.segmentation
        return annotation


@dataclasses.dataclass(slots=True)
class ImageRecord:
    """An image with its annotations.

    Attributes:
        id: in the annotation file.
        file_name: in the annotation file; `DatasetRecords.path_of` has the path.
        width, height: in pixels; infinite where the data set does not say.
        objects: all of its annotations.
        source: what the function of a data set without an annotation file gave.
    """

    id: Any
    file_name: str
    width: float
    height: float
    objects: list[ObjectRecord] = dataclasses.field(default_factory=list)
    source: dict[str, Any] | None = None

    @property
    def num_objects(self) -> int:
        """Number of objects to learn from, or to find."""
        return sum(thing.is_learnt for thing in self.objects)


@dataclasses.dataclass(frozen=True)
class DatasetRecords:
    """All images of a data set.

    Attributes:
        images: in the order of their ids; without an annotation file, in their own order.
        class_names: in the order of the classes.
        category_ids: of the classes, in the annotation file or in detectron2's metadata.
        image_root: the folder that file names start at.
        has_annotations: False for an annotation file without the list, as of a test set.
        stray: the first annotation of an image that is not listed, in a sentence; such
            annotations are not in ``images``.
        problem: why the images cannot be used, in a sentence; ``images`` is empty then.
    """

    images: list[ImageRecord]
    class_names: list[str]
    category_ids: list[Any]
    image_root: str = ""
    has_annotations: bool = True
    stray: str = ""
    problem: str = ""

    @property
    def class_of(self) -> dict[Any, int]:
        """The class of each category id."""
        return {category_id: index for index, category_id in enumerate(self.category_ids)}

    def path_of(self, image: ImageRecord) -> str:
        """Return the path of an image.

        Raises:
            UserError: it is not below ``image_root``.
        """
        return image_path(self.image_root, image.file_name)

    def dicts(self, for_training: bool = False, filter_empty: bool = False) -> list[dict[str, Any]]:
        """Return the images in detectron2's form.

        Args:
            for_training: leave out the annotations that training never sees; else only those
                with broken polygons, as detectron2 does.
            filter_empty: leave out images without an object to learn from.
        """
        class_of = self.class_of
        chosen = [image for image in self.images if not filter_empty or image.num_objects]
        return [self._dict(image, for_training, class_of) for image in chosen]

    def _dict(
        self, image: ImageRecord, for_training: bool, class_of: dict[Any, int]
    ) -> dict[str, Any]:
        if image.source is not None:
            if not for_training:
                return image.source
            kept = [image.source["annotations"][o.id] for o in image.objects if not o.is_left_out]
            return {**image.source, "annotations": kept}
        kept = [
            thing.as_dict(class_of)
            for thing in image.objects
            if not (thing.is_left_out if for_training else thing.mask_form == BROKEN_POLYGONS)
        ]
        return {
            "file_name": self.path_of(image),
            "height": image.height,
            "width": image.width,
            "image_id": image.id,
            "annotations": kept,
        }

    def as_coco(self) -> dict[str, Any]:
        """Return the contents of an annotation file that holds what is known of the records."""
        keys = ("id", "file_name", "height", "width")
        categories = zip(self.category_ids, self.class_names, strict=True)
        annotations: list[dict[str, Any]] = []
        for image in self.images:
            for thing in image.objects:
                annotation = thing.as_coco(image.id)
                if image.source is not None:  # as detectron2 converts it
                    annotation["bbox"] = [round(value, 3) for value in annotation["bbox"]]
                    annotation["id"] = len(annotations) + 1
                    annotation["category_id"] = self.category_ids[thing.category_id]
                annotations.append(annotation)
        return {
            "images": [{key: getattr(image, key) for key in keys} for image in self.images],
            "categories": [{"id": id_, "name": name} for id_, name in categories],
            "annotations": annotations,
        }


def is_marked_crowd(iscrowd: Any) -> bool:
    """Return what the "iscrowd" of an annotation says: 1 yes; 0, null and an absent one no.

    Raises:
        ValueError: it is something else, such as the text "0".
    """
    if iscrowd is None or (isinstance(iscrowd, (bool, int, float)) and iscrowd in (0, 1)):
        return bool(iscrowd)
    raise ValueError(f"has the iscrowd {reprlib.repr(iscrowd)}; expected 0 or 1")


def _pixel_centers(keypoints: list[float]) -> list[float]:
    """COCO counts pixels; detectron2 has the middle of the first one at 0.5."""
    return [value + 0.5 if i % 3 != 2 else value for i, value in enumerate(keypoints)]
