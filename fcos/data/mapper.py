"""From an entry of a data set to a sample: what is usable, and what to say when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.structures import BoxMode
from fcos.data.images import Resize, image_problem
from fcos.utils.errors import UserError

__all__ = ["CheckedMapper", "is_degenerate", "usable_annotations"]


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
