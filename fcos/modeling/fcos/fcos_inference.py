"""Step 4: from raw outputs to detections (arXiv:1904.01355, Sec. 3.1 and 3.3).

Letters: N images, L locations over all levels of one image (finest level first), C classes,
K candidates, M detections.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fcos.layers import class_aware_nms


class Detections(NamedTuple):
    """The detections (or candidates) of one image, M of them."""

    boxes: Tensor
    """(M, 4) float32, x1, y1, x2, y2 in pixels of the network input."""
    scores: Tensor
    """(M,) float32 in [0, 1], from class probability times centerness; see :func:`detect_batch`."""
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
    probability). Several images are ranked at once as one with more levels.

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
    centerness = ctr_logits.float().sigmoid()
    in_key = torch.ones_like(centerness) if rank_by_class else centerness
    in_rule = centerness if thresh_with_ctr else torch.ones_like(centerness)
    best = cls_logits.amax(dim=1).float()
    least = _least_logits(best, in_key, in_rule, locations_per_level, score_thresh, topk_per_level)
    location = (best > least).nonzero()[:, 0]
    logits = cls_logits[location]
    row, class_ = (logits > least[location, None]).nonzero(as_tuple=True)
    location, probability = location[row], logits[row, class_].float().sigmoid()
    product = probability * centerness[location]
    passes = ((product if thresh_with_ctr else probability) > score_thresh).nonzero()[:, 0]
    key = (probability if rank_by_class else product)[passes]
    order = passes[key.argsort(descending=True, stable=True)]
    order = order[_rank_in_level(location[order], locations_per_level) < topk_per_level]
    return location[order], class_[order], product[order]


def detect(
    points: Tensor,
    cls_logits: Tensor,
    ltrb_px: Tensor,
    ctr_logits: Tensor,
    locations_per_level: Sequence[int],
    image_size: tuple[int, int],
    **options: Any,
) -> Detections:
    """The detections of one image, by :func:`detect_batch`, without its N and with its options."""
    outputs = cls_logits[None], ltrb_px[None], ctr_logits[None]
    return detect_batch(points, *outputs, locations_per_level, [image_size], **options)[0]


def detect_batch(
    points: Tensor,
    cls_logits: Tensor,
    ltrb_px: Tensor,
    ctr_logits: Tensor,
    locations_per_level: Sequence[int],
    image_sizes: Sequence[tuple[int, int]],
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
) -> list[Detections]:
    """The detections of each image of a batch.

    The paper scores by class probability times centerness. We report the square root of the
    product, as the original implementation does: the order is the same, and scores look like
    probabilities.

    Args:
        points: (L, 2) float, locations in pixels of the network input.
        cls_logits: (N, L, C) float, before the sigmoid.
        ltrb_px: (N, L, 4) float, distances in pixels.
        ctr_logits: (N, L) float, before the sigmoid.
        locations_per_level: how many of the L locations belong to each level, in order.
        image_sizes: N times height and width of the image without padding, in pixels of the
            network input; only used where boxes are clipped.
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
        N times the detections, highest score first. Boxes are float32.

    Raises:
        ValueError: the shapes do not fit together.
    """
    number, length = ctr_logits.shape
    location, classes, product = rank_candidates(
        cls_logits.flatten(0, 1),
        ctr_logits.flatten(),
        [*locations_per_level] * number,
        score_thresh,
        pre_nms_topk,
        thresh_with_ctr,
        rank_by_class,
    )
    image = location.div(length, rounding_mode="floor")
    locations = points[location % length].float()
    boxes = decode_boxes(locations, ltrb_px.flatten(0, 1)[location].float())
    if clip_before_nms or inclusive_pixels:
        most = boxes.new_tensor([[w, h, w, h] for h, w in image_sizes]) - int(inclusive_pixels)
        boxes = boxes.clamp(min=0).minimum(most[image])
    stays = image.argsort(stable=True)  # one image after the other, each still by rank
    if drop_empty:
        stays = stays[(boxes[stays, 2:] > boxes[stays, :2]).all(dim=1)]
    scores = product.sqrt() if square_root else product
    found = Detections(boxes[stays], scores[stays], classes[stays], locations[stays])
    results = []
    for candidates in _per_image(found, image[stays], number):
        keep = class_aware_nms(*candidates[:3], nms_thresh, post_nms_topk, inclusive_pixels)
        results.append(Detections(*(field[keep] for field in candidates)))
    return results


def _per_image(found: Detections, image: Tensor, number: int) -> list[Detections]:
    """``found`` apart, of which each belongs to one of ``number`` images: (K,) int64, rising."""
    of_image = image == torch.arange(number, device=image.device)[:, None]
    per_image = of_image.sum(dim=1).tolist()
    fields = (field.split(per_image) for field in found)
    return [Detections(*parts) for parts in zip(*fields, strict=True)]


def _least_logits(
    best: Tensor,
    in_key: Tensor,
    in_rule: Tensor,
    locations_per_level: Sequence[int],
    score_thresh: float,
    topk_per_level: int,
) -> Tensor:
    """(L,): a class whose logit at a location is not above this cannot be among those that stay.

    Comparing logits spares a sigmoid over all L * C of them (80 classes, 22,000 locations). Take
    the class of the ``best`` logit of each location, where it passes for sure. If
    ``topk_per_level`` of a level's have a key of t or more, no candidate below t stays. The key is
    the probability times ``in_key``; what ``score_thresh`` applies to, times ``in_rule``; all
    (L,). What passes here is ranked by its exact value afterwards: the slack decides nothing.
    """
    probability, tiny = best.sigmoid(), torch.finfo(best.dtype).tiny
    passes = probability * in_rule > score_thresh * 1.0001
    key = (probability * in_key).where(passes, -1.0).nan_to_num(-1.0)
    kth = []
    for part in key.split(list(locations_per_level)):
        # Not new_tensor, for whose number on its way to the GPU the program waits.
        kth_key = part.new_full((), -1.0)
        if len(part) >= topk_per_level:  # kthvalue would be refused where a GPU has to be exact
            kth_key = part.topk(topk_per_level, sorted=False).values.min()
        kth.append(kth_key.expand(len(part)))
    needed = (torch.cat(kth) / in_key.clamp(min=tiny)).maximum(
        score_thresh / in_rule.clamp(min=tiny)
    )
    # Near 1, where float32 is coarse in logits, the limit stays on the safe side.
    return needed.clamp(max=0.9999).logit() - 0.05


def _rank_in_level(location: Tensor, locations_per_level: Sequence[int]) -> Tensor:
    """(K,): how many of its own level came before each of ``location`` (K,)."""
    ends = torch.tensor(locations_per_level, device=location.device).cumsum(0)
    level = torch.bucketize(location, ends, right=True)
    order = level.argsort(stable=True)
    first = torch.searchsorted(level[order], level[order])
    place = torch.arange(len(level), device=level.device)
    return torch.empty_like(level).scatter_(0, order, place - first)
