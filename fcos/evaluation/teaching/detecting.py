"""What the head says about one image, and what each rule of detection takes away.

Letters: L locations of one image over all levels (finest first, each row by row), C classes,
M detections.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from detectron2.structures import Instances
from fcos.modeling import FCOS
from fcos.modeling.fcos import DetectionRules

__all__ = ["DetectionStep", "RawOutputs", "detection_steps", "raw_outputs"]


class RawOutputs(NamedTuple):
    """The outputs of the head for one image, on the CPU."""

    cls_logits: Tensor
    """(L, C) float, before the sigmoid."""
    ltrb: Tensor
    """(L, 4) float, distances as the head gives them: in pixels of the network input, or in strides
    with NORMALIZE_REG_TARGETS."""
    centerness_logits: Tensor
    """(L,) float, before the sigmoid."""
    feature_sizes: list[tuple[int, int]]
    """Rows and columns of each level."""
    image_size: tuple[int, int]
    """Height and width of the image without padding, in pixels of the network input."""


class DetectionStep(NamedTuple):
    """The detections of one image after one more rule."""

    rule: str
    """What the rule is called, and its number."""
    kept: Instances
    """M detections, highest score first; fields as of ``FCOS.predict_proposals``."""
    removed: Instances | None
    """Those that this rule took away; None where they are too many to list."""
    num_before: int
    """How many there were before it."""


@torch.no_grad()
def raw_outputs(model: Any, image: Tensor) -> RawOutputs:
    """Run a detector's backbone and head on one image.

    Args:
        model: with FCOS as its ``proposal_generator``, in evaluation mode.
        image: (3, H, W), the network input in 0..255, in the order of ``INPUT.FORMAT``.
    """
    fcos = model.proposal_generator
    images = model.preprocess_image([{"image": image}])
    features = model.backbone(images.tensor)
    outputs = fcos.fcos_head([features[name] for name in fcos.in_features])
    cls_logits, ltrb, centerness_logits = (_flat(levels) for levels in outputs)
    sizes = [(level.shape[2], level.shape[3]) for level in outputs[0]]
    return RawOutputs(cls_logits, ltrb, centerness_logits[:, 0], sizes, images.image_sizes[0])


def detection_steps(fcos: FCOS, outputs: RawOutputs) -> list[DetectionStep]:
    """Apply the rules of detection one after the other, by the detector's own step.

    Source: arXiv:1904.01355, Sec. 3.1 and 3.3.

    Args:
        fcos: the detector, in evaluation mode.
        outputs: of its head.

    Returns:
        What is left after the score threshold, after the best of each level, after NMS, and after
        the best of the image, which is what the detector returns.
    """
    rules = fcos.rules
    relaxed: dict[str, Any] = {
        "pre_nms_topk": outputs.cls_logits.numel(),
        "nms_threshold": math.inf,
        "post_nms_topk": outputs.cls_logits.numel(),
    }
    applied = {
        "score_threshold": f"class score above {rules.score_threshold:g}",
        "pre_nms_topk": f"best {rules.pre_nms_topk} of each level",
        "nms_threshold": f"NMS at IoU {rules.nms_threshold:g}",
        "post_nms_topk": f"best {rules.post_nms_topk} of the image",
    }
    if rules.threshold_with_centerness:
        applied["score_threshold"] = f"product above {rules.score_threshold:g}"
    steps: list[DetectionStep] = []
    left = outputs.cls_logits.numel()
    for key, name in applied.items():
        relaxed.pop(key, None)
        kept = _detect(fcos, outputs, dataclasses.replace(rules, **relaxed))
        removed = _without(steps[-1].kept, kept) if steps else None
        steps.append(DetectionStep(name, kept, removed, left))
        left = len(kept)
    return steps


def _detect(fcos: FCOS, outputs: RawOutputs, rules: DetectionRules) -> Instances:
    """Detect with other rules; the detector itself keeps its own."""
    other = copy.copy(fcos)
    other.rules, other.feeds_roi_heads = rules, False
    device = next(fcos.parameters()).device
    (found,) = other.predict_proposals(
        outputs.cls_logits[None].to(device),
        outputs.ltrb[None].to(device),
        outputs.centerness_logits[None].to(device),
        outputs.feature_sizes,
        [outputs.image_size],
    )
    return found.to("cpu")


def _without(before: Instances, after: Instances) -> Instances:
    """Return the detections that are no longer there, in their order."""
    stays = set(_keys(after))
    gone = [index for index, key in enumerate(_keys(before)) if key not in stays]
    return before[torch.tensor(gone, dtype=torch.int64)]


def _keys(found: Instances) -> list[tuple[float, ...]]:
    """Name each detection by its location, its class and its box."""
    parts = found.locations, found.pred_classes[:, None], found.pred_boxes.tensor
    return [tuple(row) for row in torch.cat(parts, dim=1).tolist()]


def _flat(levels: Sequence[Tensor]) -> Tensor:
    """Join levels of (1, X, H, W) as (L, X)."""
    return torch.cat([level[0].flatten(1).T for level in levels]).cpu()
