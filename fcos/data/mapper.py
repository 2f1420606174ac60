"""From an entry of a data set to a sample: what is usable, and what to say when it is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from detectron2.data import detection_utils
from detectron2.structures import BoxMode
from fcos.utils.errors import UserError

__all__ = ["CheckedMapper", "image_problem", "is_degenerate", "usable_annotations"]


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


def image_problem(entry: dict[str, Any]) -> str | None:
    """One sentence on why the image of ``entry`` cannot be used, or None. Decodes the whole image.

    Args:
        entry: "file_name" and, if the data set gives them, "width" and "height" of the image.
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
    return None


class CheckedMapper:
    """A mapper that names the image file when the image is to blame for a failure.

    Args:
        mapper: takes an entry of a data set, gives a sample; for instance a ``DatasetMapper``.
    """

    def __init__(self, mapper: Callable[[dict[str, Any]], Any]) -> None:
        self.mapper = mapper

    def __call__(self, entry: dict[str, Any]) -> Any:
        """The sample that the wrapped mapper makes of ``entry``.

        Raises:
            UserError: the image is missing, broken, or of another size than the annotations say.
        """
        try:
            return self.mapper(entry)
        except Exception as error:
            problem = image_problem(entry)
            if problem is None:
                raise
            advice = "Replace the file, or take it out of the annotations."
            raise UserError(f"{problem} {advice}") from error
