"""The data sets of a config, for training and for evaluation, and what is in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.config import CfgNode
from fcos.data.records import DatasetRecords
from fcos.data.register import read_dataset, require_same_classes
from fcos.evaluation.dataset.objects import Objects, objects_of

__all__ = ["Split", "class_rows", "read_splits"]

_SIDE_OF_AREA = (32, 96)  # COCO's small, medium and large objects


@dataclasses.dataclass(frozen=True)
class Split:
    """A data set in one use.

    Attributes:
        name: as registered.
        is_training: else it is evaluated on.
        data: its records.
        objects: those to learn from, or to find.
    """

    name: str
    is_training: bool
    data: DatasetRecords
    objects: Objects

    def path(self, image: int) -> str:
        """Return the path of an image."""
        return self.data.path_of(self.data.images[image])

    def figures(self) -> dict[str, Any]:
        """Count its images and objects; sizes are medians in pixels of the files."""
        objects = self.objects
        per_image, side = objects.per_image, _root_of_area(objects)
        figures = {
            "name": self.name,
            "use": "training" if self.is_training else "evaluation",
            "images": len(objects.sizes),
            "objects": len(objects.boxes),
            "images_without_objects": int((per_image == 0).sum()),
            "objects_per_image": _rounded(per_image.mean() if len(per_image) else 0, 2),
            "most_objects_per_image": int(per_image.max(initial=0)),
            "image_size": np.median(objects.sizes, axis=0).astype(int)[::-1].tolist()
            if len(objects.sizes)
            else None,
        }
        low, high = _SIDE_OF_AREA
        for name, is_it in (
            ("small", side < low),
            ("medium", (side >= low) & (side < high)),
            ("large", side >= high),
        ):
            figures[name] = _rounded(100 * is_it.mean(), 2) if len(side) else None
        return figures


def read_splits(cfg: CfgNode) -> list[Split]:
    """Read DATASETS.TRAIN, then DATASETS.TEST.

    Raises:
        UserError: a data set cannot be read, or two have different classes.
    """
    uses = [(name, True) for name in cfg.DATASETS.TRAIN]
    uses += [(name, False) for name in cfg.DATASETS.TEST]
    splits = []
    for name, is_training in uses:
        data = read_dataset(name, for_training=is_training)
        splits.append(Split(name, is_training, data, objects_of(name, data)))
    require_same_classes({split.name: split.data.class_names for split in splits})
    return splits


def class_rows(
    splits: Sequence[Split], class_names: Sequence[str], is_learnt: np.ndarray
) -> list[dict[str, Any]]:
    """Count the objects of every class.

    Args:
        splits: the data sets, those for training first.
        class_names: of the classes, each once.
        is_learnt: (G,), which objects of the training sets a location learns.
    """
    number = len(class_names)
    training = [split.objects for split in splits if split.is_training]
    classes = np.concatenate([objects.classes for objects in training])
    sides = np.concatenate([_root_of_area(objects) for objects in training])
    counts = [np.bincount(split.objects.classes, minlength=number) for split in splits]
    learnt = np.bincount(classes[is_learnt], minlength=number)
    total = np.bincount(classes, minlength=number)
    images = np.sum([_images_with(objects, number) for objects in training], axis=0)
    order = np.argsort(classes, kind="stable")
    sides_of = np.split(sides[order], np.cumsum(total)[:-1])
    return [
        {
            "name": name,
            "objects": {split.name: int(c[i]) for split, c in zip(splits, counts, strict=True)},
            "training_objects": int(total[i]),
            "share": _rounded(100 * total[i] / max(total.sum(), 1), 2),
            "training_images": int(images[i]),
            "side": _rounded(np.median(sides_of[i]), 1) if total[i] else None,
            "learnt": _rounded(100 * learnt[i] / total[i], 2) if total[i] else None,
        }
        for i, name in enumerate(class_names)
    ]


def _images_with(objects: Objects, num_classes: int) -> np.ndarray:
    """(C,): on how many images there is an object of each class."""
    pairs = np.unique(objects.image_index * num_classes + objects.classes)
    return np.bincount(pairs % num_classes, minlength=num_classes)


def _root_of_area(objects: Objects) -> np.ndarray:
    return np.sqrt(objects.sides.prod(axis=1))


def _rounded(value: float, digits: int) -> float:
    return round(float(value), digits)
