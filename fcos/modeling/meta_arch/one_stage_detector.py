"""A detector that is a backbone and a proposal generator, whose proposals are the detections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    Backbone,
    build_backbone,
    build_proposal_generator,
    detector_postprocess,
)
from detectron2.structures import Boxes, ImageList, Instances
from fcos.config.checks import check_boxes_only
from fcos.utils.device import upload


@META_ARCH_REGISTRY.register()
class OneStageDetector(nn.Module):
    """Images in, instances out.

    Args:
        backbone: gives a dict of feature maps.
        proposal_generator: gives detections and losses from these, for instance
            :class:`fcos.modeling.FCOS`.
        pixel_mean: subtracted from each channel of the image, 0..255.
        pixel_std: divides each channel after that.
        keep_empty: report boxes without width or height as well, which detectron2 leaves out.
        num_classes: what ``gt_classes`` have to be below; ``None``: they are not looked at.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        keep_empty: bool = False,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.backbone = backbone
        self.proposal_generator = proposal_generator
        self.keep_empty = keep_empty
        # Not in the state dict: published checkpoints do not have them either.
        mean = torch.tensor(pixel_mean, dtype=torch.float32).view(-1, 1, 1)
        std = torch.tensor(pixel_std, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        check_boxes_only(cfg)
        backbone = build_backbone(cfg)
        generator = build_proposal_generator(cfg, backbone.output_shape())
        return {
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "backbone": backbone,
            "proposal_generator": generator,
            "keep_empty": cfg.MODEL.FCOS.DROP_EMPTY == "never",
            "num_classes": cfg.MODEL.FCOS.NUM_CLASSES,
        }

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict]:
        """Compute losses in training, detections otherwise.

        Args:
            batched_inputs: per image a dict as detectron2's DatasetMapper gives it: ``image``,
                (3, H, W) in 0..255 and in the order of ``INPUT.FORMAT``; in training
                ``instances`` with ``gt_boxes`` (pixels of ``image``) and ``gt_classes``;
                otherwise ``height`` and ``width`` of the output, by default those of ``image``.

        Returns:
            In training the dict of losses, else per image ``{"instances": Instances}`` with
            ``pred_boxes`` in pixels of the output and clipped to it, ``scores`` and
            ``pred_classes``.

        Raises:
            ValueError: an input has no ``image`` of that shape or, in training, no ``instances``
                or a class beyond ``num_classes``.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        gt_instances = self._ground_truth(batched_inputs) if self.training else None
        detections, losses = self.proposal_generator(images, features, gt_instances)
        if self.training:
            return losses
        return [
            {"instances": _to_output_size(result, record, self.keep_empty)}
            for result, record in zip(detections, batched_inputs, strict=True)
        ]

    def preprocess_image(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        """Normalise the images and pad them on the right and below to one common size."""
        _check_images(batched_inputs, len(self.pixel_mean))
        images = [upload(record["image"], self.device) for record in batched_inputs]
        return ImageList.from_tensors(
            [(image - self.pixel_mean) / self.pixel_std for image in images],
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _ground_truth(self, batched_inputs: list[dict[str, Any]]) -> list[Instances]:
        if any("instances" not in record for record in batched_inputs):
            raise ValueError(
                "batched_inputs: training needs 'instances' with gt_boxes and gt_classes for each "
                "image; was the input mapped for testing?"
            )
        if self.num_classes is not None:
            for index, record in enumerate(batched_inputs):
                _check_classes(index, record["instances"].gt_classes, self.num_classes)
        return [_on_device(record["instances"], self.device) for record in batched_inputs]


def _check_images(batched_inputs: Sequence[Any], channels: int) -> None:
    if not isinstance(batched_inputs, Sequence) or not batched_inputs:
        raise ValueError(
            "batched_inputs: expected a list with a dict for each image, got "
            f"{'no image' if isinstance(batched_inputs, Sequence) else _kind(batched_inputs)}"
        )
    for index, record in enumerate(batched_inputs):
        image = record.get("image") if isinstance(record, Mapping) else None
        if not (isinstance(image, Tensor) and image.dim() == 3 and len(image) == channels):
            raise ValueError(
                f"batched_inputs[{index}]: expected a dict whose 'image' is a tensor of "
                f"({channels}, H, W), got {_kind(record if image is None else image)}"
            )


def _check_classes(index: int, classes: Tensor, num_classes: int) -> None:
    """Refuse numbers that would be learnt as background; on a GPU, looking would mean waiting."""
    if classes.device.type == "cpu" and ((classes < 0) | (classes >= num_classes)).any():
        raise ValueError(
            f"batched_inputs[{index}]['instances'].gt_classes: expected 0 to {num_classes - 1} "
            f"(MODEL.FCOS.NUM_CLASSES), got {classes.min()} to {classes.max()}"
        )


def _kind(thing: object) -> str:
    shape = getattr(thing, "shape", None)
    return type(thing).__name__ + ("" if shape is None else f" of {tuple(shape)}")


def _on_device(instances: Instances, device: torch.device) -> Instances:
    """Do what ``instances.to(device)`` does, without a wait for each box and class."""
    fields = {}
    for name, value in instances.get_fields().items():
        if type(value) is Boxes:
            fields[name] = Boxes(upload(value.tensor, device))
        elif isinstance(value, Tensor):
            fields[name] = upload(value, device)
        else:
            fields[name] = value.to(device) if hasattr(value, "to") else value
    return Instances(instances.image_size, **fields)


def _to_output_size(result: Instances, record: dict[str, Any], keep_empty: bool) -> Instances:
    height = record.get("height", result.image_size[0])
    width = record.get("width", result.image_size[1])
    if not keep_empty or result.has("pred_masks"):  # an empty box has no mask
        return detector_postprocess(result, height, width)
    boxes = result.pred_boxes.clone()
    boxes.scale(width / result.image_size[1], height / result.image_size[0])
    boxes.clip((height, width))
    return Instances((height, width), **{**result.get_fields(), "pred_boxes": boxes})
