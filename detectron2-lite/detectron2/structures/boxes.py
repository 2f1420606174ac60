"""Axis-aligned boxes: their formats, a class that holds some, and what is computed of pairs.

Coordinates are in pixels of whatever image the caller means; x to the right, y down, the origin at
the upper left corner of the upper left pixel.  A box is as wide as ``x2 - x1``.
"""

from enum import IntEnum, unique

import numpy as np
import torch
from torch import Tensor, device

from detectron2._missing import missing_names

__all__ = [
    "BoxMode",
    "Boxes",
    "pairwise_intersection",
    "pairwise_ioa",
    "pairwise_iou",
]

__getattr__ = missing_names(__name__)

_RawBoxes = list[float] | tuple[float, ...] | Tensor | np.ndarray


@unique
class BoxMode(IntEnum):
    """What the numbers of a box mean. An ``IntEnum``, so that JSON can hold it."""

    XYXY_ABS = 0
    """Left, top, right, bottom, in pixels."""
    XYWH_ABS = 1
    """Left, top, width, height, in pixels: COCO's."""
    XYXY_REL = 2
    """As XYXY_ABS, as fractions of the image's sides. Nothing converts it."""
    XYWH_REL = 3
    """As XYWH_ABS, as fractions of the image's sides. Nothing converts it."""
    XYWHA_ABS = 4
    """Centre x, centre y, width, height in pixels; angle in degrees, counter-clockwise."""

    @staticmethod
    def convert(box: _RawBoxes, from_mode: "BoxMode", to_mode: "BoxMode") -> _RawBoxes:
        """The same box in another format, in a container of the same type as came in.

        XYXY_ABS and XYWH_ABS convert into each other, XYWHA_ABS into XYXY_ABS (the box around the
        rotated one) and XYWH_ABS into XYWHA_ABS.  Lists of floats are computed in float32.

        Args:
            box: one box as a list or tuple, or (N, 4) or (N, 5) as an array or tensor.
            from_mode: what ``box`` is.
            to_mode: what is wanted; ``from_mode`` returns ``box`` itself.

        Raises:
            AssertionError: not 4 (rotated: 5) numbers to a box, or a relative mode.
            NotImplementedError: another pair of modes.
        """
        from_mode, to_mode = BoxMode(from_mode), BoxMode(to_mode)
        if from_mode == to_mode:
            return box
        is_single = isinstance(box, (list, tuple))
        rows = torch.as_tensor(box)[None] if is_single else torch.as_tensor(box)
        numbers = 5 if from_mode == BoxMode.XYWHA_ABS else 4
        assert rows.ndim == 2 and rows.shape[1] in (4, 5) and rows.shape[1] >= numbers, (
            f"box: expected {numbers} numbers or an (N, {numbers}) array or tensor for "
            f"{from_mode!r}, got {box if is_single else tuple(rows.shape)}"
        )
        rows = _convert_rows(rows, from_mode, to_mode)
        if is_single:
            return type(box)(rows[0].tolist())
        return rows.numpy() if isinstance(box, np.ndarray) else rows


def _convert_rows(rows: Tensor, from_mode: BoxMode, to_mode: BoxMode) -> Tensor:
    """``BoxMode.convert`` for an (N, 4) or (N, 5) tensor and two different modes."""
    modes = (from_mode, to_mode)
    assert not {BoxMode.XYXY_REL, BoxMode.XYWH_REL} & {*modes}, (
        f"Relative boxes cannot be converted: {from_mode!r} to {to_mode!r}"
    )
    if modes == (BoxMode.XYWH_ABS, BoxMode.XYXY_ABS):
        return torch.cat([rows[:, :2], rows[:, 2:4] + rows[:, :2], rows[:, 4:]], dim=1)
    if modes == (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS):
        return torch.cat([rows[:, :2], rows[:, 2:4] - rows[:, :2], rows[:, 4:]], dim=1)
    wide = rows.double()
    if modes == (BoxMode.XYWHA_ABS, BoxMode.XYXY_ABS):
        angle = torch.deg2rad(wide[:, 4:])
        cosine, sine = angle.cos().abs(), angle.sin().abs()
        # Width and height of the upright box around the rotated one.
        size = wide[:, 2:4] * cosine + wide[:, 2:4].flip(1) * sine
        return torch.cat([wide[:, :2] - size / 2, wide[:, :2] + size / 2], dim=1).to(rows.dtype)
    if modes == (BoxMode.XYWH_ABS, BoxMode.XYWHA_ABS):
        centre = wide[:, :2] + wide[:, 2:4] / 2
        return torch.cat([centre, wide[:, 2:], torch.zeros_like(wide[:, :1])], dim=1).to(rows.dtype)
    raise NotImplementedError(f"There is no conversion from {from_mode!r} to {to_mode!r}")


