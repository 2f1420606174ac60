"""Step 4 of the detector for a file: the rules of ``fcos_inference.py`` with fixed shapes.

What :func:`fcos.modeling.fcos.fcos_inference.detect_batch` picks by lists whose length depends on
the image, a graph that other programs run picks by "the k best": candidates are K per image,
whatever the image shows, and places without a candidate have a score of -1.

Letters: N images, L locations over all levels (finest level first), C classes, K candidates of an
image (as many for each), M detections of all images together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import nms

from fcos.modeling.fcos.fcos_inference import DetectionRules, decode_boxes

#: score of a place without a candidate; every real one is at least 0
NONE = -1.0

#: boxes (N, K, 4), scores (N, K), classes (N, K), number of classes, threshold, most per image ->
#: (N, K) bool
Suppress = Callable[[Tensor, Tensor, Tensor, int, float, int], Tensor]


class Levels(NamedTuple):
    """The outputs of the head, one entry per level; l is the number of its locations."""

    points: list[Tensor]
    """(l, 2) float32, locations in pixels of the network input."""
    cls_logits: list[Tensor]
    """(N, l, C) float, before the sigmoid."""
    ltrb_px: list[Tensor]
    """(N, l, 4) float, distances in pixels."""
    centerness_logits: list[Tensor]
    """(N, l) float, before the sigmoid."""


class Candidates(NamedTuple):
    """What may become a detection, K per image."""

    boxes: Tensor
    """(N, K, 4) float32, x1, y1, x2, y2 in pixels of the network input."""
    scores: Tensor
    """(N, K) float32 in [0, 1], or -1: no candidate."""
    classes: Tensor
    """(N, K) int64 in [0, C)."""


def best_of_level(
    cls_logits: Tensor, centerness_logits: Tensor, rules: DetectionRules
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the pairs of location and class of one level that may become a detection.

    Pairs pass and are ranked as in :func:`fcos.modeling.fcos.fcos_inference.rank_candidates`.

    Args:
        cls_logits: (N, l, C) float, before the sigmoid, of the l locations of the level.
        centerness_logits: (N, l) float, before the sigmoid.
        rules: which pairs pass, and which are the best; K is ``pre_nms_topk``.

    Returns:
        location (N, K) int64 in [0, l), class (N, K) int64 and product (N, K) float32; the product
        is -1 where fewer than K passed.
    """
    num_classes, topk = cls_logits.shape[2], rules.pre_nms_topk
    probability = cls_logits.float().sigmoid()
    product = probability * centerness_logits.float().sigmoid()[..., None]
    compared = product if rules.threshold_with_centerness else probability
    passes = compared > rules.score_threshold
    key = torch.where(passes, probability if rules.rank_by_class else product, NONE).flatten(1)
    # A level of a small image may have fewer pairs than K, so K places without a candidate follow.
    best, place = F.pad(key, (0, topk), value=NONE).topk(topk, dim=1)
    place = torch.where(best >= 0, place, 0)
    product = torch.where(best >= 0, product.flatten(1).gather(1, place), NONE)
    location = torch.div(place, num_classes, rounding_mode="floor")
    return location, place - location * num_classes, product


def candidates(levels: Levels, sizes: Tensor, rules: DetectionRules) -> Candidates:
    """Choose what enters non-maximum suppression.

    Args:
        levels: the outputs of the head.
        sizes: (N, 2) int64, height and width of each image without padding, in pixels.
        rules: what counts as a detection.

    Returns:
        ``pre_nms_topk`` candidates per level, in the order of the levels.
    """
    parts = []
    for xy, cls_logits, ltrb_px, centerness_logits in zip(*levels, strict=True):
        location, class_, product = best_of_level(cls_logits, centerness_logits, rules)
        distances = ltrb_px.float().gather(1, location[..., None].expand(-1, -1, 4))
        parts.append((decode_boxes(xy.float()[location], distances), product, class_))
    boxes, product, classes = (torch.cat(column, dim=1) for column in zip(*parts, strict=True))
    if rules.clip_before_nms or rules.inclusive_pixels:
        boxes = clip(boxes, sizes - int(rules.inclusive_pixels))
    if rules.drop_empty:
        product = torch.where(has_area(boxes), product, NONE)
    if rules.square_root:
        product = torch.where(product >= 0, product.clamp(min=0).sqrt(), NONE)
    return Candidates(boxes, product, classes)


def best_apart(
    found: Candidates, suppress: Suppress, num_classes: int, rules: DetectionRules
) -> Candidates:
    """Suppress boxes by class, and keep the best of what is left.

    Args:
        found: the candidates.
        suppress: see :func:`suppress`.
        num_classes: C.
        rules: what counts as a detection.

    Returns:
        min(K, ``post_nms_topk``) candidates per image, highest score first.
    """
    boxes, scores, classes = found
    # An end that belongs to the box lies one pixel further on.
    ends = boxes[..., 2:] + int(rules.inclusive_pixels)
    measured = torch.cat((boxes[..., :2], ends), dim=-1)
    most = min(rules.post_nms_topk, scores.shape[1])
    keep = suppress(
        measured, scores, classes, num_classes, rules.nms_threshold, rules.post_nms_topk
    )
    scores, place = torch.where(keep, scores, NONE).topk(most, dim=1)
    boxes = boxes.gather(1, place[..., None].expand(-1, -1, 4))
    return Candidates(boxes, scores, classes.gather(1, place))


def clip(boxes: Tensor, sizes: Tensor) -> Tensor:
    """Clip boxes (N, K, 4) at 0 and at the height and width in ``sizes`` (N, 2)."""
    limits = sizes.flip(1).repeat(1, 2)[:, None].to(boxes.dtype)
    return boxes.clamp(min=0).minimum(limits)


def has_area(boxes: Tensor) -> Tensor:
    """Say which of boxes (..., 4) have width and height: (...) bool."""
    return (boxes[..., 2:] > boxes[..., :2]).all(dim=-1)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    classes: Tensor,
    num_classes: int,
    iou_thresh: float,
    most: int,
) -> Tensor:
    """Drop every box that overlaps a higher-scored one of its image and class too much.

    Images and classes are kept apart by moving the boxes of each far away from all others. That
    is done in float64: float32 has no digits left for the box when there are many of them.

    Args:
        boxes: (N, K, 4) float32, in pixels.
        scores: (N, K) float32; -1 is no candidate.
        classes: (N, K) int64.
        num_classes: C.
        iou_thresh: equal to it, a box stays.
        most: no more than the ``most`` best of an image will be looked at.

    Returns:
        (N, K) bool, the boxes that are kept.
    """
    image, place = (scores >= 0).nonzero(as_tuple=True)
    wide = boxes.double()
    apart = wide.amax() - wide.amin() + 1
    group = image * num_classes + classes[image, place]
    moved = wide[image, place] + (group * apart)[:, None]
    kept = nms(moved, scores[image, place].double(), iou_thresh)
    keep = torch.zeros_like(scores, dtype=torch.bool)
    return keep.index_put((image[kept], place[kept]), keep.new_ones(()))
