"""From a record to a sample, and what to say when its image cannot be used."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fvcore.transforms.transform import Transform

from detectron2.config import CfgNode, configurable
from detectron2.data import DatasetMapper, detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Instances
from fcos.config.data_checks import check_input
from fcos.data.augmenting import augment_of, choose_sizes
from fcos.data.image_checks import ADVICE, image_problem
from fcos.data.images import MAX_PIXELS, read_bgr
from fcos.data.resize import Resize
from fcos.utils.errors import UserError

if TYPE_CHECKING:
    from fcos.data.augment import Augment

__all__ = ["CheckedMapper", "ImageMapper"]


class ImageMapper(DatasetMapper):
    """detectron2's ``DatasetMapper``, with images as :func:`fcos.data.images.read_bgr` reads them.

    Boxes and polygons of whole numbers keep their fractions when they are resized. A record with
    semantic segmentation or precomputed proposals, which FCOS has no use for, is left to
    ``DatasetMapper``, image and all.
    """

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        stretch_range: bool = False,
        max_pixels: int = MAX_PIXELS,
        augment: Augment | None = None,
        **kwargs: Any,
    ) -> None:
        """
        Args:
            is_train: whether the objects are wanted.
            stretch_range, max_pixels: as of ``read_bgr``.
            augment: what is done before the ``augmentations``.
            kwargs: as of ``DatasetMapper``; ``image_format`` is "BGR" or "RGB".
        """
        super().__init__(is_train, **kwargs)
        self.stretch_range, self.max_pixels = stretch_range, max_pixels
        self.augment = augment

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        check_input(cfg)
        augment = augment_of(cfg) if is_train else None
        if is_train and choose_sizes(cfg):
            cfg = cfg.clone()
            cfg.defrost()
            cfg.INPUT.MIN_SIZE_TRAIN = (0, 0)  # no resizing
        arguments = super().from_config(cfg, is_train)
        reading = {"stretch_range": cfg.INPUT.STRETCH_RANGE, "max_pixels": cfg.INPUT.MAX_PIXELS}
        return {**arguments, **reading, "augment": augment}

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Return the sample of a record; the same as of ``DatasetMapper``, with the same chance.

        Raises:
            UserError: the image cannot be read.
            detectron2.data.detection_utils.SizeMismatchError: it is not as large as the record
                says.
            ValueError: the segmentations cannot be made masks.
        """
        if not {"sem_seg_file_name", "proposal_boxes"}.isdisjoint(dataset_dict):
            return super().__call__(dataset_dict)
        sample = copy.deepcopy(dataset_dict)
        image = self._read(sample)
        if self.augment is not None:
            image, sample = self.augment(sample, image, CheckedMapper(self._read))
        given = T.AugInput(image)
        transforms = self.augmentations(given)
        image = given.image
        sample["image"] = torch.as_tensor(np.array(image.transpose(2, 0, 1), order="C"))
        annotations = sample.pop("annotations", None)
        if self.is_train and annotations is not None:
            try:
                sample["instances"] = self._objects(annotations, transforms, image.shape[:2])
            except ValueError as error:
                raise ValueError(f"Image {sample['file_name']}: {error}") from error
        return sample

    def _read(self, record: dict[str, Any]) -> np.ndarray:
        image = read_bgr(record["file_name"], self.stretch_range, self.max_pixels)
        detection_utils.check_image_size(record, image)
        return image if self.image_format == "BGR" else image[:, :, ::-1]

    def _objects(
        self, annotations: list[dict[str, Any]], transforms: Transform, image_size: tuple[int, int]
    ) -> Instances:
        unused = set() if self.use_instance_mask else {"segmentation"}
        unused |= set() if self.use_keypoint else {"keypoints"}
        objects = [
            detection_utils.transform_instance_annotations(
                _in_floats({k: value for k, value in annotation.items() if k not in unused}),
                transforms,
                image_size,
                keypoint_hflip_indices=self.keypoint_hflip_indices,
            )
            for annotation in annotations
            if not annotation.get("iscrowd", 0)
        ]
        instances = detection_utils.annotations_to_instances(
            objects, image_size, mask_format=self.instance_mask_format
        )
        if self.recompute_boxes and objects:  # a crop leaves a tighter box than the cropped one
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return detection_utils.filter_empty_instances(instances)


def _in_floats(annotation: dict[str, Any]) -> dict[str, Any]:
    """Return an annotation whose box and polygons are floats.

    detectron2 resizes arrays of the type that the numbers have, and of integers what is behind the
    point is lost.
    """
    annotation["bbox"] = np.asarray(annotation["bbox"], dtype=np.float64).tolist()
    if isinstance(annotation.get("segmentation"), list):
        polygons = annotation["segmentation"]
        annotation["segmentation"] = [np.asarray(points, dtype=np.float64) for points in polygons]
    return annotation


class CheckedMapper:
    """A mapper that names the image file when the image is to blame for a failure.

    Args:
        mapper: makes a sample of a record in detectron2's form, such as an ``ImageMapper``.
        resize: what ``mapper`` does to the image; ``None``: it does not resize, or is not asked.
    """

    def __init__(
        self, mapper: Callable[[dict[str, Any]], Any], resize: Resize | None = None
    ) -> None:
        self.mapper = mapper
        self.resize = resize

    def __call__(self, record: dict[str, Any]) -> Any:
        """Return the sample that the wrapped mapper makes of ``record``.

        Raises:
            UserError: the image is missing, broken, of another size than the annotations say, or so
                long that resizing leaves nothing of it.
        """
        try:
            return self.mapper(record)
        except Exception as error:
            most = getattr(self.mapper, "max_pixels", MAX_PIXELS)
            problem = image_problem(record, self.resize, most)
            if problem is None:
                raise
            raise UserError(f"{problem} {ADVICE}") from error
