"""Choose proposals by their scores, and add ground truth to those, wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detectron2._missing import missing_names
from detectron2.layers import batched_nms, cat
from detectron2.structures import Boxes, Instances

__all__ = ["add_ground_truth_to_proposals", "find_top_rpn_proposals"]

__getattr__ = missing_names(__name__)

# Of ground-truth boxes: a probability close to one, so that they rank first.
_LOGIT_OF_TRUTH = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


def find_top_rpn_proposals(
    proposals: list[Tensor],
    pred_objectness_logits: list[Tensor],
    image_sizes: list[tuple[int, int]],
    nms_thresh: float,  # IoU
    pre_nms_topk: int,  # of a level
    post_nms_topk: int,  # of an image
    min_box_size: float,  # pixels
    training: bool,
) -> list[Instances]:
    """The best boxes of all levels, without those that nearly repeat a better one of their level.

    Args:
        proposals: of each level (N, A, 4) boxes of N images, x1, y1, x2, y2 in pixels.
        pred_objectness_logits: of each level (N, A).
        image_sizes: height and width of each image, which boxes are clipped to.
        nms_thresh: a box that overlaps a better one of its level by a larger IoU is left out.
        pre_nms_topk: boxes of each level that take part, the best ones.
        post_nms_topk: boxes of an image to return at most.
        min_box_size: both sides have to be longer, in pixels.
        training: what to do about infinite and NaN boxes and logits: raise, or leave them out.

    Returns:
        Of each image Instances with ``proposal_boxes`` and ``objectness_logits``, best first.

    Raises:
        FloatingPointError: in training a box or logit of the best is infinite or NaN.
    """
    boxes_of, logits_of, levels_of = [], [], []
    for level, (boxes, logits) in enumerate(zip(proposals, pred_objectness_logits, strict=True)):
        best, which = logits.topk(min(logits.shape[1], pre_nms_topk), dim=1)
        logits_of.append(best)
        boxes_of.append(boxes.gather(1, which[:, :, None].expand(-1, -1, boxes.shape[2])))
        levels_of.append(torch.full_like(which[0], level))
    all_boxes, all_logits = cat(boxes_of, dim=1), cat(logits_of, dim=1)
    all_levels = cat(levels_of)

    results = []
    for index, size in enumerate(image_sizes):
        corners, logits, levels = all_boxes[index], all_logits[index], all_levels
        is_finite = corners.isfinite().all(dim=1) & logits.isfinite()
        if not is_finite.all():
            if training:
                raise FloatingPointError(
                    "RPN: a proposal or its logit is infinite or NaN; the training has diverged"
                )
            corners, logits, levels = corners[is_finite], logits[is_finite], levels[is_finite]
        boxes = Boxes(corners)
        boxes.clip(size)
        is_large = boxes.nonempty(threshold=min_box_size)
        boxes, logits, levels = boxes[is_large], logits[is_large], levels[is_large]
        keep = batched_nms(boxes.tensor, logits, levels, nms_thresh)[:post_nms_topk]
        results.append(Instances(size, proposal_boxes=boxes[keep], objectness_logits=logits[keep]))
    return results


def add_ground_truth_to_proposals(
    gt: Sequence[Instances] | Sequence[Boxes], proposals: Sequence[Instances]
) -> list[Instances]:
    """Ground-truth boxes as further proposals, so that a head never trains without a good one.

    Args:
        gt: of each image, ``Instances`` with ``gt_boxes``, or the boxes themselves.
        proposals: of each image, with ``proposal_boxes`` and ``objectness_logits``. Fields that
            they have besides must be fields of ``gt``, too.

    Returns:
        New Instances: the proposals, then the ground truth with the logit of 1 - 1e-10.

    Raises:
        ValueError: ``gt`` and ``proposals`` are of different numbers of images.
        AssertionError: a field of the proposals is not one of the ground truth.
    """
    if len(gt) != len(proposals):
        raise ValueError(f"gt is of {len(gt)} images, proposals are of {len(proposals)}")
    return [
        add_ground_truth_to_proposals_single_image(*pair)
        for pair in zip(gt, proposals, strict=True)
    ]


def add_ground_truth_to_proposals_single_image(
    gt: Instances | Boxes, proposals: Instances
) -> Instances:
    """:func:`add_ground_truth_to_proposals` for one image."""
    if isinstance(gt, Boxes):
        gt = Instances(proposals.image_size, gt_boxes=gt)
    device = proposals.objectness_logits.device
    truth = Instances(proposals.image_size, **gt.get_fields())
    truth.proposal_boxes = gt.gt_boxes
    truth.objectness_logits = torch.full((len(gt.gt_boxes),), _LOGIT_OF_TRUTH, device=device)
    for name in proposals.get_fields():
        assert truth.has(name), (
            f"add_ground_truth_to_proposals: the proposals have a field '{name}', which the "
            "ground truth lacks"
        )
    return Instances.cat([proposals, truth])
