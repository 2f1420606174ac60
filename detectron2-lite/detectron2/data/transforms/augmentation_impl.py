"""The augmentations: resizing, flipping, cropping and changes of color.

The number, kind and order of random draws of each are part of its behaviour: after the same
``numpy.random.seed`` they give the transforms that detectron2's give.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    HFlipTransform,
    NoOpTransform,
    Transform,
    VFlipTransform,
)
from PIL import Image

from detectron2._missing import missing_names
from detectron2.data.transforms.augmentation import Augmentation, _as_augmentation
from detectron2.data.transforms.transform import ResizeTransform

__all__ = [
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomSaturation",
    "Resize",
    "ResizeShortestEdge",
]

__getattr__ = missing_names(__name__)

_BILINEAR = Image.Resampling.BILINEAR.value


class RandomApply(Augmentation):
    """Apply an augmentation or a transform, or else leave the input as it is."""

    def __init__(self, tfm_or_aug: Augmentation | Transform, prob: float = 0.5) -> None:
        """
        Args:
            tfm_or_aug: what to apply.
            prob: how often, in [0, 1].

        Raises:
            AssertionError: ``prob`` outside [0, 1].
        """
        if not 0.0 <= prob <= 1.0:
            raise AssertionError(f"prob: expected a probability between 0 and 1, got {prob}")
        super().__init__()
        self.aug = _as_augmentation(tfm_or_aug)
        self.prob = prob

    def get_transform(self, *args: Any) -> Transform:
        """The transform of the wrapped augmentation, or none."""
        return self.aug.get_transform(*args) if self._draw() else NoOpTransform()

    def __call__(self, aug_input: Any) -> Transform:
        """As ``Augmentation.__call__``; the wrapped augmentation takes what it needs."""
        return self.aug(aug_input) if self._draw() else NoOpTransform()

    def _draw(self) -> bool:
        return bool(self._rand_range() < self.prob)


class RandomFlip(Augmentation):
    """Mirror the image left to right, or upside down, or leave it."""

    def __init__(
        self, prob: float = 0.5, *, horizontal: bool = True, vertical: bool = False
    ) -> None:
        """
        Args:
            prob: how often.
            horizontal: left to right.
            vertical: upside down. Just one of the two must be True.

        Raises:
            ValueError: both or neither.
        """
        if horizontal == vertical:
            raise ValueError(
                "RandomFlip flips either horizontally or vertically: "
                f"got horizontal={horizontal}, vertical={vertical}; use two flips for both"
            )
        super().__init__()
        self.prob, self.horizontal, self.vertical = prob, horizontal, vertical

    def get_transform(self, image: np.ndarray) -> Transform:
        """The flip, or a transform that does nothing."""
        height, width = image.shape[:2]
        if self._rand_range() >= self.prob:
            return NoOpTransform()
        return HFlipTransform(width) if self.horizontal else VFlipTransform(height)


class Resize(Augmentation):
    """Resize to one size, whatever the shape of the image."""

    def __init__(self, shape: int | Sequence[int], interp: int = _BILINEAR) -> None:
        """
        Args:
            shape: (height, width) in pixels, or one number for both.
            interp: one of ``PIL.Image.Resampling``.
        """
        super().__init__()
        self.shape = (shape, shape) if isinstance(shape, int) else tuple(shape)
        self.interp = interp

    def get_transform(self, image: np.ndarray) -> Transform:
        """The resizing of this image."""
        height, width = image.shape[:2]
        new_height, new_width = self.shape
        return ResizeTransform(height, width, new_height, new_width, self.interp)


class ResizeShortestEdge(Augmentation):
    """Resize so that the shorter side has a given (or drawn) length, keeping the shape.

    If the longer side would then exceed ``max_size``, it gets that length and the shorter one
    less.
    """

    # TorchScript compiles the class that get_output_shape is called on, except what is "unused".
    @torch.jit.unused
    def __init__(
        self,
        short_edge_length: int | Sequence[int],
        max_size: int = sys.maxsize,
        sample_style: str = "range",
        interp: int = _BILINEAR,
    ) -> None:
        """
        Args:
            short_edge_length: pixels. One length; or with "range" the smallest and the largest,
                both included; or with "choice" all that can be drawn. 0 leaves images as they are.
            max_size: most pixels of the longer side.
            sample_style: "range" or "choice".
            interp: one of ``PIL.Image.Resampling``.

        Raises:
            AssertionError: another ``sample_style``, or a range that is not two numbers.
        """
        if sample_style not in ("range", "choice"):
            raise AssertionError(
                f"sample_style: expected 'range' or 'choice', got {sample_style!r}"
            )
        if isinstance(short_edge_length, int):
            short_edge_length = (short_edge_length, short_edge_length)
        if sample_style == "range" and len(short_edge_length) != 2:
            raise AssertionError(
                "short_edge_length: sample style 'range' draws between two lengths, "
                f"got {short_edge_length}"
            )
        super().__init__()
        self.short_edge_length = short_edge_length
        self.max_size = max_size
        self.sample_style = sample_style
        self.interp = interp

    @torch.jit.unused
    def get_transform(self, image: Any) -> Any:
        """Draw a length and make the resizing of this image to it."""
        if self.sample_style == "range":
            low, high = self.short_edge_length
            length = int(np.random.randint(low, high + 1))
        else:
            length = int(np.random.choice(self.short_edge_length))
        if length == 0:
            return NoOpTransform()
        height, width = image.shape[:2]
        shape = self.get_output_shape(height, width, length, self.max_size)
        return ResizeTransform(height, width, *shape, self.interp)

    @staticmethod
    def get_output_shape(
        oldh: int, oldw: int, short_edge_length: int, max_size: int
    ) -> tuple[int, int]:
        """The size of an image after resizing.

        Args:
            oldh, oldw: its rows and columns before.
            short_edge_length, max_size: as in the constructor, pixels.

        Returns:
            Rows and columns, rounded to the nearest (a half goes up).
        """
        # Scripted models call this, so it is written in what TorchScript understands.
        scale = short_edge_length * 1.0 / min(oldh, oldw)
        newh = scale * oldh
        neww = scale * oldw
        if oldh < oldw:
            newh = short_edge_length * 1.0
        else:
            neww = short_edge_length * 1.0
        longest = max(newh, neww)
        if longest > max_size:
            shrink = max_size * 1.0 / longest
            newh = newh * shrink
            neww = neww * shrink
        return int(newh + 0.5), int(neww + 0.5)


class RandomCrop(Augmentation):
    """Cut out a rectangle at a random place."""

    def __init__(self, crop_type: str, crop_size: Sequence[float]) -> None:
        """
        Args:
            crop_type: what the two numbers of ``crop_size`` are.

                - "relative": height and width, as parts of the image's, in (0, 1].
                - "relative_range": the least such parts; both are drawn from there up to 1.
                - "absolute": height and width in pixels, at most the image's.
                - "absolute_range": least and most pixels of a side, for both sides.
            crop_size: see above.

        Raises:
            AssertionError: another ``crop_type``.
        """
        kinds = ("relative", "relative_range", "absolute", "absolute_range")
        if crop_type not in kinds:
            raise AssertionError(f"crop_type: expected one of {kinds}, got {crop_type!r}")
        super().__init__()
        self.crop_type, self.crop_size = crop_type, crop_size

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the size if it is random, then the place."""
        height, width = image.shape[:2]
        crop_h, crop_w = self.get_crop_size((height, width))
        if crop_h > height or crop_w > width:
            raise AssertionError(
                f"{self} would cut {crop_h} x {crop_w} pixels out of {height} x {width}"
            )
        top = np.random.randint(height - crop_h + 1)
        left = np.random.randint(width - crop_w + 1)
        return CropTransform(left, top, crop_w, crop_h)

    def get_crop_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of a crop out of an image of ``image_size`` (rows, columns)."""
        height, width = image_size
        if self.crop_type == "absolute":
            return min(int(self.crop_size[0]), height), min(int(self.crop_size[1]), width)
        if self.crop_type == "absolute_range":
            least, most = (int(pixels) for pixels in self.crop_size)
            if least > most:
                raise AssertionError(f"crop_size: {self} has its least size first")
            crop_h = np.random.randint(min(height, least), min(height, most) + 1)
            crop_w = np.random.randint(min(width, least), min(width, most) + 1)
            return crop_h, crop_w
        parts: Any = self.crop_size
        if self.crop_type == "relative_range":
            # In float32, as in detectron2: a half pixel may be rounded the other way otherwise.
            parts = np.asarray(parts, dtype=np.float32)
            parts = parts + np.random.rand(2) * (1 - parts)
        return int(height * parts[0] + 0.5), int(width * parts[1] + 0.5)


class _RandomBlend(Augmentation):
    """Move all values along the line from an extreme (intensity 0) through the image (1) and on."""

    def __init__(self, intensity_min: float, intensity_max: float) -> None:
        """The intensity is drawn uniformly between the two."""
        super().__init__()
        self.intensity_min, self.intensity_max = intensity_min, intensity_max

    def get_transform(self, image: np.ndarray) -> Transform:
        """Draw the intensity and blend the image with its extreme."""
        intensity = np.random.uniform(self.intensity_min, self.intensity_max)
        return BlendTransform(self._extreme(image), 1 - intensity, intensity)

    def _extreme(self, image: np.ndarray) -> Any:
        raise NotImplementedError


class RandomBrightness(_RandomBlend):
    """Multiply all values by one number; below 1 is darker."""

    def _extreme(self, image: np.ndarray) -> Any:
        return 0


class RandomContrast(_RandomBlend):
    """Move all values towards (below 1) or away from (above 1) the mean of the image."""

    def _extreme(self, image: np.ndarray) -> Any:
        return image.mean()


class RandomSaturation(_RandomBlend):
    """Move the colors of an RGB image towards (below 1) or away from (above 1) gray."""

    def _extreme(self, image: np.ndarray) -> Any:
        if image.shape[2:] != (3,):
            raise AssertionError(f"RandomSaturation needs an RGB image, got {image.shape}")
        return image.dot([0.299, 0.587, 0.114])[:, :, None]
