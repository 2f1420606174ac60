"""What there is to say on a data set: its size, and what is odd about it."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Sequence

from fcos.data.records import BROKEN_POLYGONS, DatasetRecords, ImageRecord, ObjectRecord
from fcos.utils.values import listed

__all__ = ["DatasetReport", "notes_on", "places_of"]


@dataclasses.dataclass(frozen=True)
class DatasetReport:
    """A data set that passed `check_dataset`. ``str`` gives a sentence on each line.

    Attributes:
        name: of the data set.
        class_names: in the order of the class numbers.
        num_images: all of them.
        num_objects: boxes to learn or to find; neither crowd regions nor degenerate boxes.
        num_empty_images: images without such a box.
        degenerate: where each box without an area inside its image was found.
        notes: what else there is to say, in sentences.
        num_files_checked: image files that were decoded.
    """

    name: str
    class_names: tuple[str, ...]
    num_images: int
    num_objects: int
    num_empty_images: int
    degenerate: tuple[str, ...]
    notes: tuple[str, ...]
    num_files_checked: int = 0

    def __str__(self) -> str:
        head = (
            f"Data set {self.name!r}: {self.num_images} images, {self.num_objects} objects, "
            f"{len(self.class_names)} classes ({listed(self.class_names)})."
        )
        return "\n".join([head, *self.notes])


def notes_on(
    records: DatasetRecords, for_training: bool, filter_empty: bool, degenerate: Sequence[str]
) -> list[str]:
    """Return sentences on what may be a mistake in the annotations.

    Args:
        records: of the data set.
        for_training: else it is to be evaluated on.
        filter_empty: whether training leaves out images without objects.
        degenerate: where each degenerate box is.
    """
    num_empty = sum(not image.num_objects for image in records.images)
    notes = [
        _note_on_equal_names(records.class_names),
        _note_on_degenerate(degenerate, for_training),
        _note_on_broken_polygons(records, for_training),
        _note_on_overhanging(records),
        _note_on_empty(num_empty, for_training, filter_empty),
    ]
    return [note for note in notes if note]


def places_of(
    records: DatasetRecords, is_meant: Callable[[ObjectRecord, ImageRecord], bool]
) -> list[str]:
    """Return where each of the objects is that ``is_meant`` is true of, with its image."""
    return [
        f"{thing.where} ({os.path.basename(image.file_name)})"
        for image in records.images
        for thing in image.objects
        if is_meant(thing, image)
    ]


def _note_on_equal_names(class_names: Sequence[str]) -> str:
    counts = Counter(class_names)
    doubled = [name for name in counts if counts[name] > 1]
    if not doubled:
        return ""
    return (
        f"Several categories have the same name ({listed(doubled)}), and are different classes "
        "all the same: if they should not be, merge them in the annotations."
    )


def _note_on_degenerate(degenerate: Sequence[str], for_training: bool) -> str:
    if not degenerate:
        return ""
    what = "box has" if len(degenerate) == 1 else "boxes have"
    # pycocotools keeps them among the objects, and no detection overlaps with nothing.
    fate = "left out of training" if for_training else "counted in the evaluation as never found"
    return (
        f"{len(degenerate)} {what} no width or height inside the image, {fate}: "
        f"{listed(degenerate)}."
    )


def _note_on_broken_polygons(records: DatasetRecords, for_training: bool) -> str:
    broken = places_of(records, lambda thing, _: thing.mask_form == BROKEN_POLYGONS)
    if not broken or not for_training:
        return ""
    what = "object has" if len(broken) == 1 else "objects have"
    return (
        f"{len(broken)} {what} a segmentation without any polygon of three points or more, left "
        f"out of training: {listed(broken)}."
    )


def _note_on_overhanging(records: DatasetRecords) -> str:
    """Most often these are corners where sizes belong; a pixel more or less is rounding."""
    overhanging = places_of(records, _overhangs)
    if not overhanging:
        return ""
    what = "box reaches" if len(overhanging) == 1 else "boxes reach"
    return (
        f"{len(overhanging)} {what} more than a pixel beyond the image (a bbox is x, y, width, "
        f"height): {listed(overhanging)}."
    )


def _overhangs(thing: ObjectRecord, image: ImageRecord) -> bool:
    left, top, right, bottom = thing.xyxy
    is_inside = left >= -1 <= top and right <= image.width + 1 and bottom <= image.height + 1
    return not (is_inside or thing.is_degenerate)


def _note_on_empty(num_empty: int, for_training: bool, filter_empty: bool) -> str:
    if not num_empty:
        return ""
    what = "image has" if num_empty == 1 else "images have"
    fate = ""
    if for_training:
        state = "left out" if filter_empty else "trained on as background"
        fate = f", {state} (DATALOADER.FILTER_EMPTY_ANNOTATIONS {filter_empty})"
    return f"{num_empty} {what} no object{fate}."
