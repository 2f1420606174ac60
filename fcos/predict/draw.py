"""Draw detections and ground truth on images, with detectron2's Visualizer."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectron2.structures import Boxes, BoxMode, Instances, polygons_to_bitmask

__all__ = [
    "FrameDrawing",
    "class_colors",
    "draw_instances",
    "ground_truth_instances",
    "side_by_side",
]

# A label is about 13 pixels high in any picture, and would cover the objects of a small one. So a
# picture is enlarged by the smallest whole factor that makes its longer side at least this long.
_MIN_LONGER_SIDE = 640
_TITLE_HEIGHT = 28
_GAP = 8


def class_colors(num_classes: int) -> list[list[int]]:
    """Choose one bright colour per class, the same in every run.

    Returns:
        ``num_classes`` lists of red, green, blue in [0, 255]. Neighbours in the list are far apart
        on the colour circle, because each step turns it by the golden ratio.
    """
    turns = [(0.08 + i * 0.618034) % 1.0 for i in range(num_classes)]
    return [[round(255 * c) for c in colorsys.hsv_to_rgb(turn, 0.85, 1.0)] for turn in turns]


def draw_instances(
    image: np.ndarray,
    instances: Instances,
    names: Sequence[str],
    colors: Sequence[Sequence[int]] | None = None,
) -> np.ndarray:
    """Draw boxes, and masks if there are any, with class names and scores on a copy of an image.

    Args:
        image: (H, W, 3) uint8, blue, green, red.
        instances: on the same H and W; ``pred_boxes`` in pixels of ``image``, ``pred_classes`` in
            [0, C), optionally ``scores`` and ``pred_masks``.
        names: C class names.
        colors: red, green, blue of each class in [0, 255]; None: those of :func:`class_colors`.

    Returns:
        (k * H, k * W, 3) uint8, blue, green, red. k is the smallest whole number that makes the
        longer side at least 640 pixels long.
    """
    from detectron2.data import Metadata
    from detectron2.utils.visualizer import ColorMode, Visualizer

    instances = instances.to("cpu")
    colors = class_colors(len(names)) if colors is None else [list(color) for color in colors]
    # Only in the mode SEGMENTATION is there one colour per class; by default they are random.
    canvas = Visualizer(
        np.ascontiguousarray(image[:, :, ::-1]),
        Metadata(thing_classes=list(names), thing_colors=colors),
        scale=_enlargement(image),
        instance_mode=ColorMode.SEGMENTATION,
    )
    # The Visualizer's own boxes are half transparent and hard to see on a photograph.
    boxes = instances.pred_boxes.tensor.tolist()  # matplotlib is slow with tensors
    for box, index in zip(boxes, instances.pred_classes.tolist(), strict=True):
        canvas.draw_box(box, alpha=1.0, edge_color=[c / 255 for c in colors[index]])
    drawn = canvas.draw_instance_predictions(instances, jittering=False)
    return np.ascontiguousarray(drawn.get_image()[:, :, ::-1])


class FrameDrawing:
    """Draws detections on the frames of one video: an object keeps its colour.

    detectron2's VideoVisualizer says which detections of two frames are one object: those of one
    class whose boxes overlap enough.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """
        Args:
            names: C class names.
        """
        from detectron2.data import Metadata
        from detectron2.utils.video_visualizer import VideoVisualizer

        self._visualizer = VideoVisualizer(Metadata(thing_classes=list(names)))

    def __call__(self, frame: np.ndarray, instances: Instances) -> np.ndarray:
        """Draw on a copy of the next frame.

        Args:
            frame, instances: as ``image`` and ``instances`` of :func:`draw_instances`. Boxes are
                drawn where there are no masks.

        Returns:
            (k * H, k * W, 3) uint8, blue, green, red; k as of :func:`draw_instances`.
        """
        factor = _enlargement(frame)
        enlarged = frame.repeat(factor, axis=0).repeat(factor, axis=1)
        height, width = enlarged.shape[:2]
        fields = dict(instances.to("cpu").get_fields())
        fields["pred_boxes"] = Boxes(fields["pred_boxes"].tensor * factor)
        if "pred_masks" in fields:
            rows = fields["pred_masks"].repeat_interleave(factor, dim=1)
            fields["pred_masks"] = rows.repeat_interleave(factor, dim=2)
        drawn = self._visualizer.draw_instance_predictions(
            np.ascontiguousarray(enlarged[:, :, ::-1]), Instances((height, width), **fields)
        )
        return np.ascontiguousarray(drawn.get_image()[:, :, ::-1])


def _enlargement(image: np.ndarray) -> int:
    return math.ceil(_MIN_LONGER_SIDE / max(image.shape[:2]))


def ground_truth_instances(
    annotations: list[dict[str, Any]], height: int, width: int, with_masks: bool = False
) -> Instances:
    """Make instances for :func:`draw_instances` from annotations in detectron2's format.

    Args:
        annotations: the ``"annotations"`` of one record. Regions marked ``iscrowd`` are left out,
            because they are no single objects.
        height, width: size of the image in pixels.
        with_masks: add masks; an object without a segmentation gets an empty one.

    Returns:
        ``pred_boxes`` (G boxes, x1, y1, x2, y2 in pixels of that image), ``pred_classes`` (G,)
        int64 and, if asked for, ``pred_masks`` (G, height, width) bool; no scores.
    """
    objects = [a for a in annotations if not a.get("iscrowd", 0)]
    boxes = [BoxMode.convert(list(a["bbox"]), a["bbox_mode"], BoxMode.XYXY_ABS) for a in objects]
    classes = [a["category_id"] for a in objects]
    truth = Instances(
        (height, width),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
    )
    if with_masks:
        masks = [_mask(a.get("segmentation"), height, width) for a in objects]
        truth.pred_masks = torch.from_numpy(np.array(masks, bool).reshape(-1, height, width))
    return truth


def _mask(segmentation: Any, height: int, width: int) -> np.ndarray:
    """Make a mask, (height, width) bool, from polygons or run lengths in COCO's form."""
    import pycocotools.mask

    if not segmentation:
        return np.zeros((height, width), bool)
    if isinstance(segmentation, dict):
        return pycocotools.mask.decode(segmentation).astype(bool)
    parts = [np.asarray(part, dtype=np.float64).reshape(-1) for part in segmentation]
    return polygons_to_bitmask(parts, height, width)


def side_by_side(
    left: np.ndarray, right: np.ndarray, left_title: str, right_title: str
) -> np.ndarray:
    """Put two pictures of one size next to each other, each below its title.

    Args:
        left, right: (H, W, 3) uint8.
        left_title, right_title: ASCII text.

    Returns:
        (H + 28, 2 * W + 8, 3) uint8.

    Raises:
        ValueError: the pictures differ in shape.
    """
    if left.shape != right.shape:
        raise ValueError(f"left and right: shapes differ, {left.shape} and {right.shape}")
    gap = np.full((len(left) + _TITLE_HEIGHT, _GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([_titled(left, left_title), gap, _titled(right, right_title)], axis=1)


def _titled(picture: np.ndarray, title: str) -> np.ndarray:
    import cv2

    band = np.full((_TITLE_HEIGHT, picture.shape[1], 3), 255, dtype=np.uint8)
    cv2.putText(band, title, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([band, picture], axis=0)
