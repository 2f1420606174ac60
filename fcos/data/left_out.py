"""Images of data sets that nothing uses, because their files cannot be read."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from detectron2.data import MetadataCatalog
from fcos.data.records import DatasetRecords

__all__ = ["leave_out", "left_out", "without_left_out"]

# Kept with the metadata, and so for as long as the data set is registered.
_KEY = "unreadable_images"


def leave_out(name: str, file_names: Collection[str] | None) -> None:
    """From now on, leave these images out of a data set, and no others.

    Args:
        name: of a registered data set.
        file_names: as in its records; ``None``: it is not known which cannot be read.
    """
    if file_names is None and left_out(name) is None:
        return
    metadata = MetadataCatalog.get(name)
    # The metadata refuse a second value, but not a change of the first.
    kept = metadata.get(_KEY)
    if kept is None:
        metadata.set(**{_KEY: (kept := [])})
    kept[:] = [] if file_names is None else [frozenset(file_names)]


def left_out(name: str) -> frozenset[str] | None:
    """Return the file names of the images that are left out; None: not known yet."""
    kept = MetadataCatalog.get(name).get(_KEY)
    return kept[0] if kept else None


def without_left_out(name: str, records: DatasetRecords) -> DatasetRecords:
    """Return the records of a data set without the images that are left out."""
    names = left_out(name)
    if not names:
        return records
    images = [image for image in records.images if image.file_name not in names]
    return dataclasses.replace(records, images=images)