class Boxes:
    """N boxes as one float32 tensor, ``tensor`` of shape (N, 4): x1, y1, x2, y2."""

    def __init__(self, tensor: Tensor):
        """
        Args:
            tensor: (N, 4), or anything that ``torch.as_tensor`` takes; an empty one of any shape
                is no boxes. It becomes float32 and keeps its device.
        """
        if not isinstance(tensor, Tensor):
            tensor = torch.as_tensor(tensor, dtype=torch.float32, device=torch.device("cpu"))
        else:
            tensor = tensor.to(torch.float32)
        if tensor.numel() == 0:
            # Keeps its history, so that a loss over no boxes still has a gradient path.
            tensor = tensor.reshape((-1, 4))
        assert tensor.dim() == 2 and tensor.size(-1) == 4, (
            f"Boxes need an (N, 4) tensor, got {tensor.size()}"
        )
        self.tensor = tensor

    def clone(self) -> "Boxes":
        """Return a copy."""
        return Boxes(self.tensor.clone())

    def to(self, device: device) -> "Boxes":
        """The boxes on another device."""
        return Boxes(self.tensor.to(device=device))

    def area(self) -> Tensor:
        """(N,) areas, in square pixels."""
        size = self.tensor[:, 2:] - self.tensor[:, :2]
        return size[:, 0] * size[:, 1]

    def clip(self, box_size: tuple[int, int]) -> None:
        """Move all sides, in place, into an image of ``box_size`` (height, width).

        Raises:
            AssertionError: a coordinate is infinite or NaN.
        """
        assert torch.isfinite(self.tensor).all(), "Boxes hold an infinite or NaN coordinate"
        height, width = box_size
        x = self.tensor[:, 0::2].clamp(min=0, max=width)
        y = self.tensor[:, 1::2].clamp(min=0, max=height)
        self.tensor = torch.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), dim=1)

    def nonempty(self, threshold: float = 0.0) -> Tensor:
        """(N,) bool: width and height are both greater than ``threshold``."""
        size = self.tensor[:, 2:] - self.tensor[:, :2]
        return (size > threshold).all(dim=1)

    def __getitem__(self, item: Tensor) -> "Boxes":
        """The boxes that an index selects: an int (one box), a slice, a mask, a list of indices."""
        if isinstance(item, int):
            return Boxes(self.tensor[item].view(1, -1))
        picked = self.tensor[item]
        assert picked.dim() == 2, f"Boxes cannot be indexed with {item}: it selects no (M, 4) rows"
        return Boxes(picked)

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __repr__(self) -> str:
        return "Boxes(" + str(self.tensor) + ")"

    def inside_box(self, box_size: tuple[int, int], boundary_threshold: int = 0) -> Tensor:
        """(N,) bool: the box lies in an image of ``box_size`` (height, width).

        It may reach out of the image by less than ``boundary_threshold`` pixels to the right and
        bottom, and by up to that many to the left and top.
        """
        height, width = box_size
        left_top = (self.tensor[:, :2] >= -boundary_threshold).all(dim=1)
        right = self.tensor[:, 2] < width + boundary_threshold
        bottom = self.tensor[:, 3] < height + boundary_threshold
        return left_top & right & bottom

    def get_centers(self) -> Tensor:
        """(N, 2) centres, x and y."""
        return (self.tensor[:, :2] + self.tensor[:, 2:]) / 2

    def scale(self, scale_x: float, scale_y: float) -> None:
        """Multiply the coordinates, in place."""
        self.tensor[:, 0::2] *= scale_x
        self.tensor[:, 1::2] *= scale_y

    @classmethod  # and no staticmethod: TorchScript finds those on the class only
    def cat(cls, boxes_list: list["Boxes"]) -> "Boxes":
        """All boxes of a list or tuple in one, in that order; none for an empty list."""
        assert isinstance(boxes_list, (list, tuple)), "Boxes.cat takes a list of Boxes"
        if len(boxes_list) == 0:
            return Boxes(torch.empty(0))
        return Boxes(torch.cat([b.tensor for b in boxes_list], dim=0))

    @property
    def device(self) -> device:
        """Where the boxes are."""
        return self.tensor.device

    @torch.jit.unused
    def __iter__(self):  # TorchScript refuses the annotation Iterator[Tensor]
        """The boxes one by one, each a (4,) tensor."""
        yield from self.tensor


def pairwise_intersection(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) areas of the overlap of each of N boxes with each of M boxes, in square pixels."""
    first, second = boxes1.tensor[:, None], boxes2.tensor[None]
    size = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    size.clamp_(min=0)  # in place: (N, M, 2) is the largest thing here
    return size.prod(dim=2)


def pairwise_iou(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over union; zero where two boxes do not overlap, even empty ones."""
    overlap = pairwise_intersection(boxes1, boxes2)
    union = boxes1.area()[:, None] + boxes2.area() - overlap
    return torch.where(overlap > 0, overlap / union, overlap.new_zeros(1))


def pairwise_ioa(boxes1: Boxes, boxes2: Boxes) -> Tensor:
    """(N, M) intersection over the area of the second box; zero where two do not overlap."""
    overlap = pairwise_intersection(boxes1, boxes2)
    return torch.where(overlap > 0, overlap / boxes2.area(), overlap.new_zeros(1))
