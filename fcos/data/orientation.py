"""How an image is turned when it is shown: EXIF's orientation, of PNG without decoding pixels."""

from __future__ import annotations

from typing import IO

from PIL.Image import Exif, Image

__all__ = ["ORIENTATION", "SIDEWAYS", "orientation_of"]

ORIENTATION = 274  # the tag of EXIF, and of TIFF
SIDEWAYS = (5, 6, 7, 8)  # turned by a quarter
_LATE = (b"eXIf", b"iTXt", b"tEXt", b"zTXt")  # chunks of a PNG file that may hold EXIF


def orientation_of(image: Image) -> int:
    """Return the orientation of an opened image, 1 to 8; 1 is upright, and stands for unknown."""
    try:
        orientation: int | None = _exif_of(image).get(ORIENTATION)
    except Exception:  # EXIF data that cannot be parsed; the image itself may be intact
        return 1
    return orientation if orientation and 1 <= orientation <= 8 else 1


def _exif_of(image: Image) -> Exif:
    """Return an image's EXIF. Of a PNG, Pillow decodes all pixels to see whether some follows."""
    file = getattr(image, "fp", None)
    if image.format == "PNG" and "exif" not in image.info and file and not _has_late_chunk(file):
        return Image.getexif(image)
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
