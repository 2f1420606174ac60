"""The size of an image as it is shown, from its header alone."""

from __future__ import annotations

from typing import IO, NamedTuple

import PIL.Image

__all__ = ["ORIENTATION", "SIDEWAYS", "UprightSize", "upright_size"]

ORIENTATION = 0x0112  # in EXIF
SIDEWAYS = (5, 6, 7, 8)  # turned by a quarter
_TIFF_SIDES = (256, 257)  # tags of the stored width and height
_LATE = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks of a PNG file that may hold EXIF


class UprightSize(NamedTuple):
    """Size of an image once it is turned upright; ``orientation`` 1: it was so already."""

    width: int
    height: int
    orientation: int


def upright_size(path: str) -> UprightSize:
    """Read the header of an image.

    Raises:
        Exception: of a dozen kinds, those of Pillow's decoders; the header cannot be read.
    """
    with PIL.Image.open(path) as image:
        width, height = image.size
        if image.format == "TIFF":  # Pillow 12 has turned its size already
            width, height = (image.tag_v2[tag] for tag in _TIFF_SIDES)  # type: ignore[attr-defined]
        orientation = _exif_of(image).get(ORIENTATION, 1)
    if orientation in SIDEWAYS:
        width, height = height, width
    return UprightSize(width, height, orientation if orientation in range(2, 9) else 1)


def _exif_of(image: PIL.Image.Image) -> PIL.Image.Exif:
    """Return an image's EXIF. Of a PNG, Pillow decodes all pixels to see whether some follows."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and "exif" not in image.info and file and not _has_late_chunk(file):
        return PIL.Image.Image.getexif(image)
    return image.getexif()


def _has_late_chunk(file: IO[bytes]) -> bool:
    """Whether a PNG file has a chunk with text or EXIF after its pixels."""
    place, has_pixels = file.tell(), False
    try:
        file.seek(8)  # after the signature
        while len(head := file.read(8)) == 8:
            kind = head[4:]
            has_pixels |= kind == b"IDAT"
            if has_pixels and kind in _LATE:
                return True
            file.seek(int.from_bytes(head[:4], "big") + 4, 1)  # the chunk and its checksum
        return False
    finally:
        file.seek(place)
