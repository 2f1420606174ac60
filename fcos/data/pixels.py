"""From the pixels of an image file, as Pillow has them, to blue, green, red of 8 bits.

Large images are converted in strips of rows: besides what Pillow holds, at most four bytes for each
pixel, there are three for each pixel of the result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import PIL.Image
from PIL.Image import Image, Transpose

from detectron2.utils.file_io import PathManager
from fcos.data.orientation import SIDEWAYS
from fcos.utils.errors import UserError

__all__ = ["AT_ONCE", "from_colours", "gray_conversion", "upright_bgr"]

AT_ONCE = 2**22  # pixels that are converted at once

_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF
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


def gray_conversion(image: Image, stretch_range: bool) -> Callable[[Image], Image]:
    """Return the conversion of gray of 16 bits, for parts of an image or all of it."""
    bits, is_inverted = 16, False
    if image.format == "TIFF":
        bits = image.tag_v2[_BITS][0]
        is_inverted = image.tag_v2.get(_PHOTOMETRIC) == 0  # 0 is white
    transparent = image.info.get("transparency")

    def values_of(part: Image) -> np.ndarray:
        values = np.asarray(part).astype(np.uint16)
        if bits == 12:
            values <<= 4
        return ~values if is_inverted else values

    low, high = 0, 0
    if stretch_range:
        ends = [(int(v.min()), int(v.max())) for v in map(values_of, _strips(image))]
        low, high = min(low for low, _ in ends), max(high for _, high in ends)
    table = _table(low, high)

    def convert(part: Image) -> Image:
        values = values_of(part)
        gray = table[values]
        if transparent is not None:
            gray[values == transparent] = 255
        return PIL.Image.fromarray(gray)

    return convert


def from_colours(path: str, image: Image, stretch_range: bool) -> Image:
    """Convert colours of 16 bits, of which Pillow has read the upper eight."""
    import cv2

    values = None
    if image.mode in ("RGB", "RGBA"):
        values = cv2.imread(PathManager.get_local_path(path), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise UserError(
            f"Image {path} has {image.mode} of 16 bits in a form of which OpenCV cannot read all "
            "bits, to stretch the range (INPUT.STRETCH_RANGE): convert it to PNG."
        )
    colours = values[:, :, 2::-1]
    ends = (int(colours.min()), int(colours.max())) if stretch_range else (0, 0)
    table, made = _table(*ends), np.empty(values.shape, np.uint8)
    rows = max(1, AT_ONCE // values.shape[1])
    for top in range(0, len(values), rows):
        made[top : top + rows, :, :3] = table[colours[top : top + rows]]
        made[top : top + rows, :, 3:] = values[top : top + rows, :, 3:] // 256
    return PIL.Image.fromarray(made)


def _table(low: int, high: int) -> np.ndarray:
    """Return the 8 bits of each value of 16: those from ``low`` to ``high`` stretched, if any."""
    all_values = np.arange(2**16)
    table = all_values // 256
    if low < high:
        table = np.rint((all_values.clip(low, high) - low) * (255 / (high - low)))
    return table.astype(np.uint8)


def upright_bgr(image: Image, convert: Callable[[Image], Image], orientation: int) -> np.ndarray:
    """Return (H, W, 3) uint8, blue, green, red, of an image; on white, if transparent.

    Args:
        image: loaded.
        convert: makes 8 bits of it, or of a part.
        orientation: EXIF's, by which it is turned upright.
    """
    width, height = image.size
    if width * height <= AT_ONCE:
        image = _rgb(convert(image))
        if orientation != 1:
            image = image.transpose(_UPRIGHT[orientation])
        return np.asarray(image)[:, :, ::-1]
    shape = (width, height, 3) if orientation in SIDEWAYS else (height, width, 3)
    rgb = np.empty(shape, np.uint8)
    stored, top = _as_stored(rgb, orientation), 0
    for part in _strips(image):
        stored[top : top + part.height] = np.asarray(_rgb(convert(part)))
        top += part.height
    return rgb[:, :, ::-1]


def _strips(image: Image) -> Iterator[Image]:
    rows = max(1, AT_ONCE // image.width)
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height)))


def _as_stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """Return a view of an upright image with the rows and columns that its file has."""
    if orientation in SIDEWAYS:
        upright = upright.swapaxes(0, 1)
    is_upside_down, is_mirrored = orientation in (3, 4, 6, 7), orientation in (2, 3, 7, 8)
    return upright[:: -1 if is_upside_down else 1, :: -1 if is_mirrored else 1]


def _rgb(image: Image) -> Image:
    is_transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if is_transparent:
        rgba = image.convert("RGBA")
        image = PIL.Image.new("RGB", image.size, "white")
        image.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return image
