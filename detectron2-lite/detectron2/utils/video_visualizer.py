"""Drawing on the frames of a video, with colors that stay with the objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_mask

from detectron2.structures import Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import (
    ColorMode,
    VisImage,
    Visualizer,
    _as_list,
    _convert_boxes,
    _create_text_labels,
    _left_out,
)

if TYPE_CHECKING:
    from detectron2.data import Metadata

__all__ = ["VideoVisualizer"]

_SAME_OBJECT_IOU = 0.6
_REMEMBERED_FRAMES = 8


@dataclass
class _Object:
    """An object of the last frames.  ``shape`` is what overlap is measured by: a run-length
    encoded mask, or a box ``x, y, width, height``."""

    label: int | None
    shape: Any
    color: np.ndarray
    frames_left: int = _REMEMBERED_FRAMES


class VideoVisualizer:
    """Draws detections frame by frame.  An object that overlaps with one of the same class in the
    last frames (IoU above 0.6) has its color; one unseen for 8 frames is forgotten.  Where a
    tracker has numbered the objects, in the field ``ID``, the numbers count instead.

    Args:
        metadata: as of ``Visualizer``. Besides, ``max_num_instances`` is how many objects of a
            frame may have a number (74); for ``period_threshold`` see the method below.
        instance_mode: ``IMAGE`` or ``IMAGE_BW``.

    Raises:
        ValueError: another mode.
    """

    def __init__(self, metadata: Metadata, instance_mode: ColorMode = ColorMode.IMAGE) -> None:
        if instance_mode not in (ColorMode.IMAGE, ColorMode.IMAGE_BW):
            raise ValueError(f"VideoVisualizer: {instance_mode} is not IMAGE or IMAGE_BW")
        self.metadata = metadata
        self._instance_mode = instance_mode
        self._objects: list[_Object] = []
        self._color_of_id: dict[Any, np.ndarray] = {}
        self._next_color = 0

    def draw_instance_predictions(self, frame: np.ndarray, predictions: Instances) -> VisImage:
        """Draw what a model found in the next frame.

        Args:
            frame: (H, W, 3) RGB, values 0 to 255.
            predictions: as of ``Visualizer.draw_instance_predictions``; boxes are not drawn where
                there are masks.  ``COLOR`` of each object, or its number ``ID``, which is the same
                in every frame, spare the search for known objects.  ``ID_period`` is for how many
                frames an object has been known: what has no more than the metadata's
                ``period_threshold`` (0) is not drawn.

        Raises:
            AssertionError: more numbers in ``ID`` than ``max_num_instances``.
        """
        visualizer = Visualizer(frame, self.metadata, instance_mode=self._instance_mode)
        fields = predictions.get_fields()
        masks = visualizer._convert_masks(fields.get("pred_masks", fields.get("pred_masks_rle")))
        boxes = _convert_boxes(fields.get("pred_boxes"))
        classes = fields["pred_classes"].tolist() if "pred_classes" in fields else None
        scores = fields["scores"].tolist() if "scores" in fields else None
        labels = _create_text_labels(classes, scores, self.metadata.get("thing_classes"))

        if "COLOR" in fields:
            colors = list(fields["COLOR"])
        elif "ID" in fields:
            colors = self._colors_of_ids(_as_list(fields["ID"]))
        else:
            shapes = _shapes(boxes, masks)
            colors = self._colors_of(shapes, classes or [None] * len(shapes))

        is_gray = self._instance_mode == ColorMode.IMAGE_BW
        if is_gray:
            visualizer.output.reset_image(visualizer._gray_outside(masks))
        shown = list(range(len(predictions)))
        if "ID_period" in fields:
            least = self.metadata.get("period_threshold", 0)
            shown = [i for i, period in enumerate(fields["ID_period"]) if period > least]
        return visualizer.overlay_instances(
            boxes=None if boxes is None or masks is not None else boxes[shown],
            masks=None if masks is None else [masks[i] for i in shown],
            labels=None if labels is None else [labels[i] for i in shown],
            assigned_colors=[colors[i] for i in shown],
            alpha=0.3 if is_gray else 0.5,
        )

    def _colors_of_ids(self, ids: list) -> list[np.ndarray]:
        """The colors of this frame's objects by number; a number that is gone gives its up."""
        most = self.metadata.get("max_num_instances", 74)
        assert len(set(ids)) <= most, f"ID: {len(set(ids))} objects, max_num_instances is {most}"
        for i in ids:
            if i not in self._color_of_id:
                self._color_of_id[i] = self._new_color()
        self._color_of_id = {i: self._color_of_id[i] for i in ids}
        return [self._color_of_id[i] for i in ids]

    def _colors_of(self, shapes: list, labels: list) -> list[np.ndarray]:
        """The colors of this frame's objects; remembers the objects for the frames to come."""
        old = self._objects
        for known in old:
            known.frames_left -= 1
        found: dict[int, _Object] = {}
        taken: set[int] = set()
        for i, j in self._pairs(shapes, labels):
            if i not in found and j not in taken:
                found[i] = _Object(labels[i], shapes[i], old[j].color)
                taken.add(j)
        unseen = [known for j, known in enumerate(old) if j not in taken and known.frames_left > 0]
        self._objects = unseen + list(found.values())
        for i, (shape, label) in enumerate(zip(shapes, labels, strict=True)):
            if i not in found:
                found[i] = _Object(label, shape, self._new_color())
                self._objects.append(found[i])
        return [found[i].color for i in range(len(shapes))]

    def _pairs(self, shapes: list, labels: list) -> list[tuple[int, int]]:
        """(new, old) of one class that overlap enough to be one object, the best first."""
        if not shapes:
            return []
        # An object known by its box cannot be compared with a mask.
        kind = type(shapes[0])
        candidates = [j for j, known in enumerate(self._objects) if isinstance(known.shape, kind)]
        known_shapes = [self._objects[j].shape for j in candidates]
        if not known_shapes:
            return []
        if kind is np.ndarray:
            new, known = np.array(shapes, np.float64), np.array(known_shapes, np.float64)
        else:
            new, known = shapes, known_shapes
        ious = coco_mask.iou(new, known, [0] * len(known_shapes))
        same = np.array([[label == self._objects[j].label for j in candidates] for label in labels])
        ious = np.where(same, ious, 0)
        order = np.argsort(-ious, axis=None, kind="stable")
        rows, columns = np.unravel_index(order, ious.shape)
        enough = ious[rows, columns] > _SAME_OBJECT_IOU
        pairs = zip(rows[enough].tolist(), columns[enough].tolist(), strict=True)
        return [(i, candidates[j]) for i, j in pairs]

    def _new_color(self) -> np.ndarray:
        """The next color of the palette that no remembered object has, if there is one."""
        palette = colormap(rgb=True, maximum=1)
        in_use = {tuple(known.color) for known in self._objects}
        in_use |= {tuple(color) for color in self._color_of_id.values()}
        for _ in palette:
            color = palette[self._next_color % len(palette)]
            self._next_color += 1
            if tuple(color) not in in_use:
                break
        return color

    draw_sem_seg = _left_out("draw_sem_seg")
    draw_panoptic_seg_predictions = _left_out("draw_panoptic_seg_predictions")


def _shapes(boxes: np.ndarray | None, masks: Sequence[Any] | None) -> list:
    """What tells whether two objects are one: boxes, or masks where there are none."""
    if boxes is not None:
        return list(np.hstack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]))
    return [coco_mask.encode(np.asfortranarray(mask.mask)) for mask in masks or ()]
