"""Image files: read them, resize them, and say in a sentence why one cannot be used."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data.transforms import ResizeShortestEdge
from fcos.data.crop import Crop, crop_of
from fcos.utils.errors import UserError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Resize", "image_problem", "read_bgr", "resize_of"]


def read_bgr(path: str) -> np.ndarray:
    """Read an image, turned upright by its EXIF orientation.

    Returns:
        (H, W, 3) uint8, blue, green, red.

    Raises:
        UserError: the file is missing, truncated, or not an image.
    """
    try:
        return detection_utils.read_image(path, format="BGR")
    except Exception as error:  # Pillow's decoders raise a dozen kinds on damaged files
        problem = image_problem({"file_name": path})
        if problem is None:
            raise
        raise UserError(problem) from error


def image_problem(record: dict[str, Any], resize: Resize | None = None) -> str | None:
    """Say in a sentence why the image of ``record`` cannot be used; None if it can. Decodes it.

    Args:
        record: "file_name" and, if the data set gives them, "width" and "height" of the image.
        resize: what is to be done to it; ``None``: it stays as it is.
    """
    name = record["file_name"]
    try:
        image = detection_utils.read_image(name)
        detection_utils.check_image_size(dict(record), image)
    except FileNotFoundError:
        return f"Image {name} does not exist."
    except detection_utils.SizeMismatchError:
        return (
            f"Image {name} is {image.shape[1]}x{image.shape[0]} pixels, but the annotations say "
            f"{record['width']}x{record['height']}."
        )
    except Exception as error:  # which one depends on the decoder and on where the file is broken
        reason = str(error.__cause__ or error).partition("<")[0].strip()  # without a repr
        return f"Image {name} is broken or not an image ({reason})."
    height, width = image.shape[:2]
    setting = resize.vanishes_by(height, width) if resize is not None else ""
    if setting:
        return (
            f"Image {name} is {width}x{height} pixels, and {setting} leaves nothing of its shorter "
            "side: raise it if the image is to stay."
        )
    return None


@dataclasses.dataclass(frozen=True)
class Resize:
    """How images are cropped and resized before they come to the model.

    Attributes:
        shorts: lengths of the shorter side, in pixels, one of which is chosen; none: no resizing.
        longest: of the longer side, at most.
        key: of ``longest`` in the config.
        crop: what is done first, if anything.
    """

    shorts: tuple[int, ...]
    longest: int
    key: str
    crop: Crop | None = None

    def vanishes_by(self, height: float, width: float) -> str:
        """Return the key and value by which the shorter side of an image of this size (pixels)
        may become 0; empty if it cannot."""
        size = int(height), int(width)
        if self._vanishes(*size):
            return f"{self.key} {self.longest}"
        if self.crop is not None and any(self._vanishes(*c) for c in self.crop.longest(*size)):
            return f"INPUT.CROP.SIZE {list(self.crop.size)}"
        return ""

    def _vanishes(self, height: int, width: int) -> bool:
        if 0 in (height, width) or not self.shorts:
            return 0 in (height, width)
        size = height, width, min(self.shorts), self.longest
        return 0 in ResizeShortestEdge.get_output_shape(*size)


def resize_of(cfg: CfgNode, use: str) -> Resize | None:
    """Return what INPUT says on the size of images in a ``use``, "TRAIN" or "TEST"; None: nothing.

    Raises:
        UserError: INPUT.CROP is to be used in training, and is invalid.
    """
    shorts = cfg.INPUT[f"MIN_SIZE_{use}"]
    shorts = (shorts,) if isinstance(shorts, int) else tuple(shorts)
    key = f"MAX_SIZE_{use}"
    crop = crop_of(cfg) if use == "TRAIN" else None
    if not all(shorts):  # 0 stands for no resizing
        shorts = ()
    return Resize(shorts, cfg.INPUT[key], f"INPUT.{key}", crop) if shorts or crop else None
