"""Detectors in the form that torchvision's have, and torchvision's in the form of detectron2.

torchvision's, as many training loops and libraries call them, give a dict of losses for images and
targets, and a list of result dicts for images. detectron2's take and give dicts of Instances.

| | torchvision | detectron2 |
|---|---|---|
| image | (3, H, W), RGB, float in 0..1 or uint8 | (3, H, W) in 0..255, ``INPUT.FORMAT`` |
| boxes | x1, y1, x2, y2 in pixels of the image | the same, in ``Boxes`` |
| class | ``labels``, any whole numbers | 0 to C - 1 |
| masks | (G, H, W); in results (K, 1, H, W) | ``BitMasks``; in results (K, H, W) bool |

Letters: N images, H and W rows and columns, G objects and K detections of an image, C classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage, has_event_storage
from fcos.utils.device import upload

__all__ = ["FromTorchvision", "ToTorchvision"]


class ToTorchvision(nn.Module):
    """A detector of detectron2, called as torchvision's detectors are.

    Losses and detections are its own. ``ToTorchvision(cfg)`` builds it with random weights.

    Args:
        detector: takes and gives what :class:`fcos.modeling.OneStageDetector` does.
        input_format: the order of the channels that it wants, "BGR" or "RGB" (``INPUT.FORMAT``).
        labels: the label of class 0, 1, ...: ``range(1, C + 1)`` where 0 is the background. By
            default the labels are the classes.
    """

    labels: Tensor | None

    @configurable
    def __init__(
        self,
        *,
        detector: nn.Module,
        input_format: str = "BGR",
        labels: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.train(detector.training)
        self._is_bgr = _is_bgr(input_format)
        self.register_buffer("labels", _label_tensor(labels), persistent=False)

    @classmethod
    def from_config(cls, cfg) -> dict:
        return {"detector": build_model(cfg), "input_format": cfg.INPUT.FORMAT}

    def forward(
        self, images: Tensor | Sequence[Tensor], targets: Sequence[dict[str, Tensor]] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Compute losses in training, detections otherwise.

        Args:
            images: (N, 3, H, W), or a list of N (3, H, W) of any sizes: red, green, blue, as float
                in 0..1 or as uint8 in 0..255. They are normalised and padded, but not resized: the
                detector sees the sizes that it is given.
            targets: needed in training, and not looked at otherwise. Per image ``boxes``, (G, 4)
                float, x1, y1, x2, y2 in pixels of the image, and ``labels``, (G,) int64; for a
                detector with masks also ``masks``, (G, H, W) of 0 and 1. G may be 0.

        Returns:
            In training a dict of losses, scalars whose sum is to be minimised; else per image
            ``boxes`` (K, 4), inside the image, ``labels`` (K,), ``scores`` (K,) in [0, 1], falling,
            and from a mask head ``masks``, (K, 1, H, W) uint8 of 0 and 1.

        Raises:
            ValueError: images or targets are not of this form.
        """
        inputs = [{"image": self._input_of(i, image)} for i, image in enumerate(images)]
        if not self.training:
            return [self._result_of(output["instances"]) for output in self.detector(inputs)]
        if targets is None or len(targets) != len(inputs):
            given = None if targets is None else len(targets)
            raise ValueError(f"targets: training needs one per image, {len(inputs)}; got {given}")
        for index, (record, target) in enumerate(zip(inputs, targets, strict=True)):
            record["instances"] = self._truth_of(index, record["image"], target)
        # Mask heads report how well they do; a plain loop has nobody to report to.
        with contextlib.nullcontext() if has_event_storage() else EventStorage():
            return self.detector(inputs)

    def _input_of(self, index: int, image: Tensor) -> Tensor:
        if not (isinstance(image, Tensor) and image.dim() == 3 and len(image) == 3):
            shape = tuple(getattr(image, "shape", ())) or type(image).__name__
            raise ValueError(f"images[{index}]: expected a tensor (3, H, W), got {shape}")
        if image.is_floating_point():
            _check_range(index, image)
            image = image.float() * 255  # of uint8 / 255, exactly the uint8
        elif image.dtype != torch.uint8:
            raise ValueError(f"images[{index}]: expected uint8 or float, got {image.dtype}")
        return image.flip(0) if self._is_bgr else image

    def _truth_of(self, index: int, image: Tensor, target: dict[str, Tensor]) -> Instances:
        if missing := {"boxes", "labels"} - target.keys():
            raise ValueError(f"targets[{index}]: {sorted(missing)} is missing")
        boxes, labels = target["boxes"].float().reshape(-1, 4), target["labels"]
        if labels.shape != boxes.shape[:1]:
            raise ValueError(
                f"targets[{index}]['labels']: expected ({len(boxes)},), one for each of 'boxes', "
                f"got {tuple(labels.shape)}"
            )
        classes = self._classes_of(index, labels)
        truth = Instances(tuple(image.shape[1:]), gt_boxes=Boxes(boxes), gt_classes=classes)
        if "masks" in target:
            wanted, given = (len(boxes), *image.shape[1:]), tuple(target["masks"].shape)
            if given != wanted:
                raise ValueError(f"targets[{index}]['masks']: expected {wanted}, got {given}")
            truth.gt_masks = BitMasks(target["masks"] > 0)
        return truth

    def _classes_of(self, index: int, labels: Tensor) -> Tensor:
        classes = _classes_of(labels, self.labels)
        # On a GPU, looking would mean waiting.
        if labels.device.type == "cpu" and (classes < 0).any():
            unknown = sorted({*labels[classes < 0].tolist()})
            raise ValueError(f"targets[{index}]['labels']: {unknown} are labels of no class")
        return classes

    def _result_of(self, instances: Instances) -> dict[str, Tensor]:
        classes = instances.pred_classes
        result = {
            "boxes": instances.pred_boxes.tensor,
            "labels": classes if self.labels is None else self.labels[classes],
            "scores": instances.scores,
        }
        if instances.has("pred_masks"):
            result["masks"] = instances.pred_masks[:, None].to(torch.uint8)
        return result


