"""Names and category ids of the classes, from the checkpoint or the data set."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.data.register import note_classes
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
        names: of class 0, 1, ...; empty where they are unknown.
        category_ids: their ids in the annotation file; empty where there is none.
    """

    names: tuple[str, ...] = ()
    category_ids: tuple[int, ...] = ()


def dataset_classes(dataset: str) -> DatasetClasses:
    """Find the classes of a data set; none if it is not registered or its file is missing.

    The annotation file is read only if the registration does not have the names.
    """
    if dataset not in DatasetCatalog.list():
        return DatasetClasses()
    metadata = MetadataCatalog.get(dataset)
    if metadata.get("thing_classes") is None:
        try:
            note_classes(dataset)
        except UserError as error:
            logger.warning(
                f"The classes of {dataset}, and their category ids, are not at hand. {error}"
            )
            return DatasetClasses()
    names = tuple(metadata.get("thing_classes", ()))
    index_of = metadata.get("thing_dataset_id_to_contiguous_id", {})
    id_of = {index: category_id for category_id, index in index_of.items()}
    return DatasetClasses(names, tuple(id_of[i] for i in range(len(names))) if id_of else ())


def configured_classes(cfg: CfgNode) -> DatasetClasses:
    """Find the classes of the first data set of DATASETS.TEST or else DATASETS.TRAIN."""
    return dataset_classes([*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN, ""][0])


def choose_names(
    num_classes: int, in_checkpoint: Sequence[str] | None, in_dataset: Sequence[str] | None
) -> tuple[str, ...]:
    """Choose names for all classes of a model.

    Args:
        num_classes: of the model.
        in_checkpoint: names stored with its weights. They come first: the model learned them.
        in_dataset: names of the configured data set.

    Returns:
        ``num_classes`` names. If neither source has this number of names, ``"class 0"``,
        ``"class 1"``, ..., and a warning is logged.
    """
    sources = {"checkpoint": in_checkpoint or (), "data set": in_dataset or ()}
    for names in sources.values():
        if len(names) == num_classes:
            return tuple(names)
    found = ", ".join(f"{len(names)} in the {source}" for source, names in sources.items())
    logger.warning(f"No names for the {num_classes} classes of the model ({found}): numbers stay.")
    return tuple(f"class {i}" for i in range(num_classes))


def choose_category_ids(names: Sequence[str], dataset: DatasetClasses) -> tuple[int, ...]:
    """Choose the category id to write for each class of a model.

    Args:
        names: of the classes of the model.
        dataset: the classes of the configured data set.

    Returns:
        As many ids as names: those of the data set if it has the same classes in the same order.
        Otherwise 0, 1, ..., with a warning if the data set has other classes.
    """
    if dataset.category_ids and dataset.names == tuple(names):
        return dataset.category_ids
    if dataset.names:
        logger.warning(
            "The data set has other classes than the model: each category_id is the number of a "
            "class of the model, from 0."
        )
    return tuple(range(len(names)))
