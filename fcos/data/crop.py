"""What INPUT.CROP cuts out of an image before it is resized."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from detectron2.config import CfgNode
from fcos.config.data_checks import check_crop

__all__ = ["Crop", "crop_of"]


@dataclasses.dataclass(frozen=True)
class Crop:
    """INPUT.CROP; what ``kind`` and ``size`` mean, detectron2's ``RandomCrop`` says."""

    kind: str
    size: tuple[Any, Any]

    def longest(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return rows and columns of the lowest and widest, and of the highest and narrowest crop.

        Args:
            height, width: of the image, in pixels.
        """
        sides = (height, width)
        if self.kind == "absolute_range":
            least, most = ([min(side, pixels) for side in sides] for pixels in self.size)
        elif self.kind == "absolute":
            least = most = [
                min(side, pixels) for side, pixels in zip(sides, self.size, strict=True)
            ]
        else:
            # In float32, as they are drawn: half a pixel may be rounded the other way otherwise.
            is_range = self.kind == "relative_range"
            parts = np.asarray(self.size, dtype=np.float32 if is_range else np.float64)
            least = [int(side * float(part) + 0.5) for side, part in zip(sides, parts, strict=True)]
            most = list(sides) if is_range else least
        return [(least[0], most[1]), (most[0], least[1])]


def crop_of(cfg: CfgNode) -> Crop | None:
    """Return INPUT.CROP, or None where it is not enabled.

    Raises:
        UserError: its type or size is invalid.
    """
    check_crop(cfg)
    node = cfg.INPUT.CROP
    return Crop(node.TYPE, (node.SIZE[0], node.SIZE[1])) if node.ENABLED else None
