"""From an entry of a data set to a sample: what is usable, and what to say when it is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data.transforms import ResizeShortestEdge
from detectron2.structures import BoxMode
from fcos.utils.errors import UserError

from .crop import Crop, crop_of

__all__ = [
    "CheckedMapper",
    "Resize",
    "image_problem",
    "is_degenerate",
    "resize_of",
    "usable_annotations",
]


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
        """The key and value by which the shorter side of an image of this size (pixels) may become
        0; empty if it cannot."""
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
    """What INPUT says on the size of images in a ``use``, "TRAIN" or "TEST"; None: as they are.

    Raises:
        UserError: INPUT.CROP is for training, and none.
    """
    shorts = cfg.INPUT[f"MIN_SIZE_{use}"]
    shorts = (shorts,) if isinstance(shorts, int) else tuple(shorts)
    key = f"MAX_SIZE_{use}"
    crop = crop_of(cfg) if use == "TRAIN" else None
    if not all(shorts):  # 0 stands for no resizing
        shorts = ()
    return Resize(shorts, cfg.INPUT[key], f"INPUT.{key}", crop) if shorts or crop else None


def is_degenerate(xyxy: tuple[float, ...] | list[float], width: float, height: float) -> bool:
    """Whether nothing of a box is left inside its image.

    Args:
        xyxy: left, top, right, bottom, in pixels of the image as it is on disk. A box that only
            touches the border from outside is degenerate, one that reaches past it is not. NaN is.
        width, height: of that image.
    """
    left, top, right, bottom = xyxy
    is_wide = min(right, width) - max(left, 0) > 0
    is_high = min(bottom, height) - max(top, 0) > 0
    return not (is_wide and is_high)


def usable_annotations(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations of an entry of a data set (in detectron2's form) without degenerate boxes."""
    usable = []
    for annotation in entry.get("annotations", ()):
        xyxy = BoxMode.convert(list(annotation["bbox"]), annotation["bbox_mode"], BoxMode.XYXY_ABS)
        size = entry.get("width", float("inf")), entry.get("height", float("inf"))
        if not is_degenerate(xyxy, *size):
            usable.append(annotation)
    return usable


def image_problem(entry: dict[str, Any], resize: Resize | None = None) -> str | None:
    """One sentence on why the image of ``entry`` cannot be used, or None. Decodes the whole image.

    Args:
        entry: "file_name" and, if the data set gives them, "width" and "height" of the image.
        resize: what is to be done to it; ``None``: it stays as it is.
    """
    name = entry["file_name"]
    try:
        image = detection_utils.read_image(name)
        detection_utils.check_image_size(dict(entry), image)
    except FileNotFoundError:
        return f"Image {name} does not exist."
    except detection_utils.SizeMismatchError:
        return (
            f"Image {name} is {image.shape[1]}x{image.shape[0]} pixels, but the annotations say "
            f"{entry['width']}x{entry['height']}."
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


class CheckedMapper:
    """A mapper that names the image file when the image is to blame for a failure.

    Args:
        mapper: takes an entry of a data set, gives a sample; for instance a ``DatasetMapper``.
        resize: what ``mapper`` does to the image; ``None``: it does not resize, or is not asked.
    """

    def __init__(
        self, mapper: Callable[[dict[str, Any]], Any], resize: Resize | None = None
    ) -> None:
        self.mapper = mapper
        self.resize = resize

    def __call__(self, entry: dict[str, Any]) -> Any:
        """The sample that the wrapped mapper makes of ``entry``.

        Raises:
            UserError: the image is missing, broken, of another size than the annotations say, or so
                long that resizing leaves nothing of it.
        """
        try:
            return self.mapper(entry)
        except Exception as error:
            problem = image_problem(entry, self.resize)
            if problem is None:
                raise
            advice = "Replace the file, or take it out of the annotations."
            raise UserError(f"{problem} {advice}") from error
