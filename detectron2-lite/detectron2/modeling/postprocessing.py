"""From the pixels of the network's input to those of the picture that was read."""

from __future__ import annotations

from detectron2._missing import missing, missing_names
from detectron2.structures import Instances

__all__ = ["detector_postprocess"]


def detector_postprocess(
    results: Instances, output_height: int, output_width: int, mask_threshold: float = 0.5
) -> Instances:
    """Scale the detections of one image to another size of that image.

    Args:
        results: detections in pixels of an image of ``results.image_size``, with ``pred_boxes``
            or, failing these, ``proposal_boxes``. They are not changed.
        output_height, output_width: the size in pixels of the image to return them for.
        mask_threshold: for masks, which lite does not have yet.

    Returns:
        The same fields; boxes are scaled and clipped to the new image, and detections whose box
        then has no width or no height are left out.

    Raises:
        ValueError: there are no boxes.
        NotImplementedError: there are masks or keypoints.
    """
    for field in ("pred_masks", "pred_keypoints"):
        if results.has(field):
            raise missing(f"detector_postprocess of {field}")
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
    return scaled[boxes.nonempty()]


__getattr__ = missing_names(__name__)
