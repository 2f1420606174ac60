"""Data sets by name: those under DATASETS.CUSTOM, and what to say when one is absent."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from fcos.data.annotations import read_annotations, read_classes
from fcos.data.coco_lists import import_advice
from fcos.data.left_out import without_left_out
from fcos.data.records import DatasetRecords
from fcos.data.records_of_dicts import records_of_dicts
from fcos.data.sources import (
    SOURCE_KEYS,
    SPLITS,
    LabelSource,
    annotation_file,
    bring_up_to_date,
    check_again,
    register_source,
    source_of,
)
from fcos.utils.errors import UserError
from fcos.utils.places import is_file, is_folder
from fcos.utils.values import listed

logger = logging.getLogger(__name__)

__all__ = [
    "dataset_records",
    "get_class_names",
    "load_dataset",
    "note_classes",
    "read_dataset",
    "register_custom_datasets",
    "require_dataset",
    "require_same_classes",
]


def register_custom_datasets(cfg: CfgNode) -> None:
    """Register the data sets under DATASETS.CUSTOM with detectron2.

    They are evaluated as COCO is. Nothing is read yet: class names come from the JSON when they are
    needed, and `require_dataset` tells whether the files exist.

        DATASETS:
          CUSTOM:
            my_train: {JSON: my/train.json, IMAGES: my/images}
            pets_train: {VOC: pets, SPLIT: train}

    Labels in another format than COCO's are written as an annotation file to the folder datasets of
    OUTPUT_DIR when they are needed. A relative path starts at the folder that the environment
    variable DETECTRON2_DATASETS names, by default ``datasets``. A second call with the same content
    changes nothing.

    Raises:
        UserError: a declaration lacks a path or has an unknown key, or its name belongs to another
            data set already.
    """
    for name, declared in cfg.DATASETS.CUSTOM.items():
        source = _source_of(name, declared)
        known = _known(name)
        if source and known and source == source_of(known[0]):
            check_again(known[0])  # whatever OUTPUT_DIR it has
            continue
        if source:
            json_file, image_root = annotation_file(name, cfg.OUTPUT_DIR), source.root
        else:
            json_file, image_root = _paths_of(declared)
        if known is None:
            register_coco_instances(name, {}, json_file, image_root)
            if source:
                register_source(name, source, cfg.OUTPUT_DIR)
        elif known != (json_file, image_root) or source != source_of(json_file):
            raise UserError(
                f"DATASETS.CUSTOM.{name}: a data set of this name is registered already, with the "
                f"annotations {known[0]} and the images {known[1]}: choose another name."
            )


def require_dataset(name: str) -> None:
    """Check that a data set can be loaded: it is registered, its JSON and image folder exist.

    Raises:
        UserError: it cannot; the message names the expected path and the layout of the folders.
    """
    if name not in DatasetCatalog.list():
        near = difflib.get_close_matches(name, DatasetCatalog.list(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"Data set {name!r} is not registered.{hint} Declare your own in COCO's format under "
            f"DATASETS.CUSTOM: {{{name}: {{JSON: path, IMAGES: folder}}}}; a program of your own "
            "then calls fcos.data.register_custom_datasets(cfg)."
        )
    metadata = MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    bring_up_to_date(json_file)
    if json_file and is_folder(json_file):
        raise UserError(
            f"Data set {name!r}: its JSON {json_file} is a folder, expected a file of annotations "
            f"in COCO's format. {import_advice(json_file)}"
        )
    if image_root and is_file(image_root):
        raise UserError(f"Data set {name!r}: its IMAGES {image_root} is a file, expected a folder.")
    if json_file and not is_file(json_file):
        raise UserError(_absent(name, json_file, [json_file, image_root]))
    if image_root and not is_folder(image_root):
        raise UserError(_absent(name, image_root, [json_file, image_root]))
    folder = metadata.get("dirname")  # of a data set in PASCAL VOC's format
    if folder and not is_folder(folder):
        raise UserError(_absent(name, folder, [folder]))


def get_class_names(name: str) -> list[str]:
    """Return the class names of a data set, in the order of its class numbers.

    Raises:
        UserError: the data set is absent, or its JSON is not one of COCO's format.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes"):
        return list(metadata.thing_classes)
    require_dataset(name)
    if metadata.get("json_file"):
        return list(read_classes(metadata.json_file).class_names)
    DatasetCatalog.get(name)  # the function that loads it may set the names
    return list(metadata.get("thing_classes", ()))