class FromTorchvision(nn.Module):
    """A detector of torchvision, called as detectron2's are, so that its evaluators judge it.

    Args:
        model: called as torchvision's are.
        input_format: the order of the channels in what this module takes, "BGR" or "RGB".
        labels: the model's label of class 0, 1, ... (of torchvision's COCO weights: the ids of the
            categories); results with others are left out. By default the labels are the classes.
    """

    labels: Tensor | None

    def __init__(
        self, model: nn.Module, *, input_format: str = "BGR", labels: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.train(model.training)
        self._is_bgr = _is_bgr(input_format)
        self.register_buffer("labels", _label_tensor(labels), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict]:
        """Compute losses in training, detections otherwise.

        Arguments and results are those of :meth:`fcos.modeling.OneStageDetector.forward`; the
        losses are those of the model.
        """
        images = [self._image_of(record["image"]) for record in batched_inputs]
        if self.training:
            truth = [record["instances"] for record in batched_inputs]
            return self.model(images, [self._target_of(instances) for instances in truth])
        return [
            {"instances": self._instances_of(result, record)}
            for result, record in zip(self.model(images), batched_inputs, strict=True)
        ]

    def _image_of(self, image: Tensor) -> Tensor:
        image = upload(image, self.device).float() / 255
        return image.flip(0) if self._is_bgr else image

    def _target_of(self, truth: Instances) -> dict[str, Tensor]:
        classes = truth.gt_classes.to(self.device)
        target = {
            "boxes": truth.gt_boxes.tensor.to(self.device),
            "labels": classes if self.labels is None else self.labels[classes],
        }
        if truth.has("gt_masks"):
            masks = truth.gt_masks
            if isinstance(masks, PolygonMasks):
                masks = BitMasks.from_polygon_masks(masks, *truth.image_size)
            target["masks"] = masks.tensor.to(self.device, torch.uint8)
        return target

    def _instances_of(self, result: dict[str, Tensor], record: dict[str, Any]) -> Instances:
        size = tuple(record["image"].shape[1:])
        height, width = record.get("height", size[0]), record.get("width", size[1])
        classes = _classes_of(result["labels"], self.labels)
        is_known = classes >= 0
        boxes = Boxes(result["boxes"][is_known])  # a copy
        boxes.scale(width / size[1], height / size[0])
        boxes.clip((height, width))
        found = Instances((height, width), pred_boxes=boxes)
        found.scores, found.pred_classes = result["scores"][is_known], classes[is_known]
        if "masks" in result:
            masks = result["masks"][is_known]
            if size != (height, width) and len(masks):
                masks = F.interpolate(masks.float(), (height, width), mode="bilinear")
            found.pred_masks = masks[:, 0] > 0.5
        return found


def _is_bgr(input_format: str) -> bool:
    if input_format not in ("BGR", "RGB"):
        raise ValueError(f"input_format: expected BGR or RGB (INPUT.FORMAT), got {input_format!r}")
    return input_format == "BGR"


def _label_tensor(labels: Sequence[int] | None) -> Tensor | None:
    return None if labels is None else torch.tensor([*labels], dtype=torch.int64)


def _classes_of(labels: Tensor, label_of_class: Tensor | None) -> Tensor:
    """Find the class of each label, (G,) to (G,) int64; -1 where there is none."""
    if label_of_class is None:
        return labels.to(torch.int64)
    is_it = labels[:, None] == label_of_class.to(labels.device)
    return torch.where(is_it.any(1), is_it.int().argmax(1), -1)


def _check_range(index: int, image: Tensor) -> None:
    """Refuse floats in 0..255 and normalised ones; resizing may overshoot a little."""
    low, high = image.aminmax() if image.device.type == "cpu" and image.numel() else (0, 1)
    if low < -0.5 or high > 1.5:
        raise ValueError(
            f"images[{index}]: expected floats in 0..1, not normalised, or uint8; got {low:.4g} to "
            f"{high:.4g}"
        )
