"""Labels that may be mistakes: boxes, classes, and images that two data sets share."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np

from fcos.data.importing.duplicates import group_near_duplicates
from fcos.evaluation.dataset.objects import Objects
from fcos.evaluation.dataset.splits import Split

__all__ = ["Shared", "Suspicion", "notes_on_classes", "shared_images", "suspicious_labels"]

_ROUNDING = 1  # pixels that a box may reach beyond its image
_TINY = 3  # pixels
_WHOLE = 0.95  # of the area of the image
_FEW_OBJECTS = 10
# An outlier: so many times as large or long as the median of its class, or as small; and so many
# standard deviations (estimated by the median absolute deviation) away, on a scale of logarithms.
_OUTLIER_FACTOR, _OUTLIER_DEVIATIONS, _OUTLIER_LEAST = 3, 5, 20
_MOST_COMPARED = 4000  # images of a data set whose thumbnails are compared


@dataclasses.dataclass(frozen=True)
class Suspicion:
    """Objects of a data set with something in common that is rarely meant.

    Attributes:
        title: what they have in common.
        advice: what it often comes from.
        split: the data set.
        which: indices of the objects in ``split.objects``.
    """

    title: str
    advice: str
    split: Split
    which: np.ndarray

    def names(self, most: int) -> list[str]:
        """Name the first objects by their annotation and image."""
        objects, images = self.split.objects, self.split.data.images
        named = []
        for index in self.which[:most].tolist():
            image = images[objects.image_index[index]]
            thing = image.objects[objects.record[index]]
            named.append(f"{thing.where} ({os.path.basename(image.file_name)})")
        return named


# What objects have in common, and what that often comes from.
_KINDS = {
    "fraction": (
        "Boxes within 1 pixel of the image's corner",
        "Coordinates may be fractions of the image; a bbox is in pixels.",
    ),
    "beyond": (
        "Boxes that reach beyond their image",
        "The last two numbers of a bbox are width and height, not the right and bottom side.",
    ),
    "copy": ("The same box twice", "An annotation may have been added or imported twice."),
    "two classes": (
        "The same box with two classes",
        "No location can tell them apart: one class is learnt, the other counts as wrong.",
    ),
    "tiny": (
        f"Boxes less than {_TINY} pixels wide or high",
        "A click in the labelling tool may have made a box.",
    ),
    "whole": (
        f"Boxes of {100 * _WHOLE:.0f} % of their image or more",
        "The label may be of the image, not of an object.",
    ),
    "shape": (
        "Shapes unlike the others of their class",
        "Width by height is far from the median of the class.",
    ),
    "size": (
        "Sizes unlike the others of their class",
        "The area is far from the median of the class.",
    ),
}


def suspicious_labels(split: Split) -> list[Suspicion]:
    """Look through the boxes of a data set."""
    found = _found(split.objects)
    return [
        Suspicion(title, advice, split, np.flatnonzero(found[kind]))
        for kind, (title, advice) in _KINDS.items()
        if found[kind].any()
    ]


def _found(objects: Objects) -> dict[str, np.ndarray]:
    """Return for each of _KINDS which of the objects are of it."""
    sides = objects.sides
    height, width = objects.sizes[objects.image_index].T
    left, top, right, bottom = objects.boxes.T
    inside = np.minimum(right, width) - np.maximum(left, 0)
    inside = inside * (np.minimum(bottom, height) - np.maximum(top, 0))
    outside = np.max([-left, -top, right - width, bottom - height], axis=0)
    is_fraction = objects.boxes.max(axis=1, initial=-math.inf) <= 1
    is_copy, has_other_class = _equal_boxes(objects)
    is_outlier = _outliers(np.log(sides.prod(axis=1)) / 2, objects.classes)
    return {
        "fraction": is_fraction,
        "beyond": outside > _ROUNDING,
        "copy": is_copy,
        "two classes": has_other_class,
        "tiny": (sides.min(axis=1) < _TINY) & ~is_fraction,
        "whole": inside >= _WHOLE * width * height,
        "shape": _outliers(np.log(sides[:, 0] / sides[:, 1]), objects.classes),
        "size": is_outlier & ~is_fraction,
    }


def _equal_boxes(objects: Objects) -> tuple[np.ndarray, np.ndarray]:
    """Say of each object whether an earlier one of its image and class has its box, to the pixel,
    and whether one of another class has it."""
    if not len(objects.boxes):
        return np.zeros(0, bool), np.zeros(0, bool)
    rows = np.column_stack([objects.image_index, np.round(objects.boxes).astype(np.int64)])
    _, group = np.unique(rows, axis=0, return_inverse=True)
    group = group.reshape(-1)
    highest = objects.classes.max() + 1
    _, first = np.unique(group * highest + objects.classes, return_index=True)
    is_copy = np.ones(len(group), bool)
    is_copy[first] = False
    num_classes = np.bincount(group[first], minlength=group.max() + 1)
    return is_copy, num_classes[group] > 1


def _outliers(logarithms: np.ndarray, classes: np.ndarray) -> np.ndarray:
    is_outlier = np.zeros(len(classes), bool)
    for number in np.unique(classes):
        is_it = classes == number
        if is_it.sum() < _OUTLIER_LEAST:
            continue
        distance = np.abs(logarithms[is_it] - np.median(logarithms[is_it]))
        deviation = 1.4826 * np.median(distance)  # that of a normal distribution
        limit = max(math.log(_OUTLIER_FACTOR), _OUTLIER_DEVIATIONS * deviation)
        is_outlier[is_it] = distance > limit
    return is_outlier


def notes_on_classes(splits: Sequence[Split], class_names: Sequence[str]) -> list[str]:
    """Return sentences on classes that are rare, or in some of the data sets only."""
    counts = {True: np.zeros(len(class_names), int), False: np.zeros(len(class_names), int)}
    for split in splits:
        counts[split.is_training] += np.bincount(split.objects.classes, minlength=len(class_names))
    has_test = any(not split.is_training for split in splits)
    notes = []
    for name, train, test in zip(class_names, counts[True], counts[False], strict=True):
        if not train:
            where = f", but {test} to be found" if test else " at all"
            notes.append(f"{name} has no object to learn from{where}.")
        elif train < _FEW_OBJECTS:
            objects = "object" if train == 1 else "objects"
            notes.append(f"{name} has {train} {objects} to learn from, which is hardly enough.")
        if train and has_test and not test:
            notes.append(f"{name} is never evaluated: DATASETS.TEST has no object of it.")
    return notes


@dataclasses.dataclass(frozen=True)
class Shared:
    """Images that are in a training set and in an evaluation set.

    Attributes:
        pairs: paths of an image to train on and of one to evaluate on that shows nearly the same.
        same_file: how many of the pairs are one file.
        compared: images whose thumbnails were compared, for training and for evaluation.
        total: all of these images.
    """

    pairs: list[tuple[str, str]]
    same_file: int
    compared: dict[str, int]
    total: dict[str, int]


def shared_images(splits: Sequence[Split]) -> Shared:
    """Find images to evaluate on that training sees too; all by path, a sample by thumbnail."""
    paths = {
        is_training: list(
            dict.fromkeys(
                split.path(i)
                for split in splits
                if split.is_training == is_training
                for i in range(len(split.data.images))
            )
        )
        for is_training in (True, False)
    }
    known = set(paths[True])
    pairs = [(path, path) for path in paths[False] if path in known]
    same_file = len(pairs)
    in_both = {path for path, _ in pairs}
    train, test = ([p for p in _sample(paths[use]) if p not in in_both] for use in (True, False))
    if train and test:
        pairs += _near_duplicates(train, test)
    names = ("training", "evaluation")
    return Shared(
        pairs,
        same_file,
        dict(zip(names, (len(train), len(test)), strict=True)),
        dict(zip(names, (len(paths[True]), len(paths[False])), strict=True)),
    )


def _sample(paths: list[str]) -> list[str]:
    return paths[:: max(1, math.ceil(len(paths) / _MOST_COMPARED))]


def _near_duplicates(train: list[str], test: list[str]) -> list[tuple[str, str]]:
    group_of = group_near_duplicates([*train, *test])
    first_of: dict[int, str] = {}
    for path, group in zip(train, group_of, strict=False):
        first_of.setdefault(group, path)
    groups = group_of[len(train) :]
    return [(first_of[g], path) for path, g in zip(test, groups, strict=True) if g in first_of]