def read_dataset(name: str, for_training: bool = True, with_masks: bool = True) -> DatasetRecords:
    """Return the records of a registered data set, without images that are left out.

    Those of an annotation file are read once per process. A data set that was registered with
    another function than detectron2's for COCO's format is what this function returns; if it has
    an annotation file as well, it is evaluated on that.

    Args:
        name: as registered with detectron2.
        for_training: else it is to be evaluated on.
        with_masks: also read segmentations. What is wrong with one does not matter without.

    Raises:
        UserError: the data set is absent, or an image or an annotation cannot be used.
    """
    require_dataset(name)
    metadata = MetadataCatalog.get(name)
    if _is_coco(name) or (metadata.get("json_file") and not for_training):
        records = read_annotations(metadata.json_file, with_masks)
        if records.problem:
            raise UserError(records.problem)
        records = dataclasses.replace(records, image_root=metadata.get("image_root", ""))
        return without_left_out(name, records)
    try:
        loaded = DatasetCatalog.get(name)
    except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        if metadata.get("json_file"):  # what is wrong with it, if we know, is said better here
            read_annotations(metadata.json_file, with_masks)
        raise UserError(f"The data set {name} cannot be read: {error!r}.") from error
    class_of = metadata.get("thing_dataset_id_to_contiguous_id") or {}
    records = records_of_dicts(
        name,
        loaded,
        list(metadata.get("thing_classes", ())),
        sorted(class_of, key=class_of.__getitem__),
        with_masks,
    )
    return without_left_out(name, records)


def load_dataset(name: str, with_masks: bool = True) -> DatasetRecords:
    """Return the records to load images of, and note the classes in detectron2's metadata.

    Args:
        name: as registered with detectron2.
        with_masks: also read segmentations.

    Raises:
        UserError: no data set has that name, its files are missing or damaged, it is empty, or
            its classes are not those that it is registered with.
    """
    records = read_dataset(name, with_masks=with_masks)
    if not records.images:
        raise UserError(f"The data set {name} holds no image.")
    if _is_coco(name):
        _note_classes(name, records)
    return records


def note_classes(name: str) -> None:
    """Note the classes of a data set in detectron2's metadata, if its registration has none.

    Raises:
        UserError: as for `get_class_names`, or its classes are not those that it is registered
            with.
    """
    get_class_names(name)
    if _is_coco(name):
        _note_classes(name, read_classes(MetadataCatalog.get(name).json_file))


def dataset_records(name: str, with_masks: bool = True) -> list[dict[str, Any]]:
    """Return the images of a data set with their annotations, in detectron2's form.

    Args:
        name: as registered with detectron2.
        with_masks: also the segmentations.

    Raises:
        UserError: as for `load_dataset`.
    """
    return load_dataset(name, with_masks).dicts()


def require_same_classes(classes: Mapping[str, Sequence[str]]) -> None:
    """Check that all data sets have the same classes in the same order.

    Args:
        classes: the class names of each data set.

    Raises:
        UserError: one has others than the first.
    """
    first = next(iter(classes), "")
    for name, names in classes.items():
        if list(names) != list(classes[first]):
            raise UserError(
                f"Data sets {first!r} and {name!r} have different classes, or the same in another "
                f"order: {listed(classes[first])} in the first, {listed(names)} in the second."
            )


