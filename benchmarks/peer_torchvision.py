"""torchvision's FCOS as a contestant: always there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from benchmarks.agreement import Found
from benchmarks.confidence import apart, confident
from benchmarks.scenes import NUM_CLASSES, Outputs, Truth, feature_sizes, padded
from benchmarks.settings import Settings

__all__ = ["Parts", "detector", "found", "head_outputs", "targets"]

NAME = "torchvision"


def detector(settings: Settings) -> FCOS:
    """``fcos_resnet50_fpn`` with frozen batch normalisation and random weights.

    It has the form that the function of this name gives it together with pretrained weights:
    stem and first stage frozen. Images come in the size that the network gets and stay in it.
    """
    backbone = resnet_fpn_backbone(
        backbone_name=f"resnet{settings.sizes.depth}",
        weights=None,
        trainable_layers=3,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(256, 256),
    )
    model = FCOS(backbone, num_classes=NUM_CLASSES)
    old = model.transform
    model.transform = _AsTheyAre(old.min_size, old.max_size, old.image_mean, old.image_std)
    return model.to(settings.device)


class _AsTheyAre(GeneralizedRCNNTransform):
    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


def head_outputs(outputs: Outputs) -> dict[str, Tensor]:
    """What its head gives: distances after their relu."""
    cls, reg, ctr = outputs.flat()
    return {"cls_logits": cls, "bbox_regression": reg.relu(), "bbox_ctrness": ctr[..., None]}


def targets(truth: Sequence[Truth], device: str) -> list[dict[str, Tensor]]:
    """Ground truth in its form."""
    return [{"boxes": t.boxes.to(device), "labels": t.classes.to(device)} for t in truth]


def found(results: Sequence[dict[str, Tensor]]) -> list[Found]:
    return [(r["boxes"], r["scores"], r["labels"]) for r in results]


class Parts:
    """Its steps after the head, each by its own method.

    Args:
        images: how many.
        size: their height and width.
        settings: says where they run.
    """

    def __init__(self, images: int, size: tuple[int, int], settings: Settings) -> None:
        nowhere = nn.Identity()
        nowhere.out_channels = 256  # type: ignore[assignment]
        self.model = FCOS(nowhere, num_classes=NUM_CLASSES).to(settings.device).eval()
        self.head = self.model.head
        self.levels = [rows * columns for rows, columns in feature_sizes(size)]
        self.image_sizes = [size] * images
        blank = torch.zeros(1, device=settings.device)
        pictures = ImageList(blank.expand(images, 3, *padded(size)), self.image_sizes)
        features = [blank.expand(images, 256, *level) for level in feature_sizes(size)]
        self.anchors = self.model.anchor_generator(pictures, features)

    def match(self, truth: list[dict[str, Tensor]]) -> list[Tensor]:
        """Per image, the index of the box that each location learns, or -1.

        Its assignment is a part of ``compute_loss``, which hands it to the head: a head that only
        takes it is put in the place of its own.
        """
        self.model.head = _Taker()
        try:
            return self.model.compute_loss(truth, {}, self.anchors, self.levels)
        finally:
            self.model.head = self.head

    def labels_and_distances(
        self, matched: list[Tensor], truth: list[dict[str, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`match` says in the form that is compared."""
        labels, distances = [], []
        for index, entry, anchors in zip(matched, truth, self.anchors, strict=True):
            box = entry["boxes"][index.clamp(min=0)]
            middle = (anchors[:, :2] + anchors[:, 2:]) / 2
            ltrb = torch.cat((middle - box[:, :2], box[:, 2:] - middle), dim=1)
            is_background = index < 0
            labels.append(entry["labels"][index.clamp(min=0)].masked_fill(is_background, 80))
            distances.append(ltrb.masked_fill(is_background[:, None], 0))
        return torch.stack(labels), torch.stack(distances)

    def losses(
        self,
        truth: list[dict[str, Tensor]],
        outputs: dict[str, Tensor],
        matched: list[Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The three terms; with its own assignment where ``matched`` is not given."""
        if matched is None:
            return self.model.compute_loss(truth, outputs, self.anchors, self.levels)
        return self.head.compute_loss(truth, outputs, self.anchors, matched)

    def detections(self, outputs: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Post-processing of the whole batch."""
        with torch.no_grad():
            split = {key: list(x.split(self.levels, dim=1)) for key, x in outputs.items()}
            anchors = [list(a.split(self.levels)) for a in self.anchors]
            return self.model.postprocess_detections(split, anchors, self.image_sizes)


class _Taker(nn.Module):
    def compute_loss(self, targets: Any, outputs: Any, anchors: Any, matched: Any) -> Any:
        return matched


@torch.no_grad()
def make_confident(model: FCOS, picture: Tensor, candidates: int = 300) -> None:
    """Shift the last layers of a random model so that it detects as much as a trained one.

    Args:
        model: changed in place.
        picture: (3, H, W) in [0, 1].
        candidates: pairs of location and class of this picture that come near the threshold.
    """
    was_training = model.training
    model.eval()
    images, _ = model.transform([picture])
    features = list(model.backbone(images.tensors).values())
    said = model.head(features)
    confident(model.head.classification_head.cls_logits, said["cls_logits"], candidates)
    apart(model.head.regression_head.bbox_reg, said["bbox_regression"])
    model.head.regression_head.bbox_ctrness.bias.add_(1.0)
    model.train(was_training)
