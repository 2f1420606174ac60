"""The default function from an item of a dataset to what a model takes."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import Transform

from detectron2._missing import missing, missing_names
from detectron2.config import configurable
from detectron2.data import detection_utils as utils
from detectron2.data import transforms as T

__all__ = ["DatasetMapper"]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


class DatasetMapper:
    """Reads the image, augments it, and makes tensors and ``Instances`` of it and its objects."""

    @configurable
    def __init__(
        self,
        is_train: bool,
        *,
        augmentations: Sequence[T.Augmentation | Transform],
        image_format: str,
        use_instance_mask: bool = False,
        use_keypoint: bool = False,
        instance_mask_format: str = "polygon",
        keypoint_hflip_indices: np.ndarray | None = None,
        precomputed_proposal_topk: int | None = None,
        recompute_boxes: bool = False,
    ) -> None:
        """
        Args:
            is_train: keep the objects. In inference only the image is wanted.
            augmentations: what is applied, in this order.
            image_format: see ``detection_utils.read_image``.
            use_instance_mask: hand the masks on, if there are any.
            use_keypoint: not part of detectron2-lite.
            instance_mask_format: "polygon" or "bitmask".
            keypoint_hflip_indices, precomputed_proposal_topk: not part of detectron2-lite.
            recompute_boxes: take the boxes from the augmented masks instead of augmenting them.

        Raises:
            NotImplementedError: keypoints or proposals are asked for.
            ValueError: ``recompute_boxes`` without masks.
        """
        if use_keypoint or keypoint_hflip_indices is not None:
            raise missing("DatasetMapper with keypoints (MODEL.KEYPOINT_ON)")
        if precomputed_proposal_topk is not None:
            raise missing("DatasetMapper with precomputed proposals (MODEL.LOAD_PROPOSALS)")
        if recompute_boxes and not use_instance_mask:
            raise ValueError("recompute_boxes takes boxes from masks: it needs use_instance_mask")
        self.is_train, self.image_format = is_train, image_format
        self.augmentations = T.AugmentationList(augmentations)
        self.use_instance_mask, self.recompute_boxes = use_instance_mask, recompute_boxes
        self.instance_mask_format = instance_mask_format
        self.use_keypoint, self.keypoint_hflip_indices = use_keypoint, keypoint_hflip_indices
        mode = "training" if is_train else "inference"
        logger.info("Augmentations used in %s: %s", mode, augmentations)

    @classmethod
    def from_config(cls, cfg: Any, is_train: bool = True) -> dict[str, Any]:
        """The arguments by INPUT.*, and by MODEL.MASK_ON, KEYPOINT_ON and LOAD_PROPOSALS."""
        augmentations = utils.build_augmentation(cfg, is_train)
        crops = is_train and cfg.INPUT.CROP.ENABLED
        if crops:
            augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
        n_proposals = (
            cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN
            if is_train
            else cfg.DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST
        )
        return {
            "is_train": is_train,
            "augmentations": augmentations,
            "image_format": cfg.INPUT.FORMAT,
            "use_instance_mask": cfg.MODEL.MASK_ON,
            "use_keypoint": cfg.MODEL.KEYPOINT_ON,
            "instance_mask_format": cfg.INPUT.MASK_FORMAT,
            "precomputed_proposal_topk": n_proposals if cfg.MODEL.LOAD_PROPOSALS else None,
            # A box around what a crop left of an object is tighter than the cropped box.
            "recompute_boxes": crops and cfg.MODEL.MASK_ON,
        }

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """
        Args:
            dataset_dict: one image, in detectron2's dataset format; not changed.

        Returns:
            The same without "annotations", with "image", (C, H, W) uint8, and in training
            "instances", the ``Instances`` of the objects that are no crowd and were not cut away.

        Raises:
            OSError: the image cannot be read.
            SizeMismatchError: it is not as large as ``dataset_dict`` says.
            ValueError: the segmentations cannot be made masks of the wanted format.
            NotImplementedError: there is ground truth for semantic segmentation.
        """
        dataset_dict = copy.deepcopy(dataset_dict)
        if dataset_dict.pop("sem_seg_file_name", None) is not None and self.is_train:
            raise missing("DatasetMapper with semantic segmentation (sem_seg_file_name)")
        picture = T.AugInput(utils.read_image(dataset_dict["file_name"], self.image_format))
        utils.check_image_size(dataset_dict, picture.image)
        transforms = self.augmentations(picture)
        image = picture.image
        channels_first = image[None] if image.ndim == 2 else image.transpose(2, 0, 1)
        dataset_dict["image"] = torch.as_tensor(np.array(channels_first, order="C"))
        annotations = dataset_dict.pop("annotations", None)
        if self.is_train and annotations is not None:
            try:
                instances = self._instances(annotations, transforms, image.shape[:2])
            except ValueError as error:
                raise ValueError(f"Image '{dataset_dict['file_name']}': {error}") from error
            dataset_dict["instances"] = instances
        return dataset_dict

    def _instances(
        self, annotations: list[dict[str, Any]], transforms: Transform, image_size: tuple[int, int]
    ) -> Any:
        left_out = {"keypoints"} if self.use_instance_mask else {"keypoints", "segmentation"}
        annos = [
            utils.transform_instance_annotations(
                {key: value for key, value in annotation.items() if key not in left_out},
                transforms,
                image_size,
            )
            for annotation in annotations
            if annotation.get("iscrowd", 0) == 0
        ]
        instances = utils.annotations_to_instances(
            annos, image_size, mask_format=self.instance_mask_format
        )
        # Without objects there are neither masks nor boxes to recompute.
        if self.recompute_boxes and annos:
            instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
        return utils.filter_empty_instances(instances)
