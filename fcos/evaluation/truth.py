"""The data set that results are compared on."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import io
import os
import reprlib
from collections.abc import Sequence
from typing import Any

from detectron2.data import MetadataCatalog
from fcos.config import CfgNode, get_cfg, read_cfg
from fcos.data.annotations import read_annotations
from fcos.data.coco_lists import import_advice
from fcos.data.mask_forms import POLYGONS, RUN_LENGTHS, are_run_lengths_of
from fcos.data.records import DatasetRecords
from fcos.data.register import register_custom_datasets, require_dataset
from fcos.data.truth_checks import check_evaluable
from fcos.evaluation.cocoeval import Evaluated, GroundTruth, Matches
from fcos.evaluation.figures import distinct_names
from fcos.evaluation.runs import Run, RunFolder, common_dataset
from fcos.utils.errors import UserError
from fcos.utils.places import is_file, is_folder

__all__ = [
    "Truth",
    "check_ids",
    "default_name",
    "find_truth",
    "read_truth",
    "register_from_configs",
    "truth_of_dataset",
]


@dataclasses.dataclass(frozen=True)
class Truth:
    """The annotations of a data set.

    Attributes:
        name: of the data set, or of its annotation file.
        json_file: in COCO's format.
        image_root: folder of the images; empty if none are to be shown.
        coco: ``pycocotools.coco.COCO`` of it.
    """

    name: str
    json_file: str
    image_root: str
    coco: Any

    @property
    def category_ids(self) -> list[int]:
        """The ids in the order in which COCO numbers the classes."""
        return sorted(self.coco.cats)

    @property
    def class_names(self) -> list[str]:
        """The names in the same order; see :func:`distinct_names`."""
        names = [str(self.coco.cats[i]["name"]) for i in self.category_ids]
        return distinct_names(names, self.category_ids)

    @functools.cached_property
    def objects(self) -> GroundTruth:
        """The annotations, to evaluate detections against."""
        return GroundTruth(self.coco.dataset, self.json_file, self.has_masks)

    @property
    def has_masks(self) -> bool:
        return all(a.get("segmentation") for a in self.coco.anns.values())

    def evaluate(self, results: Sequence[dict[str, Any]], task: str, max_dets: int) -> Evaluated:
        """Compute precision and recall of detections.

        Args:
            results: in COCO's results format.
            task: "bbox" or "segm".
            max_dets: the best so many of an image and class count; at least 10.
        """
        return self.objects.evaluate(self.objects.columns(results), task, max_dets)

    def matches(self, results: Sequence[dict[str, Any]], max_dets: int) -> Matches:
        """Match detections to objects at box IoU 0.50; arguments as for :meth:`evaluate`."""
        return self.objects.matches(self.objects.columns(results), max_dets)


def find_truth(
    folders: Sequence[RunFolder],
    *,
    dataset: str | None = None,
    annotations: str | None = None,
    images: str = "",
    config_file: str | None = None,
) -> tuple[Truth, str | None]:
    """Read the data set that result folders are of.

    Args:
        folders: from :func:`fcos.evaluation.runs.open_folders`.
        dataset: its name; None for the one that the folders have in common.
        annotations: a file in COCO's format, in place of a data set.
        images: with ``annotations``, the folder of the images; empty to draw none.
        config_file: declares the data set under DATASETS.CUSTOM; None for the folders' own config.

    Returns:
        The data set, and its name if it has one by which a folder may hold results.

    Raises:
        UserError: it is not known or cannot be read.
    """
    if annotations:
        return read_truth(default_name(annotations), annotations, images), None
    dataset = dataset or common_dataset(folders)
    if config_file:
        register_custom_datasets(read_cfg(config_file))
    else:
        register_from_configs(dataset, folders)
    return truth_of_dataset(dataset), dataset


def register_from_configs(dataset: str, folders: Sequence[RunFolder]) -> None:
    """Register a data set that the ``config.yaml`` of a result folder declares under CUSTOM.

    Raises:
        UserError: two of them declare it differently.
    """
    for folder in folders:
        datasets = folder.config.get("DATASETS")
        custom = datasets.get("CUSTOM") if isinstance(datasets, dict) else None
        if isinstance(custom, dict) and dataset in custom:
            cfg = get_cfg()
            cfg.DATASETS.CUSTOM = CfgNode({dataset: custom[dataset]}, new_allowed=True)
            cfg.OUTPUT_DIR = folder.path
            register_custom_datasets(cfg)


def truth_of_dataset(name: str) -> Truth:
    """Read the annotations of a registered data set.

    Raises:
        UserError: it is not there, or its annotations are not in COCO's format.
    """
    require_dataset(name)
    metadata = MetadataCatalog.get(name)
    if not metadata.get("json_file"):
        raise UserError(
            f"Data set {name!r} has no annotations in COCO's format: give compare or "
            f"diagnose --annotations OUTPUT_DIR/inference/{name}_coco_format.json, which its "
            "evaluation wrote, and --images FOLDER."
        )
    return read_truth(name, metadata.json_file, metadata.get("image_root", ""))


def read_truth(name: str, json_file: str, image_root: str) -> Truth:
    """Read annotations from a file.

    Args:
        name: as the page calls the data set.
        json_file: in COCO's format.
        image_root: the folder in which its file names lie; empty if no images are to be shown.

    Raises:
        UserError: the file or the folder does not exist, or the file is not in COCO's format.
    """
    from pycocotools.coco import COCO

    if is_folder(json_file):
        raise UserError(
            f"The annotations {json_file} are a folder, expected a file in COCO's format. "
            f"{import_advice(json_file)}"
        )
    if not is_file(json_file):
        raise UserError(f"The annotations {json_file} do not exist.")
    if image_root and not is_folder(image_root):
        raise UserError(f"The folder of pictures {image_root} does not exist.")
    coco = COCO()
    coco.dataset = _records(json_file).as_coco()
    with contextlib.redirect_stdout(io.StringIO()):  # it prints what it is doing
        coco.createIndex()
    return Truth(name, json_file, image_root, coco)


def check_ids(run: Run, truth: Truth) -> None:
    """Check that a run's detections are on images and of classes of the data set.

    Raises:
        UserError: they are not.
    """
    images = [r["image_id"] for r in run.results if r["image_id"] not in truth.coco.imgs]
    if images:
        raise UserError(
            f"{run.results_file} is of another data set than {truth.name}: {len(images)} of "
            f"{len(run.results)} detections are on images that {truth.json_file} does not have, "
            f"such as image_id {images[0]!r}."
        )
    categories = [r["category_id"] for r in run.results if r["category_id"] not in truth.coco.cats]
    if categories:
        known = ", ".join(map(str, truth.category_ids[:5]))
        more = ", ..." if len(truth.category_ids) > 5 else ""
        raise UserError(
            f"{run.results_file}: {len(categories)} of {len(run.results)} detections are of "
            f"classes that {truth.name} does not have, such as category_id {categories[0]!r}; its "
            f"own are {known}{more}."
        )
    for index, result in enumerate(run.results if run.has_masks else ()):
        _check_mask(f"{run.results_file}: detection {index}", result, truth)


def _check_mask(where: str, result: dict[str, Any], truth: Truth) -> None:
    mask, image = result["segmentation"], truth.coco.imgs[result["image_id"]]
    size = [image["height"], image["width"]]
    if not isinstance(mask, dict) or not isinstance(mask.get("counts"), str):
        raise UserError(f"{where} has a segmentation that is no compressed run-length encoding.")
    if list(mask.get("size", ())) != size:
        raise UserError(
            f"{where} has a mask of {reprlib.repr(mask.get('size'))} rows and columns, but image "
            f"{image['id']} of {truth.name} has {size}."
        )
    if not are_run_lengths_of(mask["counts"], size[0] * size[1]):
        raise UserError(f"{where} has run lengths that do not add up to the pixels of its image.")


def _records(json_file: str) -> DatasetRecords:
    """Read annotations for an evaluation; without masks unless all of them can be used."""
    for with_masks in (True, False):
        records = read_annotations(json_file, with_masks)
        if records.problem:
            raise UserError(records.problem)
        if with_masks and all(
            thing.mask_form in (POLYGONS, RUN_LENGTHS)
            for image in records.images
            for thing in image.objects
        ):
            break
    if not records.has_annotations:
        raise UserError(f"{json_file} has no annotations: there is nothing to compare with.")
    check_evaluable(json_file, records.images, with_masks)
    return records


def default_name(json_file: str) -> str:
    """Name a data set after its annotation file."""
    return os.path.splitext(os.path.basename(json_file))[0]
