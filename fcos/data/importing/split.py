"""Which images are trained on and which are for validation."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from fcos.data.importing.duplicates import group_near_duplicates
from fcos.data.importing.labels import LabelledImage, Labels, Problems
from fcos.utils.errors import UserError

__all__ = ["split_images"]

EMPTY = ""  # stands for the class of images without objects


def split_images(labels: Labels, problems: Problems, val_fraction: float, seed: int) -> str:
    """Give each image of ``labels`` its split, in place.

    A split that the source has is kept. Otherwise images are split at random, so that each class
    is on both sides in the same proportion, and near-duplicates are on one side.

    Args:
        labels: the labels.
        problems: images are added that a given split leaves out.
        val_fraction: share of the images that is for validation, in (0, 1).
        seed: of the random order.

    Returns:
        A sentence on how they were split.

    Raises:
        UserError: there is only one image.
    """
    if {"train", "val"} <= {image.split for image in labels.images}:
        return _keep(labels, problems, "")
    if {"train", "test"} <= {image.split for image in labels.images}:
        for image in labels.images:
            image.split = "val" if image.split == "test" else image.split
        return _keep(labels, problems, " (its test images are for validation: it has no others)")
    if len(labels.images) < 2:
        raise UserError("There is only one labelled image: training and validation need one each.")
    groups = group_near_duplicates([image.path for image in labels.images])
    _assign(labels.images, groups, val_fraction, seed)
    wanted = val_fraction * len(labels.images)
    if sum(image.split == "val" for image in labels.images) < min(wanted / 2, wanted - 1):
        _assign(labels.images, list(range(len(groups))), val_fraction, seed)
        return f"split by image, seed {seed}; too many look alike to keep those on one side"
    alike = len(groups) - len(set(groups))
    said = f" ({alike} near-duplicates are on the side of their first)" if alike else ""
    return f"split by image, seed {seed}{said}"


def _keep(labels: Labels, problems: Problems, said: str) -> str:
    for image in labels.images:
        if image.split not in ("train", "val", "test"):
            problems.add("images in no split", image.where)
    labels.images = [image for image in labels.images if image.split in ("train", "val", "test")]
    return f"split kept as it is{said}"


def _assign(images: list[LabelledImage], groups: list[int], fraction: float, seed: int) -> None:
    """Give groups of images to the sides, the rarest class first.

    Each class is wanted on each side in proportion to the sizes of the sides; a group goes where
    most of it is still wanted.
    """
    members: dict[int, list[LabelledImage]] = {}
    for image, group in zip(images, groups, strict=True):
        members.setdefault(group, []).append(image)
    waiting = {group: _count_classes(inside) for group, inside in members.items()}
    total: Counter[str] = Counter()
    for counts in waiting.values():
        total.update(counts)
    wanted = {
        side: {name: share * number for name, number in total.items()}
        for side, share in (("train", 1 - fraction), ("val", fraction))
    }
    order = list(waiting)
    random.Random(seed).shuffle(order)
    by_class: dict[str, list[int]] = {}
    for group in order:
        for name in waiting[group]:
            by_class.setdefault(name, []).append(group)
    for name in sorted(by_class, key=lambda name: (len(by_class[name]), name)):
        for group in by_class[name]:
            if group in waiting:
                counts = waiting.pop(group)
                side = max(wanted, key=_missing(wanted, name, counts))
                for image in members[group]:
                    image.split = side
                for inside, number in counts.items():
                    wanted[side][inside] -= number
    _fill(members)


def _missing(
    wanted: dict[str, dict[str, float]], name: str, counts: Counter[str]
) -> Callable[[str], tuple[bool, float]]:
    """Rank the sides by how much of a class they still need, and whether the group is too much."""
    return lambda side: (wanted[side][name] >= counts[name] / 2, wanted[side][name])


def _count_classes(images: list[LabelledImage]) -> Counter[str]:
    """Count, for each class, the images with it."""
    counts: Counter[str] = Counter()
    for image in images:
        counts.update({labelled.name for labelled in image.objects} or {EMPTY})
    return counts


def _fill(members: dict[int, list[LabelledImage]]) -> None:
    """Let no side be empty where there are two groups."""
    for side in ("val", "train"):
        groups = sorted(members.values(), key=len)
        if len(groups) > 1 and not any(group[0].split == side for group in groups):
            for image in groups[0]:
                image.split = side
