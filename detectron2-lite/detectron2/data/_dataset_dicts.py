"""Loading registered datasets, joining them, and looking at what is in them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate
from torch.utils.data import ChainDataset, ConcatDataset, Dataset, IterableDataset

from detectron2._missing import missing
from detectron2.data.catalog import DatasetCatalog, MetadataCatalog
from detectron2.data.detection_utils import check_metadata_consistency

logger = logging.getLogger(__name__)


def filter_images_with_only_crowd_annotations(
    dataset_dicts: Sequence[dict[str, Any]],
) -> list[dict[str, Any]]:
    """The images that have an object which is no crowd."""
    kept = [
        record
        for record in dataset_dicts
        if any(obj.get("iscrowd", 0) == 0 for obj in record["annotations"])
    ]
    logger.info(
        "Left out %d images without usable annotations; %d are left.",
        len(dataset_dicts) - len(kept),
        len(kept),
    )
    return kept


def print_instances_class_histogram(
    dataset_dicts: Sequence[dict[str, Any]], class_names: Sequence[str]
) -> None:
    """Log how many objects (crowds left out) each class has.

    Args:
        dataset_dicts: the images, in detectron2's dataset format.
        class_names: the names of the classes.

    Raises:
        AssertionError: an object has a class outside [0, number of classes).
    """
    counts: Counter[int] = Counter()
    for record in dataset_dicts:
        for obj in record["annotations"]:
            class_ = obj["category_id"]
            if not 0 <= class_ < len(class_names):
                raise AssertionError(
                    f"Image '{record.get('file_name')}' has an invalid category_id={class_}: "
                    f"the dataset has {len(class_names)} classes, 0 to {len(class_names) - 1}"
                )
            counts[class_] += obj.get("iscrowd", 0) == 0
    cells = [
        cell
        for class_, name in enumerate(class_names)
        # Long names would make the table wider than a terminal.
        for cell in (name if len(name) <= 13 else f"{name[:11]}..", counts[class_])
    ]
    if len(class_names) > 1:
        cells += ["total", sum(counts.values())]
    n_columns = min(6, len(cells))
    table = tabulate(
        [cells[i : i + n_columns] for i in range(0, len(cells), n_columns)],
        headers=["category", "#instances"] * (n_columns // 2),
        tablefmt="pipe",
        numalign="left",
        stralign="center",
    )
    logger.info("Instances of the %d categories:\n%s", len(class_names), table)


def get_detection_dataset_dicts(
    names: str | Sequence[str],
    filter_empty: bool = True,
    min_keypoints: int = 0,
    proposal_files: Sequence[str] | None = None,
    check_consistency: bool = True,
) -> list[dict[str, Any]] | Dataset:
    """Load registered datasets and join them.

    Args:
        names: one or several names.
        filter_empty: leave out images without an object that is no crowd.
        min_keypoints, proposal_files: not part of detectron2-lite.
        check_consistency: require that all of them have the same classes.

    Returns:
        The images in detectron2's dataset format; or a torch dataset, if that is what the
        registered functions return.

    Raises:
        KeyError: a name is not registered.
        AssertionError: no name, no images, or an object of a class that does not exist.
        ValueError: the datasets have different classes.
        NotImplementedError: keypoints or proposals are asked for.
    """
    if min_keypoints:
        raise missing("get_detection_dataset_dicts with min_keypoints")
    if proposal_files:
        raise missing("get_detection_dataset_dicts with proposal_files")
    names = [names] if isinstance(names, str) else names
    if not names:
        raise AssertionError("No dataset is named: DATASETS.TRAIN and DATASETS.TEST are for that")
    loaded = [DatasetCatalog.get(name) for name in names]
    if isinstance(loaded[0], Dataset):
        return _joined(loaded)
    for name, records in zip(names, loaded, strict=True):
        if not len(records):
            raise AssertionError(f"Dataset '{name}' is empty!")
    dataset_dicts = [record for records in loaded for record in records]
    has_instances = "annotations" in dataset_dicts[0]
    if filter_empty and has_instances:
        dataset_dicts = filter_images_with_only_crowd_annotations(dataset_dicts)
    if check_consistency and has_instances:
        classes = [MetadataCatalog.get(name).get("thing_classes") for name in names]
        if all(classes):  # a dataset need not name them
            check_metadata_consistency("thing_classes", names)
            print_instances_class_histogram(dataset_dicts, classes[0])
    if not dataset_dicts:
        raise AssertionError(f"No valid data found in {', '.join(names)}.")
    return dataset_dicts


def _joined(datasets: Sequence[Dataset]) -> Dataset:
    if len(datasets) == 1:
        return datasets[0]
    are_iterable = isinstance(datasets[0], IterableDataset)
    return ChainDataset(datasets) if are_iterable else ConcatDataset(datasets)
