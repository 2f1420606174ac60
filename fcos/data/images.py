"""The one reader of image files: the picture that a person sees, in 8 bits.

Palettes, single bits, CMYK and gray become colours. What is transparent is shown on white, as
browsers, most labelling programs and paper show it. EXIF's orientation is applied; of several
frames, the first is read. Of 16 bits the upper eight are taken (65,535 becomes 255), as OpenCV and
Pillow do for almost all files, or the range of each image is stretched. Colour profiles are not
applied.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
import PIL.Image
from PIL.Image import Image, Transpose
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from detectron2.utils.file_io import PathManager
from fcos.data.orientation import SIDEWAYS, orientation_of
from fcos.data.pixels import from_colours, from_gray, to_bgr
from fcos.utils.errors import UserError, one_line

__all__ = [
    "MOST_MEGAPIXELS",
    "DecodedImage",
    "ImageSize",
    "ImageTooLarge",
    "decode_image",
    "read_bgr",
    "read_size",
]

# So that no file can fill the memory: an image of this size takes 2.5 GB, with alpha 4.5 GB.
MOST_MEGAPIXELS = 250

# Unless told otherwise, Pillow warns from 89 megapixels on and refuses the 181 of some cameras.
if PIL.Image.MAX_IMAGE_PIXELS is not None:
    PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS, MOST_MEGAPIXELS * 10**6)

# Modes of Pillow.
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_GRAY_16_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_REFUSED = {
    "F": "floating-point pixels",
    "I": "pixels of 32-bit or signed integers",
    "LAB": "pixels in CIELAB",
}

# Tags of TIFF.
_WIDTH, _HEIGHT, _BITS, _VALUES, _KIND = 256, 257, 258, 277, 339
# How to turn an image upright, by its orientation.
_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


class ImageTooLarge(UserError):
    """An image has more than MOST_MEGAPIXELS."""


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """An image file, decoded.

    Attributes:
        bgr: (H, W, 3) uint8, blue, green, red; upright.
        orientation: the EXIF orientation by which it was turned upright, 2 to 8; 1: it was so.
        has_16_bits: each gray value or colour has 16 bits in the file.
    """

    bgr: np.ndarray
    orientation: int = 1
    has_16_bits: bool = False


def read_bgr(path: str, stretch_range: bool = False) -> np.ndarray:
    """Read an image, turned upright by its EXIF orientation.

    Args:
        path: of the file; anything that detectron2's ``PathManager`` opens.
        stretch_range: of an image of 16 bits, stretch the range from the lowest to the highest
            value to 0 to 255, instead of the range from 0 to 65,535.

    Returns:
        (H, W, 3) uint8, blue, green, red.

    Raises:
        UserError: the file is missing, truncated, not an image, too large, or of a kind that has
            no agreed conversion to 8 bits.
    """
    return decode_image(path, stretch_range).bgr


def decode_image(path: str, stretch_range: bool = False) -> DecodedImage:
    """Read an image, and what there is to know about its file; see `read_bgr`."""
    with _opened(path) as image:
        has_16_bits = _has_16_bits(image)
        if not (has_16_bits or image.mode in _EIGHT_BITS):
            kind = _REFUSED.get(image.mode, f"pixels of the mode {image.mode}")
            raise _no_conversion(path, kind)
        orientation = orientation_of(image)
        image.load()
        left = orientation_of(image)  # 1 for a TIFF, which Pillow and OpenCV turn on loading
        if has_16_bits and image.mode not in _EIGHT_BITS:
            image = from_gray(image, stretch_range)
        elif has_16_bits and (stretch_range or "transparency" in image.info):
            image = from_colours(path, image, stretch_range)
        if left != 1:
            image = image.transpose(_UPRIGHT[left])
        return DecodedImage(to_bgr(image), orientation, has_16_bits)


class ImageSize(NamedTuple):
    """Height and width in pixels, once it is turned upright; its EXIF orientation, 1 to 8."""

    height: int
    width: int
    orientation: int


def read_size(path: str) -> ImageSize:
    """Read the size of an image from its header.

    Raises:
        UserError: there is no such header.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = orientation_of(image)
        if image.format == "TIFF":  # Pillow's size may be that of the upright image already
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        if orientation in SIDEWAYS:
            height, width = width, height
        return ImageSize(height, width, orientation)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[Image]:
    """Open an image, not decoded yet; make sentences of errors, also of those in the block."""
    try:
        file = PathManager.open(path, "rb")
    except FileNotFoundError as error:
        raise UserError(f"Image {path} does not exist.") from error
    except OSError as error:
        raise UserError(f"Image {path} cannot be opened ({error.strerror or error}).") from error
    with file:
        try:
            image = PIL.Image.open(file)
            if image.width * image.height > MOST_MEGAPIXELS * 10**6:
                raise _too_large(path, f"{image.width * image.height / 10**6:,.1f}")
            yield image
        except (UserError, MemoryError):
            raise
        except PIL.Image.DecompressionBombError as error:
            raise _too_large(path, f"more than {2 * MOST_MEGAPIXELS}") from error
        except PIL.UnidentifiedImageError as error:
            if kind := _kind_of_tiff(file):
                raise _no_conversion(path, kind) from error
            reason = "it is in no format that Pillow knows"
            raise UserError(f"Image {path} is broken or not an image ({reason}).") from error
        except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
            reason = one_line(error)
            raise UserError(f"Image {path} is broken or not an image ({reason}).") from error


# ---- what kind of file it is ---------------------------------------------------------------------


def _has_16_bits(image: Image) -> bool:
    """Call it before the image is loaded: only what is left to decode tells it of colours."""
    if image.mode in _GRAY_16_BITS:
        return True
    if image.mode == "I":  # those of a TIFF have 32 bits, or a sign
        return image.format in ("PNG", "PPM")
    if image.format not in ("PNG", "PPM", "TIFF") or not image.tile:
        return False
    arguments = image.tile[0][3]
    if image.format == "PPM":
        return isinstance(arguments, tuple) and arguments[1] > 255
    return ";16" in str(arguments)


def _kind_of_tiff(file: IO[bytes]) -> str:
    """Name the pixels of a TIFF that Pillow cannot read; "" for any other file."""
    try:
        file.seek(0)
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        kind = {2: "signed integers", 3: "floating point"}.get(tags.get(_KIND, (1,))[0], "integers")
        return f"pixels of {tags.get(_VALUES, 1)} x {tags[_BITS][0]} bits ({kind})"
    except Exception:
        return ""


def _no_conversion(path: str, kind: str) -> UserError:
    return UserError(
        f"Image {path} has {kind}, for which there is no agreed conversion to 8 bits: convert it "
        "to gray or colours of 8 or 16 bits."
    )


def _too_large(path: str, megapixels: str) -> ImageTooLarge:
    return ImageTooLarge(
        f"Image {path} has {megapixels} megapixels, and none of more than {MOST_MEGAPIXELS} is "
        "read, so that no file can fill the memory: make it smaller, or cut it into tiles."
    )
