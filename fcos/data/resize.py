"""What INPUT says on the size of images, and of which images it would leave nothing."""

from __future__ import annotations

import dataclasses

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from fcos.data.augmenting import choose_sizes
from fcos.data.crop import Crop, crop_of

__all__ = ["Resize", "resize_of"]


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
    if not all(shorts) or (use == "TRAIN" and choose_sizes(cfg)):  # 0 stands for no resizing
        shorts = ()
    return Resize(shorts, cfg.INPUT[key], f"INPUT.{key}", crop) if shorts or crop else None
