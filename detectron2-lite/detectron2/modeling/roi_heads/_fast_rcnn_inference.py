"""Detections from the boxes and scores of regions (arXiv:1504.08083, section 2.3).

Letters: R regions of an image; C classes, background is class C.
"""

from __future__ import annotations

from torch import Tensor

from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances

__all__ = ["fast_rcnn_inference", "fast_rcnn_inference_single_image"]


def fast_rcnn_inference(
    boxes: list[Tensor],
    scores: list[Tensor],
    image_shapes: list[tuple[int, int]],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[list[Instances], list[Tensor]]:
    """Detections of each image.

    Args:
        boxes: of each image (R, C * 4) boxes of each class, or (R, 4) for all of them, in pixels.
        scores: of each image (R, C + 1) probabilities, background last.
        image_shapes: height and width of each image, which boxes are clipped to.
        score_thresh: a detection's score is greater.
        nms_thresh: of its class a box that overlaps a better one by a larger IoU is left out.
        topk_per_image: detections to return at most, the best ones; negative: all.

    Returns:
        Of each image Instances with ``pred_boxes``, ``scores`` and ``pred_classes``, best first;
        and the region that each detection is of. Regions with an infinite or NaN box or score
        give none and are not counted.
    """
    results = [
        fast_rcnn_inference_single_image(
            *(own_boxes, own_scores, shape), score_thresh, nms_thresh, topk_per_image
        )
        for own_boxes, own_scores, shape in zip(boxes, scores, image_shapes, strict=True)
    ]
    return [found for found, _ in results], [regions for _, regions in results]


def fast_rcnn_inference_single_image(
    boxes: Tensor,
    scores: Tensor,
    image_shape: tuple[int, int],
    score_thresh: float,
    nms_thresh: float,
    topk_per_image: int,
) -> tuple[Instances, Tensor]:
    """:func:`fast_rcnn_inference` for one image."""
    is_finite = boxes.isfinite().all(dim=1) & scores.isfinite().all(dim=1)
    if not is_finite.all():
        boxes, scores = boxes[is_finite], scores[is_finite]
    scores = scores[:, :-1]
    clipped = Boxes(boxes.reshape(-1, 4))
    clipped.clip(image_shape)
    corners = clipped.tensor.view(-1, boxes.shape[1] // 4, 4)

    is_good = scores > score_thresh
    regions, classes = is_good.nonzero().unbind(dim=1)
    corners = corners[regions, 0] if corners.shape[1] == 1 else corners[is_good]
    scores = scores[is_good]
    keep = batched_nms(corners, scores, classes, nms_thresh)
    if topk_per_image >= 0:
        keep = keep[:topk_per_image]
    found = Instances(image_shape)
    found.pred_boxes, found.scores = Boxes(corners[keep]), scores[keep]
    found.pred_classes = classes[keep]
    return found, regions[keep]