def _is_coco(name: str) -> bool:
    """Whether ``register_coco_instances`` registered it, whose function would parse the file."""
    function = DatasetCatalog[name]
    return getattr(function, "__module__", "") == register_coco_instances.__module__


def _note_classes(name: str, records: DatasetRecords) -> None:
    """Set what detectron2's function for COCO's format sets."""
    metadata = MetadataCatalog.get(name)
    if records.stray:
        logger.warning(f"{records.stray} It and others like it are left out.")
    if records.category_ids != list(range(1, len(records.category_ids) + 1)):
        if "coco" not in name:
            logger.warning(
                f"Category ids of data set {name!r} are not 1, 2, ...: the classes 0, 1, ... are "
                "numbered in the order of the ids."
            )
    try:
        metadata.thing_classes = list(records.class_names)
        metadata.thing_dataset_id_to_contiguous_id = records.class_of
    except AssertionError as error:
        raise UserError(
            f"Data set {name!r} has the classes {listed(records.class_names)}, but is registered "
            f"with {listed(metadata.thing_classes)}, or with other category ids."
        ) from error


def _datasets_root() -> str:
    return os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def _known(name: str) -> tuple[str, str] | None:
    """Return the annotation file and the image folder of a registered data set."""
    if name not in DatasetCatalog.list():
        return None
    metadata = MetadataCatalog.get(name)
    return metadata.get("json_file"), metadata.get("image_root")


def _source_of(name: str, declared: object) -> LabelSource | None:
    """Read a declaration of labels in another format; None if it is none.

    Raises:
        UserError: it is none, and has not the two paths of COCO's format either.
    """
    given = dict(declared) if isinstance(declared, dict) else {}
    formats = [key for key in given if key in SOURCE_KEYS]
    classes = given.pop("CLASSES", ()) if formats else ()
    is_sound = all(isinstance(value, str) for value in given.values())
    if len(formats) != 1 or not is_sound or set(given) - {*formats, "IMAGES", "SPLIT"}:
        if formats or set(given) != {"JSON", "IMAGES"} or not is_sound:
            raise UserError(
                f"DATASETS.CUSTOM.{name}: expected the two paths {{JSON: annotations.json, IMAGES: "
                f"folder}}, or {{FORMAT: path}} with a FORMAT of {', '.join(SOURCE_KEYS)} and, if "
                f"need be, IMAGES, SPLIT and CLASSES; got {given or declared!r}."
            )
        return None
    if given.get("SPLIT", "train") not in SPLITS:
        raise UserError(
            f"DATASETS.CUSTOM.{name}.SPLIT is {given['SPLIT']!r}: expected {', '.join(SPLITS)}."
        )
    if not isinstance(classes, (list, tuple)) or not all(isinstance(c, str) for c in classes):
        raise UserError(f"DATASETS.CUSTOM.{name}.CLASSES is {classes!r}: expected a list of names.")
    path, images = (_placed(given[key]) if given.get(key) else "" for key in (*formats, "IMAGES"))
    split = given.get("SPLIT", "")
    return LabelSource(SOURCE_KEYS[formats[0]], path, images, split, tuple(classes))


def _paths_of(declared: Mapping[str, str]) -> tuple[str, str]:
    return _placed(declared["JSON"]), _placed(declared["IMAGES"])


def _placed(path: str) -> str:
    return os.path.join(_datasets_root(), os.path.expanduser(path))


def _absent(name: str, path: str, layout: list[str]) -> str:
    if name.startswith("digits_"):
        folder = os.path.join(_datasets_root(), "digits")
        advice = f"Write the demo data set: python -m fcos.data.digits --root {folder}"
    else:
        advice = (
            f"Put the data set at {' and '.join(map(str, layout))}, or set the environment "
            f"variable DETECTRON2_DATASETS (now {_datasets_root()!r}) to the folder that holds it; "
            "datasets/README.md shows the layout."
        )
    return f"Data set {name!r} is incomplete: {path} does not exist. {advice}"
