"""Step 4: from raw outputs to detections (arXiv:1904.01355, Sec. 3.1 and 3.3).

Letters: N images, L locations over all levels of one image (finest level first), C classes,
K candidates, M detections.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fcos.layers import class_aware_nms


@dataclasses.dataclass(frozen=True)
class DetectionRules:
    """What counts as a detection.

    Attributes:
        score_threshold: in [0, 1). A class counts at a location when its probability is above this;
            equal to it does not pass.
        threshold_with_centerness: apply the threshold to probability times centerness.
        rank_by_class: choose the candidates of a level by class probability alone, not by its
            product with centerness, as mmdetection does.
        pre_nms_topk: candidates per level that enter NMS, at least 1.
        clip_before_nms: clip boxes to [0, width] and [0, height] before NMS, as torchvision and
            mmdetection do.
        drop_empty: leave out boxes without width or height, after any clipping and before NMS,
            as mmdetection does. Otherwise they count among the ``post_nms_topk``.
        nms_threshold: IoU above which a lower-scored box of the same class is dropped.
        post_nms_topk: detections per image that leave NMS, at least 1.
        square_root: the score is the square root of probability times centerness; else the product
            itself, as in mmdetection. The paper scores by the product. The original implementation
            reports the square root: the order is the same, and scores look like probabilities.
        inclusive_pixels: as in the original implementation, clip boxes to [0, width - 1] and
            [0, height - 1] before NMS and measure overlaps with widths of x2 - x1 + 1.
    """

    score_threshold: float = 0.05
    threshold_with_centerness: bool = False
    rank_by_class: bool = False
    pre_nms_topk: int = 1000
    clip_before_nms: bool = False
    drop_empty: bool = False
    nms_threshold: float = 0.6
    post_nms_topk: int = 100
    square_root: bool = True
    inclusive_pixels: bool = False


class Detections(NamedTuple):
    """The detections (or candidates) of one image, M of them."""

    boxes: Tensor
    """(M, 4) float32, x1, y1, x2, y2 in pixels of the network input."""
    scores: Tensor
    """(M,) float32 in [0, 1], see ``square_root`` of :class:`DetectionRules`."""
    classes: Tensor
    """(M,) int64 in [0, C)."""
    locations: Tensor
    """(M, 2) float32, x and y of the location that predicted it, in pixels."""


def decode_boxes(points: Tensor, ltrb_px: Tensor) -> Tensor:
    """Turn locations and distances into boxes; undoes Eq. (1) of arXiv:1904.01355.

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
    centerness_logits: Tensor,
    locations_per_level: Sequence[int],
    rules: DetectionRules,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the pairs of location and class that may become a detection.

    Source: arXiv:1904.01355, Sec. 3.3. Those that pass ``score_threshold`` are ranked, and of each
    level the best ``pre_nms_topk`` stay. Several images are ranked at once as one with more levels.

    Args:
        cls_logits: (L, C) float, before the sigmoid.
        centerness_logits: (L,) float, before the sigmoid.
        locations_per_level: how many of the L locations belong to each level, in order.
        rules: which pairs pass, and which are the best.

    Returns:
        location (K,) int64, class (K,) int64, and probability times centerness (K,) float32 in
        [0, 1], the first in rank first.

    Raises:
        ValueError: the shapes do not fit together.
    """
    length = len(cls_logits)
    if centerness_logits.shape != (length,) or sum(locations_per_level) != length:
        raise ValueError(
            f"centerness_logits and locations_per_level: expected ({length},) and this sum, "
            f"got {tuple(centerness_logits.shape)} and {sum(locations_per_level)}"
        )
    centerness = centerness_logits.float().sigmoid()
    best = cls_logits.amax(dim=1).float()
    least = _least_logits(best, centerness, locations_per_level, rules)
    location = (best > least).nonzero()[:, 0]
    logits = cls_logits[location]
    row, class_ = (logits > least[location, None]).nonzero(as_tuple=True)
    location, probability = location[row], logits[row, class_].float().sigmoid()
    product = probability * centerness[location]
    compared = product if rules.threshold_with_centerness else probability
    passes = (compared > rules.score_threshold).nonzero()[:, 0]
    key = (probability if rules.rank_by_class else product)[passes]
    order = passes[key.argsort(descending=True, stable=True)]
    order = order[_rank_in_level(location[order], locations_per_level) < rules.pre_nms_topk]
    return location[order], class_[order], product[order]


def detect_batch(
    points: Tensor,
    cls_logits: Tensor,
    ltrb_px: Tensor,
    centerness_logits: Tensor,
    locations_per_level: Sequence[int],
    image_sizes: Sequence[tuple[int, int]],
    rules: DetectionRules,
) -> list[Detections]:
    """Detect the objects of each image of a batch.

    Args:
        points: (L, 2) float, locations in pixels of the network input.
        cls_logits: (N, L, C) float, before the sigmoid.
        ltrb_px: (N, L, 4) float, distances in pixels.
        centerness_logits: (N, L) float, before the sigmoid.
        locations_per_level: how many of the L locations belong to each level, in order.
        image_sizes: N times height and width of the image without padding, in pixels of the
            network input; only used where boxes are clipped.
        rules: what counts as a detection.

    Returns:
        N times the detections, highest score first. Boxes are float32.

    Raises:
        ValueError: the shapes do not fit together.
    """
    number, length = centerness_logits.shape
    location, classes, product = rank_candidates(
        cls_logits.flatten(0, 1),
        centerness_logits.flatten(),
        [*locations_per_level] * number,
        rules,
    )
    image = location.div(length, rounding_mode="floor")
    locations = points[location % length].float()
    boxes = decode_boxes(locations, ltrb_px.flatten(0, 1)[location].float())
    if rules.clip_before_nms or rules.inclusive_pixels:
        most = boxes.new_tensor([[w, h, w, h] for h, w in image_sizes])
        boxes = boxes.clamp(min=0).minimum((most - int(rules.inclusive_pixels))[image])
    stays = image.argsort(stable=True)  # one image after the other, each still by rank
    if rules.drop_empty:
        stays = stays[(boxes[stays, 2:] > boxes[stays, :2]).all(dim=1)]
    scores = product.sqrt() if rules.square_root else product
    found = Detections(boxes[stays], scores[stays], classes[stays], locations[stays])
    results = []
    for candidates in _per_image(found, image[stays], number):
        keep = class_aware_nms(
            *candidates[:3], rules.nms_threshold, rules.post_nms_topk, rules.inclusive_pixels
        )
        results.append(Detections(*(field[keep] for field in candidates)))
    return results


def _per_image(found: Detections, image: Tensor, number: int) -> list[Detections]:
    """Split ``found`` by image; ``image`` is (K,) int64 in [0, number), rising."""
    of_image = image == torch.arange(number, device=image.device)[:, None]
    per_image = of_image.sum(dim=1).tolist()
    fields = (field.split(per_image) for field in found)
    return [Detections(*parts) for parts in zip(*fields, strict=True)]


def _least_logits(
    best: Tensor, centerness: Tensor, locations_per_level: Sequence[int], rules: DetectionRules
) -> Tensor:
    """Bound from below the logits that can survive ranking, (L,).

    Comparing logits spares a sigmoid over all L * C of them (80 classes, 22,000 locations). Take
    the class of the ``best`` logit of each location, where it passes for sure. If ``pre_nms_topk``
    of a level's have a key of t or more, no candidate below t stays. What passes here is ranked by
    its exact value afterwards: the slack decides nothing.
    """
    one, topk = torch.ones_like(centerness), rules.pre_nms_topk
    # What the probability is multiplied by before it is ranked, and before the threshold.
    in_key = one if rules.rank_by_class else centerness
    in_rule = centerness if rules.threshold_with_centerness else one
    probability, tiny = best.sigmoid(), torch.finfo(best.dtype).tiny
    passes = probability * in_rule > rules.score_threshold * 1.0001
    key = (probability * in_key).where(passes, -1.0).nan_to_num(-1.0)
    kth = []
    for part in key.split(list(locations_per_level)):
        # Not new_tensor: copying its number to the GPU makes the program wait.
        kth_key = part.new_full((), -1.0)
        if len(part) >= topk:  # not kthvalue, which torch refuses where a GPU has to be exact
            kth_key = part.topk(topk, sorted=False).values.min()
        kth.append(kth_key.expand(len(part)))
    needed = (torch.cat(kth) / in_key.clamp(min=tiny)).maximum(
        rules.score_threshold / in_rule.clamp(min=tiny)
    )
    # Near 1, where float32 is coarse in logits, the limit stays on the safe side.
    return needed.clamp(max=0.9999).logit() - 0.05


def _rank_in_level(location: Tensor, locations_per_level: Sequence[int]) -> Tensor:
    """Count how many of its own level come before each of ``location`` (K,): (K,)."""
    ends = torch.tensor(locations_per_level, device=location.device).cumsum(0)
    level = torch.bucketize(location, ends, right=True)
    order = level.argsort(stable=True)
    first = torch.searchsorted(level[order], level[order])
    place = torch.arange(len(level), device=level.device)
    return torch.empty_like(level).scatter_(0, order, place - first)
