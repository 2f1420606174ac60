"""Step 4: from raw outputs to detections (arXiv:1904.01355, Sec. 3.1 and 3.3).

Letters: L locations over all levels of one image (finest level first), C classes, K candidates,
M detections.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fcos.layers import class_aware_nms


class Detections(NamedTuple):
    """The detections (or candidates) of one image, M of them."""

    boxes: Tensor
    """(M, 4) float32, x1, y1, x2, y2 in pixels of the network input."""
    scores: Tensor
    """(M,) float32 in [0, 1], from class probability times centerness; see :func:`detect`."""
    classes: Tensor
    """(M,) int64 in [0, C)."""
    locations: Tensor
    """(M, 2) float32, x and y of the location that predicted it, in pixels."""


def decode_boxes(points: Tensor, ltrb_px: Tensor) -> Tensor:
    """Boxes from locations and distances; undoes Eq. (1) of arXiv:1904.01355.

    Args:
        points: (..., 2) float, x and y in pixels.
        ltrb_px: (..., 4) float, distances to left, top, right and bottom in pixels.

    Returns:
        (..., 4), x1, y1, x2, y2 in pixels; not clipped to any image.

    Raises:
        ValueError: the last dimensions are not 2 and 4.
    """
    if points.shape[-1] != 2 or ltrb_px.shape[-1] != 4:
        raise ValueError(
            "points and ltrb_px: expected (..., 2) and (..., 4), "
            f"got {tuple(points.shape)} and {tuple(ltrb_px.shape)}"
        )
    return torch.cat((points - ltrb_px[..., :2], points + ltrb_px[..., 2:]), dim=-1)


def rank_candidates(
    cls_logits: Tensor,
    ctr_logits: Tensor,
    locations_per_level: Sequence[int],
    score_thresh: float,
    topk_per_level: int,
    thresh_with_ctr: bool = False,
    rank_by_class: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of location and class that may become a detection.

    A pair passes when the class probability is above ``score_thresh`` (with ``thresh_with_ctr``:
    the probability times centerness). Of each level, the ``topk_per_level`` with the largest
    product of probability and centerness stay (with ``rank_by_class``: with the largest
    probability).

    Args:
        cls_logits: (L, C) float, before the sigmoid.
        ctr_logits: (L,) float, before the sigmoid.
        locations_per_level: how many of the L locations belong to each level, in order.
        score_thresh: in [0, 1); equal to it does not pass.
        topk_per_level: at least 1.
        thresh_with_ctr: apply the threshold to the product.
        rank_by_class: rank by class probability alone, as mmdetection does.

    Returns:
        location (K,) int64, class (K,) int64, and product (K,) float32 in [0, 1], the first in
        rank first.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if ctr_logits.shape != cls_logits.shape[:1] or sum(locations_per_level) != len(cls_logits):
        raise ValueError(
            f"ctr_logits and locations_per_level: expected ({len(cls_logits)},) and this sum, "
            f"got {tuple(ctr_logits.shape)} and {sum(locations_per_level)}"
        )
    location, class_ = (cls_logits > _loose_logit(score_thresh)).nonzero(as_tuple=True)
    probability = cls_logits[location, class_].float().sigmoid()
    product = probability * ctr_logits[location].float().sigmoid()
    passes = (product if thresh_with_ctr else probability) > score_thresh
    location, class_, product = location[passes], class_[passes], product[passes]

    key = probability[passes] if rank_by_class else product
    order = key.argsort(descending=True, stable=True)
    location, class_, product = location[order], class_[order], product[order]
    ends = torch.tensor(locations_per_level, device=location.device).cumsum(0)
    level = torch.bucketize(location, ends, right=True)
    # The rank of a candidate within its level: how many of the level came before it.
    is_level = level[:, None] == torch.arange(len(ends), device=location.device)
    rank = is_level.cumsum(0).gather(1, level[:, None])[:, 0]
    stays = rank <= topk_per_level
    return location[stays], class_[stays], product[stays]


def detect(
    points: Tensor,
    cls_logits: Tensor,
    ltrb_px: Tensor,
    ctr_logits: Tensor,
    locations_per_level: Sequence[int],
    image_size: tuple[int, int],
    *,
    score_thresh: float = 0.05,
    nms_thresh: float = 0.6,
    pre_nms_topk: int = 1000,
    post_nms_topk: int = 100,
    thresh_with_ctr: bool = False,
    rank_by_class: bool = False,
    clip_before_nms: bool = False,
    drop_empty: bool = False,
    square_root: bool = True,
    inclusive_pixels: bool = False,
) -> Detections:
    """The detections of one image.

    The paper scores by class probability times centerness. We report the square root of the
    product, as the original implementation does: the order is the same, and scores look like
    probabilities.

    Args:
        points: (L, 2) float, locations in pixels of the network input.
        cls_logits: (L, C) float, before the sigmoid.
        ltrb_px: (L, 4) float, distances in pixels.
        ctr_logits: (L,) float, before the sigmoid.
        locations_per_level: how many of the L locations belong to each level, in order.
        image_size: height and width of the image without padding, in pixels of the network input;
            only used where boxes are clipped.
        score_thresh: see :func:`rank_candidates`.
        nms_thresh: IoU above which a lower-scored box of the same class is dropped.
        pre_nms_topk: candidates per level that enter NMS.
        post_nms_topk: detections that leave it, at most.
        thresh_with_ctr: see :func:`rank_candidates`.
        rank_by_class: see :func:`rank_candidates`.
        clip_before_nms: clip boxes to [0, width] and [0, height] before NMS, as torchvision and
            mmdetection do.
        drop_empty: leave out boxes without width or height, after any clipping and before NMS,
            as mmdetection does. Otherwise they count among the ``post_nms_topk``.
        square_root: the score is the square root of the product; else the product itself, as in
            mmdetection.
        inclusive_pixels: as in the original implementation, clip boxes to [0, width - 1] and
            [0, height - 1] before NMS and measure overlaps with widths of x2 - x1 + 1.

    Returns:
        The detections, highest score first. Boxes are float32.

    Raises:
        ValueError: the shapes do not fit together.
    """
    location, classes, product = rank_candidates(
        cls_logits,
        ctr_logits,
        locations_per_level,
        score_thresh,
        pre_nms_topk,
        thresh_with_ctr,
        rank_by_class,
    )
    locations = points[location].float()
    boxes = decode_boxes(locations, ltrb_px[location].float())
    if clip_before_nms or inclusive_pixels:
        height, width = (side - int(inclusive_pixels) for side in image_size)
        boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))
    if drop_empty:
        has_area = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
        boxes, classes, product = boxes[has_area], classes[has_area], product[has_area]
        locations = locations[has_area]
    scores = product.sqrt() if square_root else product
    keep = class_aware_nms(boxes, scores, classes, nms_thresh, post_nms_topk, inclusive_pixels)
    return Detections(boxes[keep], scores[keep], classes[keep], locations[keep])


def _loose_logit(probability: float) -> float:
    """A logit just below that of ``probability``.

    Comparing logits spares a sigmoid over all L * C of them (80 classes, 22,000 locations). The
    few that pass are compared again as probabilities, so the slack decides nothing.
    """
    if probability <= 0:
        return -math.inf
    return math.log(probability / (1 - probability)) - 0.05
