"""Data sets by name: those under DATASETS.CUSTOM, and what to say when one is absent."""

from __future__ import annotations

import difflib
import os
import reprlib
from collections import Counter
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError
from fcos.utils.json_files import is_id, read_json

__all__ = [
    "dataset_records",
    "get_class_names",
    "read_coco_json",
    "refuse_equal_ids",
    "register_custom_datasets",
    "require_dataset",
]


def register_custom_datasets(cfg: CfgNode) -> None:
    """Registers the data sets under DATASETS.CUSTOM with detectron2.

    They are in COCO's format and are evaluated as COCO is. Nothing is read yet: class names come
    from the JSON when they are needed, and `require_dataset` tells whether the files exist.

        DATASETS:
          CUSTOM:
            my_train: {JSON: my/train.json, IMAGES: my/images}

    A relative path starts at the folder that the environment variable DETECTRON2_DATASETS names,
    by default ``datasets``. A second call with the same content changes nothing.

    Raises:
        UserError: an entry lacks a path or has an unknown key, or its name belongs to another
            data set already.
    """
    for name, entry in cfg.DATASETS.CUSTOM.items():
        json_file, image_root = _paths_of(name, entry)
        if name not in DatasetCatalog.list():
            register_coco_instances(name, {}, json_file, image_root)
            continue
        metadata = MetadataCatalog.get(name)
        known = metadata.get("json_file"), metadata.get("image_root")
        if known != (json_file, image_root):
            raise UserError(
                f"DATASETS.CUSTOM.{name}: a data set of this name is registered already, with the "
                f"annotations {known[0]} and the images {known[1]}: choose another name."
            )


