"""What INPUT.CROP cuts out of an image before it is resized."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from detectron2.config import CfgNode
from fcos.utils.errors import UserError
from fcos.utils.values import is_number

__all__ = ["Crop", "crop_of"]

# What the two numbers of INPUT.CROP.SIZE are: height and width as parts of the image's, the least
# of such parts, height and width in pixels, the least and the most pixels of both sides.
_EXPECTED = {
    "relative": "two numbers above 0 and at most 1",
    "relative_range": "two numbers above 0 and at most 1",
    "absolute": "two whole numbers of at least 1",
    "absolute_range": "two whole numbers of at least 1, the smaller one first",
}


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
        UserError: its type or its size is invalid.
    """
    node = cfg.INPUT.CROP
    if not node.ENABLED:
        return None
    if node.TYPE not in _EXPECTED:
        raise UserError(
            f"INPUT.CROP.TYPE is {node.TYPE!r}: expected one of {', '.join(_EXPECTED)}."
        )
    size = tuple(node.SIZE)
    if len(size) != 2 or not all(map(is_number, size)) or not _fits(node.TYPE, *size):
        raise UserError(
            f"INPUT.CROP.SIZE is {list(size)}: INPUT.CROP.TYPE {node.TYPE} needs "
            f"{_EXPECTED[node.TYPE]}."
        )
    return Crop(node.TYPE, (size[0], size[1]))


def _fits(kind: str, first: float, second: float) -> bool:
    if kind.startswith("relative"):
        return 0 < first <= 1 and 0 < second <= 1
    are_pixels = all(isinstance(value, int) and value >= 1 for value in (first, second))
    return are_pixels and (kind == "absolute" or first <= second)
