"""What may be a mistake in the annotations of a data set, in sentences."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from fcos.data.records import DatasetRecords, ImageRecord, ObjectRecord
from fcos.utils.values import listed

__all__ = ["notes_on", "places_of"]


def notes_on(
    records: DatasetRecords,
    for_training: bool,
    filter_empty: bool,
    degenerate: Sequence[str],
    most_found: tuple[int, str],
) -> list[str]:
    """Return sentences on what may be a mistake in the annotations.

    Args:
        records: of the data set.
        for_training: else it is to be evaluated on.
        filter_empty: whether training leaves out images without objects.
        degenerate: where each degenerate box is.
        most_found: the most objects that are detected in an image, 0 for any number; and its key.
    """
    num_empty = sum(not image.num_objects for image in records.images)
    notes = [
        _note_on_equal_names(records.class_names),
        _note_on_degenerate(degenerate, for_training),
        _note_on_overhanging(records),
        _note_on_crowds(records, for_training),
        _note_on_repeated_boxes(records, for_training),
        _note_on_repeated_images(records, for_training),
        _note_on_empty(num_empty, for_training, filter_empty),
    ]
    if not for_training:
        notes.append(_note_on_areas(records))
        notes.append(_note_on_nothing_to_find(records, num_empty))
        notes.append(_note_on_too_many(records, *most_found))
    return [note for note in notes if note]


def places_of(
    records: DatasetRecords, is_meant: Callable[[ObjectRecord, ImageRecord], bool]
) -> list[str]:
    """Return where each of the objects is that ``is_meant`` is true of, with its image."""
    return [
        _place(thing, image)
        for image in records.images
        for thing in image.objects
        if is_meant(thing, image)
    ]


def _place(thing: ObjectRecord, image: ImageRecord) -> str:
    return f"{thing.where} ({os.path.basename(image.file_name)})"


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


def _note_on_crowds(records: DatasetRecords, for_training: bool) -> str:
    crowds = places_of(records, lambda thing, _: thing.is_crowd)
    if not crowds:
        return ""
    what = "region is" if len(crowds) == 1 else "regions are"
    fate = "nothing is learnt from them" if for_training else "detections there count neither way"
    return f"{len(crowds)} {what} marked as a crowd (iscrowd 1), {fate}: {listed(crowds)}."


def _note_on_repeated_boxes(records: DatasetRecords, for_training: bool) -> str:
    repeated: list[str] = []
    for image in records.images:
        keys = [(thing.category_id, *thing.box) for thing in image.objects]
        if len(set(keys)) == len(keys):  # almost always, and quick to see
            continue
        seen: set[tuple[Any, ...]] = set()
        for thing, key in zip(image.objects, keys, strict=True):
            if key in seen and thing.is_learnt:
                repeated.append(_place(thing, image))
            seen.add(key)
    if not repeated:
        return ""
    what = "box is" if len(repeated) == 1 else "boxes are"
    fate = "learnt twice" if for_training else "counted in the evaluation as never found"
    return (
        f"{len(repeated)} {what} there already, with the same image, class and numbers, and {fate}:"
        f" {listed(repeated)}."
    )


def _note_on_repeated_images(records: DatasetRecords, for_training: bool) -> str:
    counts = Counter(image.file_name for image in records.images)
    if len(counts) == len(records.images):
        return ""
    repeated = [name for name, count in counts.items() if count > 1]
    what = "image is" if len(repeated) == 1 else "images are"
    fate = (
        "the objects of one entry are background in the other"
        if for_training
        else "what is found counts in each"
    )
    return f"{len(repeated)} {what} listed more than once, so that {fate}: {listed(repeated)}."


def _note_on_areas(records: DatasetRecords) -> str:
    missing = places_of(records, lambda thing, _: thing.area is None)
    if not missing or records.images[0].source is not None:  # such data sets give none
        return ""
    what = "annotation has" if len(missing) == 1 else "annotations have"
    return (
        f"{len(missing)} {what} no area: width times height decides whether an object is small, "
        "medium or large."
    )


def _note_on_nothing_to_find(records: DatasetRecords, num_empty: int) -> str:
    if not records.has_annotations:
        return "It has no list of annotations: detections are written, and nothing is evaluated."
    if num_empty < len(records.images):
        return ""
    return "There is no object to find: every figure of its evaluation will be NaN."


def _note_on_too_many(records: DatasetRecords, most_found: int, key: str) -> str:
    numbers = [image.num_objects for image in records.images]
    crowded = [number for number in numbers if number > most_found > 0]
    if not crowded:
        return ""
    missed = sum(crowded) - most_found * len(crowded)
    what = "image has" if len(crowded) == 1 else "images have"
    return (
        f"{len(crowded)} {what} more objects, up to {max(crowded)}, than there are detections "
        f"({key} {most_found}): {missed} of {sum(numbers)} objects cannot be "
        "found; raise it."
    )


def _note_on_empty(num_empty: int, for_training: bool, filter_empty: bool) -> str:
    if not num_empty:
        return ""
    what = "image has" if num_empty == 1 else "images have"
    fate = ""
    if for_training:
        state = "left out" if filter_empty else "trained on as background"
        fate = f", {state} (DATALOADER.FILTER_EMPTY_ANNOTATIONS {filter_empty})"
    return f"{num_empty} {what} no object{fate}."