def require_dataset(name: str) -> None:
    """Checks that a data set can be loaded: it is registered, its JSON and image folder exist.

    Raises:
        UserError: it cannot; the message names the expected path and the layout of the folders.
    """
    if name not in DatasetCatalog.list():
        near = difflib.get_close_matches(name, DatasetCatalog.list(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"Data set {name!r} is not registered.{hint} Declare your own in COCO's format under "
            f"DATASETS.CUSTOM: {{{name}: {{JSON: path, IMAGES: folder}}}}."
        )
    metadata = MetadataCatalog.get(name)
    json_file, image_root = metadata.get("json_file"), metadata.get("image_root")
    if json_file and not PathManager.isfile(json_file):
        raise UserError(_absent(name, json_file, [json_file, image_root]))
    if image_root and not PathManager.isdir(image_root):
        raise UserError(_absent(name, image_root, [json_file, image_root]))
    folder = metadata.get("dirname")  # of a data set in PASCAL VOC's format
    if folder and not PathManager.isdir(folder):
        raise UserError(_absent(name, folder, [folder]))


def get_class_names(name: str) -> list[str]:
    """Class names of a data set, in the order of its class numbers.

    Raises:
        UserError: the data set is absent, or its JSON is not one of COCO's format.
    """
    metadata = MetadataCatalog.get(name)
    if metadata.get("thing_classes"):
        return list(metadata.thing_classes)
    require_dataset(name)
    if not metadata.get("json_file"):
        DatasetCatalog.get(name)  # the function that loads it may set the names
        return list(metadata.get("thing_classes", ()))
    categories = read_coco_json(metadata.json_file)["categories"]
    return [category["name"] for category in sorted(categories, key=lambda c: c["id"])]


def dataset_records(name: str) -> list[dict[str, Any]]:
    """The images of a registered data set with their annotations, in detectron2's format.

    Raises:
        UserError: no data set has that name, its files are missing or damaged, or it is empty.
    """
    require_dataset(name)
    try:
        records = DatasetCatalog.get(name)
    except (AssertionError, KeyError, OSError, TypeError, ValueError) as error:
        json_file = MetadataCatalog.get(name).get("json_file")
        if json_file:  # what is wrong with it, if we know, is said better here
            read_coco_json(json_file)
        raise UserError(f"The data set {name} cannot be read: {error!r}.") from error
    if not records:
        raise UserError(f"The data set {name} holds no image.")
    return records


def read_coco_json(json_file: str) -> dict[str, Any]:
    """The contents of a COCO annotation file.

    Returns:
        a dict with at least the lists "images" and "categories" of dicts, in each of which no two
        have the same "id"; "annotations", if it is there, is a list of dicts too. Categories have
        a "name". Ids are finite numbers or texts; those of images, and those of categories, are
        all of one kind.

    Raises:
        UserError: it is not JSON in UTF-8, or not that.
    """
    contents = read_json(json_file)
    if not isinstance(contents, dict):
        contents = {}
    lists = ["images", "categories", *(["annotations"] if "annotations" in contents else ())]
    missing = [key for key in lists if not isinstance(contents.get(key), list)]
    if missing:
        raise UserError(
            f"{json_file} is not in COCO's format: it has no list {' and no list '.join(missing)}."
        )
    for key in lists:
        _check_records(json_file, key, contents[key])
    return contents


class _Kind(NamedTuple):
    """What is known of the records of one list."""

    called: str
    needed: tuple[str, ...]
    ids: tuple[str, ...]
    texts: tuple[str, ...]


_KINDS = {
    "images": _Kind("image", ("id",), ids=("id",), texts=("file_name",)),
    "categories": _Kind("category", ("id", "name"), ids=("id",), texts=("name",)),
    "annotations": _Kind("annotation", (), ids=("id", "image_id", "category_id"), texts=()),
}


def _check_records(json_file: str, key: str, records: list[Any]) -> None:
    kind = _KINDS[key]
    for index, record in enumerate(records):
        if not isinstance(record, dict):
            raise UserError(
                f"{json_file} is not in COCO's format: {key}[{index}] is {reprlib.repr(record)}, "
                "expected a mapping."
            )
        missing = [name for name in kind.needed if name not in record]
        if missing:
            raise UserError(
                f"{json_file}: {kind.called} {record} has no {' and no '.join(missing)}."
            )
        ill_typed = [name for name in kind.ids if name in record and not is_id(record[name])]
        if ill_typed:
            raise UserError(
                f"{json_file}: {key}[{index}] has the {ill_typed[0]} "
                f"{reprlib.repr(record[ill_typed[0]])}; expected a number or a text."
            )
        for name in kind.texts:
            if not isinstance(record.get(name, ""), str):
                raise UserError(
                    f"{json_file}: {key}[{index}] has the {name} {reprlib.repr(record[name])}; "
                    "expected a text."
                )
    if "id" in kind.needed:  # the later one would silently take the place of the earlier one
        refuse_equal_ids(json_file, key, records)
        _refuse_mixed_ids(json_file, key, records)


def _refuse_mixed_ids(json_file: str, key: str, records: list[dict[str, Any]]) -> None:
    """Images and classes are put into the order of their ids, so these have to be comparable."""
    texts = [record["id"] for record in records if isinstance(record["id"], str)]
    numbers = [record["id"] for record in records if not isinstance(record["id"], str)]
    if texts and numbers:
        raise UserError(
            f"{json_file}: some {key} have a number as id and some a text, such as {numbers[0]} "
            f"and {texts[0]!r}. Make all of them numbers."
        )


def refuse_equal_ids(json_file: str, key: str, records: list[dict[str, Any]]) -> None:
    """Let no two of the ``records`` have the same "id".

    Args:
        json_file: that they are from.
        key: what they are called there, such as "images".
        records: each with an "id".

    Raises:
        UserError: some have; it names up to five of the ids.
    """
    counts = Counter(record["id"] for record in records)
    doubled = [repr(number) for number, count in counts.items() if count > 1]
    if doubled:
        raise UserError(
            f"{json_file}: {key} with the same id: {', '.join(doubled[:5])}"
            f"{', ...' if len(doubled) > 5 else ''}. Give each an id of its own."
        )


def _datasets_root() -> str:
    return os.path.expanduser(os.environ.get("DETECTRON2_DATASETS", "datasets"))


def _paths_of(name: str, entry: object) -> tuple[str, str]:
    paths = dict(entry) if isinstance(entry, dict) else {}
    if set(paths) != {"JSON", "IMAGES"} or not all(isinstance(p, str) for p in paths.values()):
        raise UserError(
            f"DATASETS.CUSTOM.{name}: expected the two paths {{JSON: annotations.json, "
            f"IMAGES: folder}}, got {paths or entry!r}."
        )
    root = _datasets_root()
    json_file, image_root = (os.path.expanduser(paths[key]) for key in ("JSON", "IMAGES"))
    return os.path.join(root, json_file), os.path.join(root, image_root)


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
