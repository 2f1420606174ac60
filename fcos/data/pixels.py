"""From the pixels of an image file, as Pillow has them, to blue, green, red of 8 bits."""

from __future__ import annotations

import numpy as np
import PIL.Image
from PIL.Image import Image

from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError

__all__ = ["from_colours", "from_gray", "to_bgr"]

_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF


def from_gray(image: Image, stretch_range: bool) -> Image:
    """Convert gray of 16 bits."""
    values = np.asarray(image).astype(np.uint16)
    if image.format == "TIFF":
        if image.tag_v2[_BITS][0] == 12:
            values <<= 4
        if image.tag_v2.get(_PHOTOMETRIC) == 0:  # 0 is white
            values = ~values
    gray = _in_8_bits(values, stretch_range)
    if "transparency" in image.info:
        gray[values == image.info["transparency"]] = 255
    return PIL.Image.fromarray(gray)


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
    rgb = _in_8_bits(values[:, :, 2::-1], stretch_range)
    alpha = (values[:, :, 3:] // 256).astype(np.uint8)
    return PIL.Image.fromarray(np.concatenate([rgb, alpha], axis=2))


def _in_8_bits(values: np.ndarray, stretch_range: bool) -> np.ndarray:
    all_values = np.arange(2**16)
    table = all_values // 256
    if stretch_range and (low := int(values.min())) < (high := int(values.max())):
        table = np.rint((all_values.clip(low, high) - low) * (255 / (high - low)))
    return table.astype(np.uint8)[values]


def to_bgr(image: Image) -> np.ndarray:
    """Return (H, W, 3) uint8, blue, green, red, of an image of 8 bits; on white, if transparent."""
    is_transparent = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    if is_transparent:
        rgba = image.convert("RGBA")
        image = PIL.Image.new("RGB", image.size, "white")
        image.paste(rgba.convert("RGB"), mask=rgba.getchannel("A"))
    elif image.mode != "RGB":
        image = image.convert("RGB")
    return np.asarray(image)[:, :, ::-1]
