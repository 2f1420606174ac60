"""Drawing of detections and annotations on images, with matplotlib."""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from detectron2._missing import missing, missing_names
from detectron2.structures import BoxMode
from detectron2.utils._drawing import Drawing, VisImage, label_color, middle
from detectron2.utils._generic_mask import GenericMask
from detectron2.utils.colormap import colormap, random_color

if TYPE_CHECKING:
    from matplotlib.typing import ColorType

    from detectron2.data import Metadata
    from detectron2.structures import Boxes, Instances

__all__ = ["ColorMode", "VisImage", "Visualizer"]

__getattr__ = missing_names(__name__)

# Labels of boxes that are smaller than this go beside them, where they hide nothing.
_SMALL_AREA = 1000  # square pixels of the picture
_SMALL_HEIGHT = 40  # pixels of the picture


class ColorMode(enum.Enum):
    """How instances are colored."""

    IMAGE = 0
    """Any color for any instance."""
    SEGMENTATION = 1
    """Similar colors for instances of one class, after the metadata's ``thing_colors``."""
    IMAGE_BW = 2
    """As ``IMAGE``, with everything that no mask covers in gray."""


def _left_out(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> None:
        raise missing(f"{type(self).__name__}.{name}")

    method.__name__ = name
    return method


class Visualizer(Drawing):
    """Draws on an image: simple shapes by ``draw_*``, detections and annotations as a whole.

    Every method returns ``output``, the ``VisImage`` that is drawn on.  Coordinates are pixels of
    the image, ``(0, 0)`` is its upper left corner; colors are matplotlib's.

    Args:
        img_rgb: (H, W, 3) RGB, values 0 to 255.
        metadata: its ``thing_classes`` are the names of the classes, its ``thing_colors`` (0 to
            255) are used in the mode ``SEGMENTATION``.
        scale: size of the picture in relation to the image.
        instance_mode: how instances are colored.
        font_size_scale: makes texts larger or smaller than they are by default.

    Raises:
        ValueError: ``img_rgb`` has another shape.
    """

    def __init__(
        self,
        img_rgb: np.ndarray,
        metadata: Metadata | None = None,
        scale: float = 1.0,
        instance_mode: ColorMode = ColorMode.IMAGE,
        font_size_scale: float = 1.0,
    ) -> None:
        if metadata is None:
            from detectron2.data import Metadata

            metadata = Metadata()
        img = np.asarray(img_rgb).clip(0, 255).astype(np.uint8)
        if img.ndim != 3 or img.shape[2] != 3:
            raise ValueError(f"Visualizer: img_rgb has shape {img.shape}, not (H, W, 3)")
        super().__init__(img, scale, font_size_scale)
        self.metadata = metadata
        self.cpu_device = torch.device("cpu")
        self._instance_mode = instance_mode

    def draw_instance_predictions(self, predictions: Instances, jittering: bool = True) -> VisImage:
        """Draw what a model found.

        Args:
            predictions: of its fields, ``pred_boxes``, ``pred_masks`` (or ``pred_masks_rle``),
                ``pred_classes`` and ``scores`` are drawn, as far as it has them.
            jittering: in the mode ``SEGMENTATION``, whether the instances of a class differ a
                little in color.
        """
        fields = predictions.get_fields()
        if "pred_keypoints" in fields:
            raise missing("Visualizer for pred_keypoints (keypoint detection)")
        classes = fields.get("pred_classes")
        labels = _create_text_labels(
            _as_list(classes), _as_list(fields.get("scores")), self.metadata.get("thing_classes")
        )
        masks = self._convert_masks(fields.get("pred_masks", fields.get("pred_masks_rle")))

        colors, alpha = None, 0.5
        if self._instance_mode == ColorMode.SEGMENTATION:
            colors, alpha = self._class_colors(_as_list(classes), jittering), 0.8
        elif self._instance_mode == ColorMode.IMAGE_BW:
            self.output.reset_image(self._gray_outside(masks))
            alpha = 0.3
        return self.overlay_instances(
            boxes=fields.get("pred_boxes"),
            masks=masks,
            labels=labels,
            assigned_colors=colors,
            alpha=alpha,
        )

    def draw_dataset_dict(self, dic: dict[str, Any]) -> VisImage:
        """Draw the annotations of one image.

        Args:
            dic: an element of a dataset in detectron2's format.
        """
        for key in ("sem_seg", "sem_seg_file_name", "pan_seg", "pan_seg_file_name"):
            if key in dic:
                raise missing(f"Visualizer for {key} (semantic and panoptic segmentation)")
        annotations = dic.get("annotations")
        if not annotations:
            return self.output
        if any("keypoints" in annotation for annotation in annotations):
            logging.getLogger(__name__).warning("Keypoints are not drawn by detectron2-lite.")
        masks = None
        if all("segmentation" in annotation for annotation in annotations):
            masks = [annotation["segmentation"] for annotation in annotations]
        boxes = np.array(
            [
                BoxMode.convert(annotation["bbox"], annotation["bbox_mode"], BoxMode.XYXY_ABS)
                for annotation in annotations
            ]
        )
        classes = [annotation["category_id"] for annotation in annotations]
        labels = _create_text_labels(
            classes,
            None,
            self.metadata.get("thing_classes"),
            [annotation.get("iscrowd", 0) for annotation in annotations],
        )
        colors = None
        if self._instance_mode == ColorMode.SEGMENTATION:
            colors = self._class_colors(classes, jittering=True)
        return self.overlay_instances(
            boxes=boxes, masks=masks, labels=labels, assigned_colors=colors
        )

    def overlay_instances(
        self,
        *,
        boxes: Boxes | np.ndarray | torch.Tensor | Sequence | None = None,
        labels: Sequence[str] | None = None,
        masks: Any = None,
        keypoints: Any = None,
        assigned_colors: Sequence[Any] | None = None,
        alpha: float = 0.5,
    ) -> VisImage:
        """Draw N instances, the largest first.

        Args:
            boxes: ``Boxes`` or (N, 4), ``x0, y0, x1, y1``.
            labels: a text for each.
            masks: ``BitMasks``, ``PolygonMasks``, or N of what ``GenericMask`` takes.
            keypoints: not in detectron2-lite.
            assigned_colors: a color for each; different ones by default.
            alpha: opacity of the masks.

        Raises:
            ValueError: there are not equally many of each, or a mask has another size than the
                image.
        """
        if keypoints is not None:
            raise missing("Visualizer.overlay_instances(keypoints=)")
        corners = _convert_boxes(boxes)
        shapes = self._convert_masks(masks)
        _check_lengths(boxes=corners, masks=shapes, labels=labels, assigned_colors=assigned_colors)
        if corners is not None:
            areas = (corners[:, 2:] - corners[:, :2]).prod(axis=1)
        elif shapes is not None:
            areas = np.array([shape.area() for shape in shapes])
        else:
            return self.output
        if assigned_colors is None:
            # In the order of the palette: random ones may be hard to tell apart.
            palette = colormap(rgb=True, maximum=1)
            assigned_colors = [palette[i % len(palette)] for i in range(len(areas))]

        for i in np.argsort(-areas, kind="stable"):
            color = assigned_colors[i]
            if corners is not None:
                self.draw_box(corners[i], edge_color=color)
            if shapes is not None:
                self._draw_mask(shapes[i], color, alpha=alpha)
            if labels is not None and corners is not None:
                self._draw_label(labels[i], corners[i], color)
            elif labels is not None and areas[i] > 0:
                self._draw_label(labels[i], shapes[i].bbox(), color, middle(shapes[i].mask))
        return self.output

    def _draw_label(
        self,
        text: str,
        box: np.ndarray,
        color: ColorType,
        anchor: tuple[float, float] | None = None,
    ) -> None:
        """Write at the upper left corner of a box, or around ``anchor``; beside it if it is small.
        In the picture in any case."""
        x0, y0, x1, y1 = box
        position, alignment = ((x0, y0), "left") if anchor is None else (anchor, "center")
        height = y1 - y0
        scale = self.output.scale
        if height * (x1 - x0) < _SMALL_AREA * scale or height < _SMALL_HEIGHT * scale:
            position = (x1, y0) if y1 >= self.output.height - 5 else (x0, y1)
        # Smaller texts for objects that are lower than a tenth of the image.
        shrink = 0.5 * np.clip((height / self._side - 0.02) / 0.08 + 1, 1.2, 2)
        self.draw_text(
            text,
            position,
            color=label_color(color),
            horizontal_alignment=alignment,
            font_size=shrink * self._default_font_size,
        )
        self._move_inside(self.output.ax.texts[-1])

    def _move_inside(self, text: Any) -> None:
        """Move a text by as much as it would be cut off at the border of the picture."""
        extent = text.get_window_extent(self.output.canvas.get_renderer())
        width, height = self.output.fig.bbox.size
        # The picture's y runs upwards here, the image's downwards.
        right = max(0.0, -extent.x0) - max(0.0, extent.x1 - width)
        down = max(0.0, extent.y1 - height) - max(0.0, -extent.y0)
        x, y = text.get_position()
        text.set_position((x + right / self.output.scale, y + down / self.output.scale))

    def _class_colors(self, classes: Sequence[int] | None, jittering: bool) -> list | None:
        colors = self.metadata.get("thing_colors")
        if not colors or classes is None:
            return None
        picked = [np.asarray(colors[i]) / 255 for i in classes]
        if not jittering:
            return picked
        # random_color rather than a generator's numbers: it leaves numpy's random state alone.
        shifts = [0.4 * (random_color(rgb=True, maximum=1) - 0.5) for _ in picked]
        return [(color + shift).clip(0, 1) for color, shift in zip(picked, shifts, strict=True)]

    def _gray_outside(self, masks: Sequence[GenericMask] | None) -> np.ndarray:
        """The image in gray, except where a mask is."""
        gray = np.repeat(self.img.mean(axis=2, keepdims=True), 3, axis=2).astype(np.uint8)
        if masks:
            inside = np.any([mask.mask for mask in masks], axis=0)
            gray[inside] = self.img[inside]
        return gray

    def _convert_masks(self, masks: Any) -> list[GenericMask] | None:
        if masks is None:
            return None
        # PolygonMasks and BitMasks keep their masks in these attributes.
        masks = _as_array(getattr(masks, "polygons", masks))
        return [
            mask if isinstance(mask, GenericMask) else GenericMask(mask, *self.img.shape[:2])
            for mask in masks
        ]

    draw_sem_seg = _left_out("draw_sem_seg")
    draw_panoptic_seg = _left_out("draw_panoptic_seg")
    draw_panoptic_seg_predictions = _left_out("draw_panoptic_seg_predictions")
    draw_and_connect_keypoints = _left_out("draw_and_connect_keypoints")
    draw_rotated_box_with_label = _left_out("draw_rotated_box_with_label")
    overlay_rotated_instances = _left_out("overlay_rotated_instances")


def _create_text_labels(
    classes: Sequence[int] | None,
    scores: Sequence[float] | None,
    class_names: Sequence[str] | None,
    is_crowd: Sequence[bool] | None = None,
) -> list[str] | None:
    """Texts like ``person 93%`` or ``person|crowd``, of what is known; ``None`` if nothing is."""
    columns = []
    if classes is not None:
        names = class_names or ()
        columns.append([names[k] if k < len(names) else str(k) for k in classes])
    if scores is not None:
        columns.append([f"{score * 100:.0f}%" for score in scores])
    if not columns:
        return None
    texts = [" ".join(words) for words in zip(*columns, strict=True)]
    if is_crowd is None:
        return texts
    return [f"{text}|crowd" if crowd else text for text, crowd in zip(texts, is_crowd, strict=True)]


def _as_list(values: torch.Tensor | Sequence | None) -> list | None:
    if values is None:
        return None
    return values.tolist() if hasattr(values, "tolist") else list(values)


def _check_lengths(**given: Any) -> None:
    lengths = {name: len(value) for name, value in given.items() if value is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"overlay_instances: not equally many of each: {lengths}")


def _as_array(values: Any) -> Any:
    """Tensors, and the tensor of ``Boxes`` and the like, as arrays; anything else as it is."""
    tensor = getattr(values, "tensor", values)
    return tensor.numpy(force=True) if isinstance(tensor, torch.Tensor) else values


def _convert_boxes(boxes: Any) -> np.ndarray | None:
    if boxes is None:
        return None
    array = np.asarray(_as_array(boxes))
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim == 2 and array.shape[1] == 5:
        raise missing("Visualizer for rotated boxes")
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"overlay_instances: boxes have shape {array.shape}, not (N, 4)")
    return array
