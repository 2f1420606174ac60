"""The FCOS that is built into detectron2 as a contestant: there where detectron2 itself is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.confidence import apart, confident
from benchmarks.ours import config_like
from benchmarks.scenes import NUM_CLASSES, STRIDES, Outputs, feature_sizes
from benchmarks.settings import Settings
from detectron2.layers import ShapeSpec
from detectron2.modeling import Backbone
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import EventStorage

__all__ = ["Parts", "detector", "is_there"]

NAME = "detectron2"


def is_there() -> bool:
    """Whether the installed detectron2 has an FCOS of its own; the subset has none."""
    try:
        from detectron2.modeling.meta_arch.fcos import FCOS  # noqa: F401
    except (ImportError, NotImplementedError):
        return False
    return True


def detector(settings: Settings) -> nn.Module:
    """Its FCOS R-50 as its model zoo has it, with GN in the head and random weights."""
    from detectron2 import model_zoo
    from detectron2.config import instantiate

    cfg = config_like("detectron2", settings)
    model = model_zoo.get_config("COCO-Detection/fcos_R_50_FPN_1x.py").model
    model.head.norm = "GN"
    model.pixel_mean, model.pixel_std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    model.backbone.bottom_up.stages.depth = settings.sizes.depth
    if settings.sizes.depth < 50:  # whose blocks have no 1x1 convolution
        del model.backbone.bottom_up.stages.stride_in_1x1
    model.backbone.bottom_up.freeze_at = cfg.MODEL.BACKBONE.FREEZE_AT
    return instantiate(model).to(settings.device)


def _around(backbone: nn.Module, mean: list[float], std: list[float]) -> Any:
    from detectron2.modeling.meta_arch.fcos import FCOS, FCOSHead

    shapes = [ShapeSpec(channels=256, stride=stride) for stride in STRIDES]
    head = FCOSHead(
        input_shape=shapes,
        num_classes=NUM_CLASSES,
        conv_dims=[256] * 4,
        prior_prob=0.01,
        norm="GN",
    )
    return FCOS(
        backbone=backbone,
        head=head,
        head_in_features=["p3", "p4", "p5", "p6", "p7"],
        num_classes=NUM_CLASSES,
        pixel_mean=mean,
        pixel_std=std,
    )


class _Nowhere(Backbone):
    """Says what features there would be, and gives none."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            f"p{level}": ShapeSpec(channels=256, stride=stride)
            for level, stride in enumerate(STRIDES, start=3)
        }


class Parts:
    """Its steps after the head, each by its own method.

    Args:
        images: how many.
        size: their height and width.
        settings: says where they run.
    """

    def __init__(self, images: int, size: tuple[int, int], settings: Settings) -> None:
        self.model = _around(_Nowhere(), [0.0] * 3, [1.0] * 3).to(settings.device).eval()
        blank = torch.zeros(1, device=settings.device)
        self.features = [blank.expand(images, 256, *level) for level in feature_sizes(size)]
        self.anchors = self.model.anchor_generator(self.features)
        self.images = ImageList(blank.expand(images, 3, *size), [size] * images)

    def match(self, truth: list[Instances]) -> tuple[list[Tensor], list[Tensor]]:
        """Per image, labels and the matched box of each location."""
        return self.model.label_anchors(self.anchors, truth)

    def labels_and_distances(
        self, matched: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """What :meth:`match` says in the form that is compared."""
        labels, boxes = torch.stack(list(matched[0])), torch.stack(list(matched[1]))
        middle = torch.cat([a.get_centers() for a in self.anchors])
        ltrb = torch.cat((middle - boxes[..., :2], boxes[..., 2:] - middle), dim=-1)
        return labels, ltrb.masked_fill((labels == NUM_CLASSES)[..., None], 0)

    def losses(
        self,
        outputs: tuple[list[Tensor], list[Tensor], list[Tensor]],
        matched: tuple[list[Tensor], list[Tensor]],
    ) -> dict[str, Tensor]:
        """The three terms, from flattened outputs (:meth:`per_level`)."""
        cls, reg, ctr = outputs
        with EventStorage():  # where it notes how many locations are positive
            return self.model.losses(self.anchors, cls, matched[0], reg, matched[1], ctr)

    def detections(self, outputs: Outputs) -> list[Instances]:
        """Post-processing of the whole batch."""
        with torch.no_grad():
            return self.model.forward_inference(self.images, self.features, self.raw(outputs))

    @staticmethod
    def raw(outputs: Outputs) -> list[list[Tensor]]:
        return [outputs.cls, outputs.reg, outputs.ctr]

    @staticmethod
    def per_level(outputs: Outputs) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """(N, Hi*Wi, X) of each level."""

        def flat(levels: list[Tensor]) -> list[Tensor]:
            return [x.flatten(2).transpose(1, 2).contiguous() for x in levels]

        return flat(outputs.cls), flat(outputs.reg), flat(outputs.ctr)


@torch.no_grad()
def make_confident(model: Any, picture: dict[str, Tensor], candidates: int = 300) -> None:
    """As the function of this name for torchvision's model."""
    was_training = model.training
    model.eval()
    features = model.backbone(model.preprocess_image([picture]).tensor)
    said = model.head([features[name] for name in model.head_in_features])
    logits = torch.cat([x.flatten() for x in said[0]])
    boxes = torch.cat([x.flatten() for x in said[1]])
    confident(model.head.cls_score, logits, candidates)
    apart(model.head.bbox_pred, boxes)
    model.head.ctrness.bias.add_(1.0)
    model.train(was_training)
