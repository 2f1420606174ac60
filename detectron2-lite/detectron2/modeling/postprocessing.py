"""Scale detections from the network's input to the original image."""

from __future__ import annotations

from torch import Tensor

from detectron2._missing import missing, missing_names
from detectron2.structures import Instances, ROIMasks

__all__ = ["detector_postprocess"]


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Scale the detections of one image to another size of that image.

    Args:
        results: detections in pixels of an image of ``results.image_size``, with ``pred_boxes``
            or, failing these, ``proposal_boxes``. They are not changed.
        output_height, output_width: the size in pixels of the image to return them for.
        mask_threshold: what of a mask is at least this probable is inside.

    Returns:
        The same fields; boxes are scaled and clipped to the new image, and detections whose box
        then has no width or no height are left out.  ``pred_masks``, (N, 1, M, M) probabilities
        in the frames of the boxes or ``ROIMasks``, become (N, output_height, output_width) bool.

    Raises:
        ValueError: there are no boxes, or masks of another shape.
        NotImplementedError: there are keypoints.
    """
    if results.has("pred_keypoints"):
        raise missing("detector_postprocess of pred_keypoints")
    names = [name for name in ("pred_boxes", "proposal_boxes") if results.has(name)]
    if not names:
        raise ValueError(
            "detector_postprocess: results must have pred_boxes or proposal_boxes, "
            f"they have {list(results.get_fields())}"
        )
    old_height, old_width = results.image_size
    boxes = results.get(names[0]).clone()
    boxes.scale(output_width / old_width, output_height / old_height)
    boxes.clip((output_height, output_width))

    fields = {**results.get_fields(), names[0]: boxes}
    scaled = Instances((output_height, output_width), **fields)
    scaled = scaled[boxes.nonempty()]
    if scaled.has("pred_masks"):
        masks = _roi_masks(scaled.pred_masks)
        in_image = masks.to_bitmasks(
            scaled.get(names[0]), output_height, output_width, mask_threshold
        )
        scaled.pred_masks = in_image.tensor
    return scaled


def _roi_masks(masks: ROIMasks | Tensor) -> ROIMasks:
    if isinstance(masks, ROIMasks):
        return masks
    if masks.dim() != 4:
        raise ValueError(
            "detector_postprocess: pred_masks must be (N, 1, M, M) or ROIMasks, they are "
            f"{tuple(masks.shape)}"
        )
    return ROIMasks(masks[:, 0])


__getattr__ = missing_names(__name__)
