"""The transforms that fvcore lacks: resizing with Pillow, and changes of color.

Coordinates are (x, y) in pixels, (0, 0) being the upper left corner of the upper left pixel; an
image of H rows and W columns covers [0, W] x [0, H].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fvcore.transforms.transform import HFlipTransform, NoOpTransform, Transform
from PIL import Image

from detectron2._missing import missing, missing_names

__all__ = ["ColorTransform", "PILColorTransform", "ResizeTransform"]

__getattr__ = missing_names(__name__)

_TORCH_MODES = {
    Image.Resampling.NEAREST: "nearest",
    Image.Resampling.BILINEAR: "bilinear",
    Image.Resampling.BICUBIC: "bicubic",
}


class ResizeTransform(Transform):
    """Resize to a given size: 8-bit images with Pillow, which smooths when it makes them smaller,
    all others with torch, which does not.
    """

    def __init__(self, h: int, w: int, new_h: int, new_w: int, interp: int | None = None) -> None:
        """
        Args:
            h, w: rows and columns of the image that will come.
            new_h, new_w: rows and columns of the result.
            interp: one of ``PIL.Image.Resampling``; bilinear if None.
        """
        super().__init__()
        self.h, self.w = h, w
        self.new_h, self.new_w = new_h, new_w
        self.interp = Image.Resampling.BILINEAR.value if interp is None else interp

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image.

        Args:
            img: (h, w), (h, w, C) or, if not 8-bit, (h, w, ., .); uint8 with up to 4 channels or
                floating point.
            interp: as in the constructor, for this image only.

        Returns:
            The same type and layout, (new_h, new_w, ...).

        Raises:
            ValueError: an image of another size, or a floating-point one with an interpolation
                other than nearest, bilinear and bicubic.
        """
        if img.shape[:2] != (self.h, self.w) or img.ndim > 4:
            raise ValueError(
                f"img: expected ({self.h}, {self.w}) or ({self.h}, {self.w}, channels), "
                f"got {img.shape}"
            )
        method = Image.Resampling(self.interp if interp is None else interp)
        if img.dtype == np.uint8:
            return self._resize_uint8(img, method)
        if method not in _TORCH_MODES:
            raise ValueError(f"interp: {method.name} is only there for 8-bit images")
        flat = torch.from_numpy(np.ascontiguousarray(img)).reshape(self.h, self.w, -1)
        resized = F.interpolate(
            flat.permute(2, 0, 1)[None],
            size=(self.new_h, self.new_w),
            mode=_TORCH_MODES[method],
            align_corners=None if method == Image.Resampling.NEAREST else False,
        )
        return resized[0].permute(1, 2, 0).reshape(self.new_h, self.new_w, *img.shape[2:]).numpy()

    def _resize_uint8(self, img: np.ndarray, method: Image.Resampling) -> np.ndarray:
        # Pillow has no (h, w, 1) images.
        picture = Image.fromarray(img[:, :, 0] if img.shape[2:] == (1,) else img)
        resized = np.asarray(picture.resize((self.new_w, self.new_h), method))
        return resized[:, :, None] if img.shape[2:] == (1,) else resized

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Scale (N, 2) coordinates, in place; integers are rounded down, as detectron2 does."""
        coords[:, 0] = coords[:, 0] * (self.new_w / self.w)
        coords[:, 1] = coords[:, 1] * (self.new_h / self.h)
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize a map of labels; no label appears that was not there before."""
        return self.apply_image(segmentation, interp=Image.Resampling.NEAREST)

    def inverse(self) -> Transform:
        """The transform back to (h, w)."""
        return ResizeTransform(self.new_h, self.new_w, self.h, self.w, self.interp)


def _refuse_rotated_boxes(transform: Transform, rotated_boxes: np.ndarray) -> np.ndarray:
    raise missing(f"{type(transform).__name__}.apply_rotated_box (rotated boxes)")


ResizeTransform.register_type("rotated_box", _refuse_rotated_boxes)
HFlipTransform.register_type("rotated_box", _refuse_rotated_boxes)


class ColorTransform(Transform):
    """Change the values of the pixels by a function, and nothing else."""

    def __init__(self, op: Callable[[Any], Any]) -> None:
        """
        Args:
            op: takes the image as an array and returns the new one, of the same size.

        Raises:
            ValueError: ``op`` cannot be called.
        """
        if not callable(op):
            raise ValueError(f"op: expected a function from image to image, got {op!r}")
        super().__init__()
        self.op = op

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op`` of the image."""
        return self.op(img)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """The coordinates as they are."""
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """The labels as they are."""
        return segmentation

    def inverse(self) -> Transform:
        """Nothing moved, so nothing has to move back."""
        return NoOpTransform()


class PILColorTransform(ColorTransform):
    """The same with a function from Pillow image to Pillow image (``PIL.ImageOps`` has some)."""

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """``op`` of an 8-bit image, (H, W) or (H, W, C)."""
        return np.asarray(self.op(Image.fromarray(img)))
