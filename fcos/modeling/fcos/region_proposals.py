"""FCOS as a region proposal network (arXiv:1904.01355, Sec. 5): what others make of its boxes."""

from __future__ import annotations

import torch

from detectron2.structures import Boxes, Instances


def for_roi_heads(result: Instances, only_proposals: bool) -> Instances:
    """Give detections the fields that detectron2's ROI heads read.

    Args:
        result: ``pred_boxes`` in pixels of the network input, ``scores`` and others.
        only_proposals: leave out all other fields.

    Returns:
        Those whose box has an area inside the image, clipped to it, with ``proposal_boxes`` and
        ``objectness_logits``, the logit of the score.
    """
    # Imported here, because torchvision takes as long to import as torch.
    from torchvision.ops import clip_boxes_to_image

    # Clipped now, so that a region's features are those of its box. Not by Boxes.clip, which
    # asserts that boxes are finite: the check of the loss has a better message.
    result.pred_boxes = Boxes(clip_boxes_to_image(result.pred_boxes.tensor, result.image_size))
    # Indexing by a mask would wait for the GPU once for each field; by indices it does not.
    result = result[result.pred_boxes.nonempty().nonzero()[:, 0]]
    as_proposals = {
        "proposal_boxes": result.pred_boxes.clone(),
        "objectness_logits": result.scores.logit(eps=1e-6),
    }
    if only_proposals:
        return Instances(result.image_size, **as_proposals)
    return Instances(result.image_size, **result.get_fields(), **as_proposals)


def as_one_class(truth: Instances) -> Instances:
    """Return ground truth of one image whose objects are all of class 0.

    Args:
        truth: ``gt_boxes`` and ``gt_classes``, not changed; other fields are left out.
    """
    classes = torch.zeros_like(truth.gt_classes)
    return Instances(truth.image_size, gt_boxes=truth.gt_boxes, gt_classes=classes)
