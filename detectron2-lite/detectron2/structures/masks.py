"""Masks of the objects of one image: as polygons, as bitmaps, or relative to their boxes.

Coordinates are pixels of the image, x to the right, y down, the origin at the upper left corner of
the upper left pixel.  Polygons are drawn by pycocotools, so that masks cover the same pixels as in
COCO's own evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, device

from detectron2._missing import missing_names
from detectron2.layers.mask_ops import paste_masks_in_image
from detectron2.layers.roi_align import ROIAlign
from detectron2.structures.boxes import Boxes

__all__ = ["BitMasks", "PolygonMasks", "ROIMasks", "polygons_to_bitmask"]

__getattr__ = missing_names(__name__)

# Number of mask pixels that crop_and_resize converts to float32 at a time (64 MiB).
_PIXELS_AT_A_TIME = 1 << 24


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    """Area inside a polygon, in the square of its unit, by the shoelace formula.

    Args:
        x, y: (K,) coordinates of its corners, in either direction round.
    """
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2)


def polygons_to_bitmask(polygons: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The pixels that lie in any of some polygons.

    Args:
        polygons: each x, y, x, y, ..., in pixels; none gives an empty mask.
        height, width: size of the mask.

    Returns:
        (height, width) bool.

    Raises:
        ValueError: a polygon of an odd number of coordinates or of fewer than three corners.
    """
    from pycocotools import mask as mask_api

    if len(polygons) == 0:
        return np.zeros((height, width), dtype=bool)
    # As lists: pycocotools takes an array for boxes.
    corners = [polygon.tolist() for polygon in _checked_polygons(list(polygons))]
    union = mask_api.merge(mask_api.frPyObjects(corners, height, width))
    return mask_api.decode(union).astype(bool)


def rasterize_polygons_within_box(
    polygons: list[np.ndarray], box: np.ndarray, mask_size: int
) -> Tensor:
    """Draw the part of an object inside a box, in ``mask_size`` rows and columns.

    Args:
        polygons: the object's, each x, y, x, y, ..., in pixels of the image. Not changed.
        box: (4,) x1, y1, x2, y2, in pixels of the image. A side below 0.1 counts as 0.1.
        mask_size: rows and columns of the result.

    Returns:
        (mask_size, mask_size) bool.
    """
    left_top = box[:2]
    # In the box's precision (float32), as detectron2: in float64, a corner on the border of a cell
    # could fall on the other side of it.
    scale = np.array([mask_size / max(side, 0.1) for side in box[2:] - left_top])
    in_cells = [
        ((np.asarray(polygon, dtype=np.float64).reshape(-1, 2) - left_top) * scale).reshape(-1)
        for polygon in polygons
    ]
    return torch.from_numpy(polygons_to_bitmask(in_cells, mask_size, mask_size))


