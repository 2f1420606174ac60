"""How a network says one box relative to another, and back."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["Box2BoxTransform", "Box2BoxTransformLinear"]

__getattr__ = missing_names(__name__)

# Side of a box of 16 pixels becomes 1000 pixels at most: exp does not overflow.
_SCALE_CLAMP = math.log(1000.0 / 16)


class Box2BoxTransform:
    """Shift of the centre in sides of the source box, and logarithm of the change of the sides.

    Source: arXiv:1311.2524, appendix C; arXiv:1506.01497, Eq. (2).
    """

    def __init__(
        self, weights: tuple[float, float, float, float], scale_clamp: float = _SCALE_CLAMP
    ):
        """
        Args:
            weights: the four deltas (x, y, width, height) are multiplied by them, to be about as
                large as other targets of the network.
            scale_clamp: largest logarithm of a change of a side, when deltas are applied.
        """
        self.weights = weights
        self.scale_clamp = scale_clamp

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """What :meth:`apply_deltas` needs to turn ``src_boxes`` into ``target_boxes``.

        Args:
            src_boxes: (N, 4) x1, y1, x2, y2, anchors or proposals. With width and height.
            target_boxes: (N, 4), ground truth. Deltas of one without width are minus infinity.

        Returns:
            (N, 4) deltas.
        """
        assert isinstance(src_boxes, Tensor), type(src_boxes)
        assert isinstance(target_boxes, Tensor), type(target_boxes)
        center, size = _center_and_size(src_boxes)
        target_center, target_size = _center_and_size(target_boxes)
        x, y, width, height = self.weights
        shift = (target_center - center) * center.new_tensor((x, y)) / size
        scale = torch.log(target_size / size) * center.new_tensor((width, height))
        assert (size > 0).all(), "Box2BoxTransform: a source box has no width or no height"
        return torch.cat([shift, scale], dim=1)

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Move and scale boxes.

        Args:
            deltas: (N, K * 4), K times four for each box (one for each class, say).
            boxes: (N, 4) x1, y1, x2, y2.

        Returns:
            (N, K * 4) boxes in float32.
        """
        deltas = deltas.float()
        center, size = (each[:, None] for each in _center_and_size(boxes.to(deltas.dtype)))
        each = _fours(deltas) / deltas.new_tensor(self.weights)
        center = each[..., :2] * size + center
        half = torch.exp(each[..., 2:].clamp(max=self.scale_clamp)) * size * 0.5
        return torch.cat([center - half, center + half], dim=-1).view(deltas.shape)


class Box2BoxTransformLinear:
    """Distances from the centre of the source box to the four sides of the target box.

    Source: arXiv:1904.01355, Eq. (1), with an anchor in place of a location.
    """

    def __init__(self, normalize_by_size: bool = True):
        """
        Args:
            normalize_by_size: count distances in sides of the source box, not in pixels.
        """
        self.normalize_by_size = normalize_by_size

    def get_deltas(self, src_boxes: Tensor, target_boxes: Tensor) -> Tensor:
        """What :meth:`apply_deltas` needs to turn ``src_boxes`` into ``target_boxes``.

        Args:
            src_boxes: (N, 4) x1, y1, x2, y2, squares.
            target_boxes: (N, 4); with the centre of its source box inside, else some distance is
                negative and does not come back.

        Returns:
            (N, 4) left, top, right, bottom.
        """
        assert isinstance(src_boxes, Tensor), type(src_boxes)
        assert isinstance(target_boxes, Tensor), type(target_boxes)
        center, size = _middle_and_size(src_boxes)
        deltas = torch.cat([center - target_boxes[:, :2], target_boxes[:, 2:] - center], dim=1)
        return deltas / size.repeat(1, 2) if self.normalize_by_size else deltas

    def apply_deltas(self, deltas: Tensor, boxes: Tensor) -> Tensor:
        """Boxes around the centres of others.

        Args:
            deltas: (N, K * 4); a negative distance counts as zero.
            boxes: (N, 4) x1, y1, x2, y2.

        Returns:
            (N, K * 4) boxes, of the type of ``deltas``.
        """
        center, size = (each[:, None] for each in _middle_and_size(boxes.to(deltas.dtype)))
        each = _fours(deltas).relu()
        if self.normalize_by_size:
            each = each * size.repeat(1, 1, 2)
        moved = torch.cat([center - each[..., :2], center + each[..., 2:]], dim=-1)
        return moved.view(deltas.shape)


def _fours(deltas: Tensor) -> Tensor:
    """(N, K, 4), also of no boxes, where a view with -1 has no meaning."""
    return deltas.reshape(deltas.shape[0], deltas.shape[1] // 4, 4)


def _center_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    size = boxes[:, 2:] - boxes[:, :2]
    return boxes[:, :2] + 0.5 * size, size


def _middle_and_size(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return 0.5 * (boxes[:, :2] + boxes[:, 2:]), boxes[:, 2:] - boxes[:, :2]
