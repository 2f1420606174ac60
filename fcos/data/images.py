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
from collections.abc import Callable, Iterator
from typing import IO, NamedTuple

import numpy as np
import PIL.Image
from PIL.Image import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from detectron2.utils.file_io import PathManager
from fcos.data.orientation import SIDEWAYS, orientation_of
from fcos.data.pixels import from_colours, gray_conversion, upright_bgr
from fcos.utils.errors import UserError, one_line
from fcos.utils.reading import IMAGE, open_file

__all__ = [
    "MAX_PIXELS",
    "DecodedImage",
    "ImageSize",
    "ImageTooLarge",
    "decode_image",
    "opened",
    "read_bgr",
    "read_size",
]

# Of an image that is read, unless INPUT.MAX_PIXELS says otherwise, so that no file can fill the
# memory. It is where Pillow begins to warn, and takes 1.3 GB: 4 bytes a pixel that Pillow holds, 3
# of the result. What decoders need besides is theirs: for a progressive JPEG up to 6 more, for WebP
# and JPEG 2000 up to 16. Colours of 16 bits whose range is stretched take 16.
MAX_PIXELS = 178_956_970

# Pillow itself refuses twice this number while it opens a file. Ours is smaller.
if PIL.Image.MAX_IMAGE_PIXELS is not None:
    PIL.Image.MAX_IMAGE_PIXELS = max(PIL.Image.MAX_IMAGE_PIXELS, 2**30)

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


class ImageTooLarge(UserError):
    """An image has more pixels than are read."""


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


def read_bgr(path: str, stretch_range: bool = False, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read an image, turned upright by its EXIF orientation.

    Args:
        path: of the file; anything that detectron2's ``PathManager`` opens.
        stretch_range: of an image of 16 bits, stretch the range from the lowest to the highest
            value to 0 to 255, instead of the range from 0 to 65,535.
        max_pixels: an image of more, by its header, is not decoded.

    Returns:
        (H, W, 3) uint8, blue, green, red.

    Raises:
        UserError: the file is missing, truncated, not an image, too large, or of a kind that has
            no agreed conversion to 8 bits.
    """
    return decode_image(path, stretch_range, max_pixels).bgr


def decode_image(
    path: str, stretch_range: bool = False, max_pixels: int = MAX_PIXELS
) -> DecodedImage:
    """Read an image, and what there is to know about its file; see `read_bgr`."""
    with opened(path, max_pixels) as image:
        has_16_bits = _has_16_bits(image)
        if not (has_16_bits or image.mode in _EIGHT_BITS):
            kind = _REFUSED.get(image.mode, f"pixels of the mode {image.mode}")
            raise _no_conversion(path, kind)
        orientation = orientation_of(image)
        image.load()
        left = orientation_of(image)  # 1 for a TIFF, which Pillow and OpenCV turn on loading
        convert: Callable[[Image], Image] = _same
        if has_16_bits and image.mode not in _EIGHT_BITS:
            convert = gray_conversion(image, stretch_range)
        elif has_16_bits and (stretch_range or "transparency" in image.info):
            image = from_colours(path, image, stretch_range)
        return DecodedImage(upright_bgr(image, convert, left), orientation, has_16_bits)


def _same(image: Image) -> Image:
    return image


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
    with opened(path) as image:
        width, height = image.size
        orientation = orientation_of(image)
        if image.format == "TIFF":  # Pillow's size may be that of the upright image already
            width, height = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        if orientation in SIDEWAYS:
            height, width = width, height
        return ImageSize(height, width, orientation)


@contextlib.contextmanager
def opened(path: str, max_pixels: int = MAX_PIXELS) -> Iterator[Image]:
    """Open an image, not decoded yet; make sentences of errors, also of those in the block.

    Raises:
        UserError: as for :func:`read_bgr`.
    """
    try:
        file = open_file(PathManager.get_local_path(path), IMAGE)
    except FileNotFoundError as error:
        raise UserError(f"Image {path} does not exist.") from error
    except OSError as error:
        raise UserError(f"Image {path} cannot be opened ({error.strerror or error}).") from error
    with file:
        try:
            image = PIL.Image.open(file)
            if image.width * image.height > max_pixels:
                raise _too_large(path, f"{image.width * image.height:,}", max_pixels)
            yield image
        except (UserError, MemoryError):
            raise
        except PIL.Image.DecompressionBombError as error:
            raise _too_large(path, f"more than {2**31:,}", max_pixels) from error
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


def _too_large(path: str, pixels: str, most: int) -> ImageTooLarge:
    return ImageTooLarge(
        f"Image {path} has {pixels} pixels, and none of more than {most:,} is read "
        "(INPUT.MAX_PIXELS), so that no file can fill the memory: make it smaller, or cut it into "
        "tiles."
    )
