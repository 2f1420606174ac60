"""Add ground truth to proposals, wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from detectron2._missing import missing_names
from detectron2.structures import Boxes, Instances

__all__ = ["add_ground_truth_to_proposals"]

__getattr__ = missing_names(__name__)

# Of ground-truth boxes: a probability close to one, so that they rank first.
_LOGIT_OF_TRUTH = math.log((1.0 - 1e-10) / (1 - (1.0 - 1e-10)))


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
        ValueError: ``gt`` and ``proposals`` are of different numbers of images, or a field of the
            proposals is not one of the ground truth.
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
        if not truth.has(name):
            raise ValueError(
                f"add_ground_truth_to_proposals: the proposals have a field '{name}', which the "
                "ground truth lacks"
            )
    return Instances.cat([proposals, truth])