class BitMasks:
    """N masks of one image as one bool tensor, ``tensor`` of shape (N, H, W)."""

    def __init__(self, tensor: Tensor | np.ndarray):
        """
        Args:
            tensor: (N, H, W), or anything that ``torch.as_tensor`` takes; what is not zero is
                inside. It keeps its device.
        """
        if isinstance(tensor, Tensor):
            tensor = tensor.to(torch.bool)
        else:
            tensor = torch.as_tensor(tensor, dtype=torch.bool, device=torch.device("cpu"))
        assert tensor.dim() == 3, f"BitMasks need an (N, H, W) tensor, got {tuple(tensor.shape)}"
        self.image_size = (tensor.shape[1], tensor.shape[2])
        self.tensor = tensor

    @torch.jit.unused
    def to(self, *args: Any, **kwargs: Any) -> BitMasks:
        """The masks on another device. They stay bool, whatever dtype is asked for."""
        return BitMasks(self.tensor.to(*args, **kwargs))

    @property
    def device(self) -> device:
        """Where the masks are."""
        return self.tensor.device

    @torch.jit.unused
    def __getitem__(self, item: int | slice | Tensor) -> BitMasks:
        """The masks that an index selects: an int (one mask), a slice, a mask, some indices."""
        if isinstance(item, int):
            return BitMasks(self.tensor[item][None])
        picked = self.tensor[item]
        assert picked.dim() == 3, (
            f"BitMasks cannot be indexed with {item}: it selects no (M, H, W) masks"
        )
        return BitMasks(picked)

    @torch.jit.unused
    def __iter__(self) -> Iterator[Tensor]:
        """The masks one by one, each (H, W) bool."""
        yield from self.tensor

    @torch.jit.unused
    def __repr__(self) -> str:
        return f"BitMasks(num_instances={len(self)})"

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def nonempty(self) -> Tensor:
        """(N,) bool: the mask has a pixel."""
        return self.tensor.flatten(1).any(dim=1)

    @staticmethod
    def from_polygon_masks(
        polygon_masks: PolygonMasks | list[list[np.ndarray]], height: int, width: int
    ) -> BitMasks:
        """Draw polygons.

        Args:
            polygon_masks: N objects, in pixels.
            height, width: of the image.
        """
        objects = getattr(polygon_masks, "polygons", polygon_masks)
        masks = [polygons_to_bitmask(polygons, height, width) for polygons in objects]
        return BitMasks(np.array(masks, dtype=bool).reshape(-1, height, width))

    @staticmethod
    def from_roi_masks(roi_masks: ROIMasks, height: int, width: int) -> BitMasks:
        """Part of detectron2's interface, but without boxes there is no place to put the masks.

        Raises:
            TypeError: always (in detectron2, too).
        """
        raise TypeError(
            "BitMasks.from_roi_masks is given no boxes, so it cannot place the masks in the "
            "image; use roi_masks.to_bitmasks(boxes, height, width)"
        )

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Crop mask i to box i, averaged over the cells of a grid.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 in pixels, on any device.
            mask_size: rows and columns of the grid.

        Returns:
            (N, mask_size, mask_size) bool, on the masks' device: at least half inside.
        """
        assert len(boxes) == len(self), f"{len(self)} masks and {len(boxes)} boxes do not match"
        align = ROIAlign((mask_size, mask_size), 1.0, sampling_ratio=0, aligned=True)
        crops = [torch.zeros(0, mask_size, mask_size, dtype=torch.bool, device=self.device)]
        with torch.no_grad():
            corners = boxes.to(device=self.device, dtype=torch.float32)
            at_a_time = max(1, _PIXELS_AT_A_TIME // max(self.image_size[0] * self.image_size[1], 1))
            for masks, rois in zip(
                self.tensor.split(at_a_time), corners.split(at_a_time), strict=True
            ):
                index = torch.arange(len(rois), device=self.device, dtype=rois.dtype)
                cells = align(masks[:, None].float(), torch.cat([index[:, None], rois], dim=1))
                crops.append(cells[:, 0] >= 0.5)
        return torch.cat(crops)

    def get_bounding_boxes(self) -> Boxes:
        """The smallest box around each mask; zeros for an empty mask."""
        is_column, is_row = self.tensor.any(dim=1), self.tensor.any(dim=2)
        sides = [*_extent(is_column), *_extent(is_row)]
        x1, x2, y1, y2 = (side.to(torch.float32) for side in sides)
        boxes = torch.stack([x1, y1, x2, y2], dim=1)
        return Boxes(boxes * self.nonempty()[:, None])

    @staticmethod
    def cat(bitmasks_list: list[BitMasks]) -> BitMasks:
        """All masks of a list or tuple in one, in that order; at least one, of one image size."""
        assert isinstance(bitmasks_list, (list, tuple)), "BitMasks.cat takes a list of BitMasks"
        assert len(bitmasks_list) > 0, "BitMasks.cat needs at least one BitMasks"
        assert all(isinstance(masks, BitMasks) for masks in bitmasks_list), (
            "BitMasks.cat takes BitMasks only"
        )
        return BitMasks(torch.cat([masks.tensor for masks in bitmasks_list], dim=0))


def _extent(is_set: Tensor) -> tuple[Tensor, Tensor]:
    """First set index of each row of (N, L) bool, and one behind the last; 0 and L if none is."""
    # argmax returns the first of several largest values.
    first = is_set.int().argmax(dim=1)
    last = is_set.shape[1] - is_set.flip(1).int().argmax(dim=1)
    return first, last


class PolygonMasks:
    """N masks of one image, each as polygons: ``polygons[i][j]`` is x, y, x, y, ... in pixels.

    An object is what lies in any of its polygons.  They are arrays, float64, on the CPU.
    """

    def __init__(self, polygons: list[list[Tensor | np.ndarray]]):
        """
        Args:
            polygons: for each object a list of flat arrays, tensors or lists of numbers. They are
                copied. An object without polygons is empty.

        Raises:
            ValueError: no list of lists, or a polygon of an odd number of coordinates or of fewer
                than three corners.
        """
        if not isinstance(polygons, list):
            raise ValueError(
                "PolygonMasks: expected a list with a list of polygons per object, "
                f"got a {type(polygons).__name__}"
            )
        self.polygons: list[list[np.ndarray]] = [_checked_polygons(one) for one in polygons]

    def to(self, *args: Any, **kwargs: Any) -> PolygonMasks:
        """Return the object itself: polygons stay on the CPU."""
        return self

    @property
    def device(self) -> device:
        """The CPU."""
        return torch.device("cpu")

    def get_bounding_boxes(self) -> Boxes:
        """The smallest box around each object.

        One without polygons has none: x1 and y1 are infinite and x2 and y2 are zero, so that
        ``Boxes.nonempty`` is false.
        """
        boxes = torch.tensor([torch.inf, torch.inf, 0, 0]).repeat(len(self), 1)
        for box, polygons in zip(boxes, self.polygons, strict=True):
            if polygons:
                points = torch.from_numpy(np.concatenate(polygons)).float().reshape(-1, 2)
                box[:2] = points.amin(dim=0)
                # As in detectron2, never left of or above the image.
                box[2:] = points.amax(dim=0).clamp(min=0)
        return Boxes(boxes)

    def nonempty(self) -> Tensor:
        """(N,) bool: the object has a polygon."""
        return torch.tensor([len(polygons) > 0 for polygons in self.polygons], dtype=torch.bool)

    def __getitem__(self, item: int | slice | list[int] | Tensor) -> PolygonMasks:
        """The objects that an index selects: an int (one object), a slice, a mask, some indices.

        Raises:
            IndexError: out of range, a mask of another length, or something else than an index.
        """
        if isinstance(item, Tensor):
            item = item.cpu().numpy()
        picked = np.arange(len(self))[item]
        if picked.ndim > 1:
            raise IndexError(f"PolygonMasks index: expected one dimension, got {picked.ndim}")
        return PolygonMasks([self.polygons[i] for i in np.atleast_1d(picked)])

    def __iter__(self) -> Iterator[list[np.ndarray]]:
        """The polygons of one object after the other."""
        return iter(self.polygons)

    def __repr__(self) -> str:
        return f"PolygonMasks(num_instances={len(self)})"

    def __len__(self) -> int:
        return len(self.polygons)

    def crop_and_resize(self, boxes: Tensor, mask_size: int) -> Tensor:
        """Draw the part of object i inside box i into a grid.

        Args:
            boxes: (N, 4) x1, y1, x2, y2 in pixels.
            mask_size: rows and columns of the grid.

        Returns:
            (N, mask_size, mask_size) bool, on the device of ``boxes``.
        """
        assert len(boxes) == len(self), f"{len(self)} masks and {len(boxes)} boxes do not match"
        # Polygons are drawn on the CPU: copy all boxes at once, not one by one.
        corners = [box.numpy() for box in boxes.to(torch.device("cpu"))]
        crops = [torch.zeros(0, mask_size, mask_size, dtype=torch.bool)]
        for polygons, box in zip(self.polygons, corners, strict=True):
            crops.append(rasterize_polygons_within_box(polygons, box, mask_size)[None])
        return torch.cat(crops).to(boxes.device)

    def area(self) -> Tensor:
        """(N,) float64 areas in square pixels, the sum over an object's polygons.

        What two polygons of an object share counts twice.
        """
        areas = [
            sum(polygon_area(polygon[0::2], polygon[1::2]) for polygon in polygons)
            for polygons in self.polygons
        ]
        return torch.tensor(areas, dtype=torch.float64)

    @staticmethod
    def cat(polymasks_list: list[PolygonMasks]) -> PolygonMasks:
        """All objects of a list or tuple in one, in that order; at least one."""
        assert isinstance(polymasks_list, (list, tuple)), (
            "PolygonMasks.cat takes a list of PolygonMasks"
        )
        assert len(polymasks_list) > 0, "PolygonMasks.cat needs at least one PolygonMasks"
        assert all(isinstance(masks, PolygonMasks) for masks in polymasks_list), (
            "PolygonMasks.cat takes PolygonMasks only"
        )
        return PolygonMasks([polygons for masks in polymasks_list for polygons in masks])


def _checked_polygons(polygons: Sequence[Tensor | np.ndarray]) -> list[np.ndarray]:
    if not isinstance(polygons, list):
        raise ValueError(
            f"PolygonMasks: expected a list of polygons per object, got a {type(polygons).__name__}"
        )
    # Always copies: transforms write into arrays of coordinates.
    arrays = [np.array(p.cpu() if isinstance(p, Tensor) else p, dtype=np.float64) for p in polygons]
    for array in arrays:
        if array.ndim != 1 or len(array) % 2 or len(array) < 6:
            raise ValueError(
                "A polygon must be x, y, x, y, ... of three corners or more, but one is an array "
                f"of shape {array.shape}"
            )
    return arrays


class ROIMasks:
    """N square masks as a mask head predicts them, each filling the box of its object.

    ``tensor`` is (N, M, M) float, the probability of each cell of the box to be inside.
    """

    def __init__(self, tensor: Tensor):
        """
        Args:
            tensor: (N, M, M) float.

        Raises:
            ValueError: another number of dimensions.
        """
        if tensor.dim() != 3:
            raise ValueError(f"ROIMasks: expected an (N, M, M) tensor, got {tuple(tensor.shape)}")
        self.tensor = tensor

    def to(self, device: device) -> ROIMasks:
        """The masks on another device."""
        return ROIMasks(self.tensor.to(device))

    @property
    def device(self) -> device:
        """Where the masks are."""
        return self.tensor.device

    def __len__(self) -> int:
        return self.tensor.shape[0]

    def __getitem__(self, item: slice | Tensor) -> ROIMasks:
        """The masks that a slice, a mask or some indices select.

        Raises:
            ValueError: the index does not select (K, M, M).
        """
        picked = self.tensor[item]
        if picked.dim() != 3:
            raise ValueError(f"ROIMasks cannot be indexed with {item}: it selects no (K, M, M)")
        return ROIMasks(picked)

    @torch.jit.unused
    def __repr__(self) -> str:
        return f"ROIMasks(num_instances={len(self)})"

    @torch.jit.unused
    def to_bitmasks(
        self, boxes: Boxes, height: int, width: int, threshold: float = 0.5
    ) -> BitMasks:
        """Put the masks into the image.

        Args:
            boxes: N boxes, in pixels.
            height, width: of the image.
            threshold: what is at least this probable is inside.
        """
        return BitMasks(paste_masks_in_image(self.tensor, boxes, (height, width), threshold))
