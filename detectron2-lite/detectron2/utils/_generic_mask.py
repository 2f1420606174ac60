"""One mask, in whichever form it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class GenericMask:
    """A mask given as polygons, array or run lengths, to be had as polygons or array.

    Args:
        mask_or_polygons: polygons ``[[x0, y0, x1, y1, ...], ...]``, an (H, W) array that is true
            inside, a COCO run-length dict, or a ``GenericMask``.
        height, width: of the image, in pixels.

    Raises:
        ValueError: it is none of these, or an array of another size.
    """

    def __init__(self, mask_or_polygons: Any, height: int, width: int) -> None:
        self.height = height
        self.width = width
        self._mask: np.ndarray | None = None
        self._polygons: list[np.ndarray] | None = None
        self._has_holes: bool | None = None
        if isinstance(mask_or_polygons, dict):
            self._mask = self._from_run_lengths(mask_or_polygons)
        elif isinstance(mask_or_polygons, (list, tuple)):
            self._polygons = [np.asarray(polygon).reshape(-1) for polygon in mask_or_polygons]
            self._has_holes = False
        elif isinstance(mask_or_polygons, np.ndarray):
            self._mask = mask_or_polygons.astype(np.uint8)
        else:
            raise ValueError(f"GenericMask: cannot use an object of type {type(mask_or_polygons)}")
        if self._mask is not None and self._mask.shape != (height, width):
            raise ValueError(
                f"GenericMask: the mask is of size {self._mask.shape}, "
                f"the image of size {(height, width)}"
            )

    @property
    def mask(self) -> np.ndarray:
        """(H, W) uint8, 1 inside."""
        if self._mask is None:
            self._mask = self.polygons_to_mask(self.polygons)
        return self._mask

    @property
    def polygons(self) -> list[np.ndarray]:
        """Outlines ``[x0, y0, x1, y1, ...]``, those of holes included."""
        if self._polygons is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._polygons

    @property
    def has_holes(self) -> bool:
        """Whether the mask encloses something that does not belong to it."""
        if self._has_holes is None:
            self._polygons, self._has_holes = self.mask_to_polygons(self.mask)
        return self._has_holes

    def mask_to_polygons(self, mask: np.ndarray) -> tuple[list[np.ndarray], bool]:
        """Outlines of an (H, W) array, and whether some of them are those of holes."""
        import cv2

        contours, hierarchy = cv2.findContours(
            np.ascontiguousarray(mask, dtype=np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE
        )
        if hierarchy is None:
            return [], False
        # The contours run through the middles of pixels, which lie half a pixel further in ours.
        outlines = [contour.reshape(-1).astype(np.float32) + 0.5 for contour in contours]
        parents = hierarchy.reshape(-1, 4)[:, 3]
        # Fewer than three points have no inside.
        return [outline for outline in outlines if len(outline) >= 6], bool((parents >= 0).any())

    def polygons_to_mask(self, polygons: Sequence[np.ndarray]) -> np.ndarray:
        """(H, W) uint8, 1 inside any of the polygons."""
        from pycocotools import mask as coco_mask

        if len(polygons) == 0:
            return np.zeros((self.height, self.width), dtype=np.uint8)
        points = [np.asarray(polygon, dtype=np.float64).tolist() for polygon in polygons]
        parts = coco_mask.frPyObjects(points, self.height, self.width)
        return coco_mask.decode(coco_mask.merge(parts))

    def area(self) -> int:
        """Pixels inside."""
        return int(self.mask.sum())

    def bbox(self) -> np.ndarray:
        """``x0, y0, x1, y1`` of the smallest box around it, in pixels; zeros if it is empty."""
        columns = np.flatnonzero(self.mask.any(axis=0))
        rows = np.flatnonzero(self.mask.any(axis=1))
        if len(columns) == 0:
            return np.zeros(4)
        return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)

    def _from_run_lengths(self, rle: dict) -> np.ndarray:
        from pycocotools import mask as coco_mask

        if isinstance(rle["counts"], list):  # not compressed
            rle = coco_mask.frPyObjects(rle, *rle["size"])
        return coco_mask.decode(rle)
