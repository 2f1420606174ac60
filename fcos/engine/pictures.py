"""Show what a training learns from: its images, as the model gets them, and their targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from detectron2.engine import HookBase
from fcos.engine.accumulation import padded_size
from fcos.engine.loop import TrainingLoop
from fcos.modeling import FCOS
from fcos.modeling.fcos import FCOSTargets, feature_sizes
from fcos.predict import bgr_of_sample, draw_sample, side_by_side

__all__ = ["TrainingPictures", "positive_locations"]

_MOST_IMAGES = 4  # of a batch
# Blue, green, red of the levels, finest first; they can be told apart with any colour vision.
_COLORS = [
    (178, 114, 0),
    (0, 159, 230),
    (115, 158, 0),
    (167, 121, 204),
    (233, 180, 86),
    (0, 94, 213),
]


class TrainingPictures(HookBase):
    """Draw images of every ``period``-th batch, beside them the locations that learn an object.

    Register it with the :class:`fcos.engine.loop.TrainingLoop`, in the main process. No state of a
    random generator changes. A model without FCOS has no locations: then only the ground truth is
    drawn.

    Args:
        period: iterations between two batches that are drawn.
        class_names: in the order of the outputs.
        pixel_format: of the images, "BGR" or "RGB".
        put: each of these gets the name of a picture and (H, W, 3) uint8, red, green, blue.
    """

    trainer: TrainingLoop

    def __init__(
        self,
        period: int,
        class_names: Sequence[str],
        pixel_format: str,
        put: Sequence[Callable[[str, np.ndarray], Any]],
    ) -> None:
        self.period = period
        self.class_names = class_names
        self.pixel_format = pixel_format
        self.put = put

    def after_backward(self) -> None:
        if self.trainer.iter % self.period:
            return
        for number, sample in enumerate(self.trainer.batch[:_MOST_IMAGES]):
            picture = np.ascontiguousarray(self._draw(sample)[:, :, ::-1])
            for put in self.put:
                put(f"training/image_{number}", picture)

    def _draw(self, sample: dict[str, Any]) -> np.ndarray:
        truth = draw_sample(sample, self.pixel_format, self.class_names)
        model: Any = getattr(self.trainer.model, "module", self.trainer.model)
        fcos = getattr(model, "proposal_generator", None)
        if not isinstance(fcos, FCOS):
            return truth
        size = padded_size(model, self.trainer.batch)
        points = positive_locations(fcos.targets, size, sample["instances"])
        image = bgr_of_sample(sample, self.pixel_format)
        locations = _draw_points(image, len(truth) // len(image), points, fcos)
        counts = ", ".join(f"{n} {len(p)}" for n, p in zip(fcos.in_features, points, strict=True))
        return side_by_side(truth, locations, "ground truth", f"positive locations: {counts}")


def positive_locations(targets: FCOSTargets, size: tuple[int, int], truth: Any) -> list[Tensor]:
    """Find the locations of one image that learn an object.

    Args:
        targets: the settings of the assignment.
        size: height and width of the padded batch.
        truth: of the image, with ``gt_boxes`` and ``gt_classes``.

    Returns:
        Per level (n, 2), x and y in pixels of the network input.
    """
    sizes = feature_sizes(size, targets.strides)
    labels, _ = targets.fcos_target_single_image(sizes, truth)
    points = targets.get_points(sizes)
    of_levels = labels.split([len(level) for level in points])
    return [
        level[of_level < targets.num_classes]
        for level, of_level in zip(points, of_levels, strict=True)
    ]


def _draw_points(image: np.ndarray, scale: int, points: Sequence[Tensor], fcos: FCOS) -> np.ndarray:
    """Draw locations on a dark copy of an image, larger ones on coarser levels, with a legend."""
    import cv2

    white = (255, 255, 255)
    size = image.shape[1] * scale, image.shape[0] * scale
    canvas = cv2.resize(image // 2, size, interpolation=cv2.INTER_NEAREST)
    for number in reversed(range(len(points))):  # the finest on top
        color = _COLORS[number % len(_COLORS)]
        radius = min(3 + 2 * number, max(2, fcos.strides[number] * scale // 3))
        for x, y in points[number].tolist():
            center = round((x + 0.5) * scale), round((y + 0.5) * scale)
            cv2.circle(canvas, center, radius, color, -1, cv2.LINE_AA)
            cv2.circle(canvas, center, radius, white, 1, cv2.LINE_AA)
    for number, name in enumerate(fcos.in_features):
        if len(points[number]):
            y = 14 + 18 * sum(len(level) > 0 for level in points[:number])
            color = _COLORS[number % len(_COLORS)]
            cv2.circle(canvas, (12, y), 6, color, -1, cv2.LINE_AA)
            cv2.putText(canvas, name, (24, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, (0, 0, 0), 3)
            cv2.putText(canvas, name, (24, y + 4), cv2.FONT_HERSHEY_SIMPLEX, 0.45, white, 1)
    return canvas
