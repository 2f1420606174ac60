"""Names of the classes and their ids in a data set, from the checkpoint or the data set."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.data.register import dataset_records
from fcos.utils.errors import UserError

logger = logging.getLogger(__name__)

__all__ = [
    "DatasetClasses",
    "choose_category_ids",
    "choose_names",
    "configured_classes",
    "dataset_classes",
]


@dataclasses.dataclass(frozen=True)
class DatasetClasses:
    """The classes of a data set.

    Attributes:
        names: of class 0, 1, ...; empty when they are not known.
        category_ids: their ids in the annotation file of the data set; empty when it has none.
    """

    names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()


def dataset_classes(dataset: str) -> DatasetClasses:
    """What is known of a data set's classes; nothing when it is not registered or not there.

    Reads the annotation file only when the registration does not say the names already.
    """
    if dataset not in DatasetCatalog.list():
        return DatasetClasses()
    metadata = MetadataCatalog.get(dataset)
    if metadata.get("thing_classes") is None:
        try:
            dataset_records(dataset)  # fills the metadata
        except UserError as error:
            logger.warning(f"The class names of {dataset} are not at hand. {error}")
            return DatasetClasses()
    names = tuple(metadata.get("thing_classes", ()))
    index_of = metadata.get("thing_dataset_id_to_contiguous_id", {})
    id_of = {index: category_id for category_id, index in index_of.items()}
    return DatasetClasses(names, tuple(id_of[i] for i in range(len(names))) if id_of else ())


def configured_classes(cfg: CfgNode) -> DatasetClasses:
    """:func:`dataset_classes` of the first of DATASETS.TEST, or of DATASETS.TRAIN without any."""
    return dataset_classes([*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN, ""][0])


def choose_names(
    num_classes: int, in_checkpoint: Sequence[str] | None, in_dataset: Sequence[str] | None
) -> tuple[str, ...]:
    """Names for all classes of a model.

    Args:
        num_classes: of the model.
        in_checkpoint: names stored with its weights. They win, because they say what it learned.
        in_dataset: names of the configured data set.

    Returns:
        ``num_classes`` names; ``"class 0"``, ``"class 1"``, ... where neither source has as many,
        which is logged.
    """
    sources = {"checkpoint": in_checkpoint or (), "data set": in_dataset or ()}
    for names in sources.values():
        if len(names) == num_classes:
            return tuple(names)
    found = ", ".join(f"{len(names)} in the {source}" for source, names in sources.items())
    logger.warning(f"No names for the {num_classes} classes of the model ({found}): numbers stay.")
    return tuple(f"class {i}" for i in range(num_classes))


def choose_category_ids(names: Sequence[str], dataset: DatasetClasses) -> tuple[int, ...]:
    """The category id to write for each class of a model.

    Args:
        names: of the classes of the model.
        dataset: what is known of the configured data set.

    Returns:
        As many ids as names: those of the data set if it has the same classes in the same order,
        else 0, 1, ...; that they are not those of the data set is logged.
    """
    if dataset.category_ids and dataset.names == tuple(names):
        return dataset.category_ids
    if dataset.names:
        logger.warning(
            "The data set has other classes than the model: each category_id is the number of a "
            "class of the model, from 0."
        )
    return tuple(range(len(names)))
