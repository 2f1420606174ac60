"""What can be known about a data set before the first iteration: is it sound, does it fit?"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager
from fcos.data.images import Resize, image_problem, resize_of
from fcos.data.mask_checks import check_masks
from fcos.data.notes import notes_on, places_of
from fcos.data.overlap import ImageFile, image_files, note_on_overlap
from fcos.data.records import DatasetRecords, ImageRecord
from fcos.data.register import read_dataset, require_same_classes
from fcos.data.report import DatasetReport
from fcos.data.truth_checks import check_evaluable
from fcos.data.units import check_units
from fcos.utils.collector import collector_paused
from fcos.utils.errors import UserError
from fcos.utils.values import NAMED, listed

__all__ = ["check_dataset", "check_datasets"]

NUM_CLASSES_KEY = "MODEL.FCOS.NUM_CLASSES"
SAMPLED_IMAGES = 100


def check_datasets(
    cfg: CfgNode, *, training: bool = True, all_images: bool = False
) -> list[DatasetReport]:
    """Check DATASETS.TRAIN (only for training) and DATASETS.TEST against each other and the model.

    Args:
        training: whether DATASETS.TRAIN is going to be used.
        all_images: decode every image instead of looking for a sample of the files.

    Returns:
        a report for each data set, once for each use, those for training first.

    Raises:
        UserError: the first thing found that would make training or evaluation fail.
    """
    with collector_paused():
        return _check_datasets(cfg, training, all_images)


def _check_datasets(cfg: CfgNode, training: bool, all_images: bool) -> list[DatasetReport]:
    uses = [(name, True) for name in cfg.DATASETS.TRAIN if training]
    uses += [(name, False) for name in cfg.DATASETS.TEST]
    trained_on: dict[str, list[ImageFile]] = {}
    reports: list[DatasetReport] = []
    for name, is_for_training in uses:
        records, report = _checked(
            name,
            cfg.MODEL.FCOS.NUM_CLASSES,
            all_images=all_images,
            for_training=is_for_training,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            mask_format=cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else "",
            resize=resize_of(cfg, "TRAIN" if is_for_training else "TEST"),
            most_found=cfg.MODEL.FCOS.NMS_POST_TOPK,
        )
        if reports:
            first = reports[0]
            require_same_classes({first.name: first.class_names, name: report.class_names})
        if is_for_training:
            trained_on[name] = image_files(records)
        elif note := note_on_overlap(trained_on, image_files(records) if trained_on else []):
            report = dataclasses.replace(report, notes=(*report.notes, note))
        reports.append(report)
    return reports


def check_dataset(name: str, num_classes: int, **options: Any) -> DatasetReport:
    """Check one data set: its files, classes, category ids, boxes and images.

    Boxes without an area inside their image are no error: they are counted, and training leaves
    them out.

    Args:
        name: as registered with detectron2.
        num_classes: of the model.
        all_images (bool): decode every image; otherwise (False) 100 files, evenly spread, are
            looked for.
        for_training (bool): True; else it is going to be evaluated on; then it may be without
            objects.
        filter_empty (bool): whether training leaves out images without objects; True.
        mask_format (str): INPUT.MASK_FORMAT of a model with masks; empty for one without.
        resize: how images are resized; ``None``: not at all.
        most_found (int): the most objects that are detected in an image; 0: any number.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    return _checked(name, num_classes, **options)[1]


def _checked(
    name: str,
    num_classes: int,
    *,
    all_images: bool = False,
    for_training: bool = True,
    filter_empty: bool = True,
    mask_format: str = "",
    resize: Resize | None = None,
    most_found: int = 0,
) -> tuple[DatasetRecords, DatasetReport]:
    records = read_dataset(name, for_training, with_masks=bool(mask_format))
    _check_classes(name, records, num_classes)
    _check_annotations(name, records)
    images = records.images
    check_units(name, images)
    num_objects = [image.num_objects for image in images]
    if not images or (for_training and not any(num_objects)):
        raise UserError(_nothing_left(name, images, for_training))
    if for_training and mask_format:
        check_masks(f"Data set {name!r}", images, mask_format, for_training=True)
    if not for_training:
        check_evaluable(f"Data set {name!r}", images, with_masks=bool(mask_format))
    _check_resized(name, images, resize)
    if all_images:
        num_files = _check_all_images(name, records, resize)
    else:
        num_files = _look_for_images(name, records)
    degenerate = places_of(records, lambda thing, _: thing.is_degenerate)
    notes = notes_on(records, for_training, filter_empty, degenerate, most_found)
    seen = f"{num_files} of {len(images)} images were {'decoded' if all_images else 'looked for'}."
    return records, DatasetReport(
        name=name,
        class_names=tuple(records.class_names),
        num_images=len(images),
        num_objects=sum(num_objects),
        num_empty_images=num_objects.count(0),
        degenerate=tuple(degenerate),
        num_files_checked=num_files,
        notes=(*notes, seen),
    )


def _check_classes(name: str, records: DatasetRecords, num_classes: int) -> None:
    names = records.class_names
    if not names:
        is_in_file = bool(MetadataCatalog.get(name).get("json_file"))
        where = "its annotation file lists no categories" if is_in_file else "it names none"
        raise UserError(
            f"Data set {name!r} has no classes: {where}."
            + ("" if is_in_file else f" Set MetadataCatalog.get({name!r}).thing_classes.")
        )
    if len(names) != num_classes:
        raise UserError(
            f"Data set {name!r} has {len(names)} classes ({listed(names)}), but {NUM_CLASSES_KEY} "
            f"is {num_classes}: set {NUM_CLASSES_KEY} {len(names)}."
        )


def _check_annotations(name: str, records: DatasetRecords) -> None:
    """The reader refuses what nobody can use; here is what other uses put up with."""
    if records.stray:
        raise UserError(records.stray)
    classes = range(len(records.class_names))
    for image in records.images if records.images and records.images[0].source else ():
        for thing in image.objects:
            if thing.category_id not in classes:
                raise UserError(
                    f"Data set {name!r}: {thing.where} of {image.file_name} has category_id "
                    f"{thing.category_id!r}, expected 0 to {len(classes) - 1}."
                )
        if not image.file_name:
            raise UserError(f"Data set {name!r}: image {image.id!r} has no file_name.")


def _nothing_left(name: str, images: Sequence[ImageRecord], for_training: bool) -> str:
    things = [thing for image in images for thing in image.objects]
    crowds = sum(thing.is_crowd for thing in things)
    left_out = sum(thing.is_left_out for thing in things)
    parts = [f"{len(images)} images", f"{len(things)} annotations"]
    fate = f", {crowds} of them crowd regions (iscrowd 1)" if crowds else ""
    fate += f", {left_out} without an area inside their image" if left_out else ""
    use = "train" if for_training else "evaluate"
    return f"Data set {name!r} leaves nothing to {use} on: {' with '.join(parts)}{fate}."


def _check_resized(name: str, images: Sequence[ImageRecord], resize: Resize | None) -> None:
    """Of a very long image, or of one that is cropped, nothing may be left of the shorter side."""
    if resize is None:
        return
    sizes = {(image.height, image.width): image for image in images}
    vanishing: dict[str, list[ImageRecord]] = {}
    for (height, width), image in sizes.items():
        if math.isfinite(height + width) and min(height, width) > 0:
            vanishing.setdefault(resize.vanishes_by(height, width), []).append(image)
    vanishing.pop("", None)
    if vanishing:
        setting, of_it = next(iter(vanishing.items()))
        named = [f"{os.path.basename(i.file_name)} ({i.width}x{i.height})" for i in of_it]
        raise UserError(
            f"Data set {name!r}: {setting} leaves nothing of the shorter side of images such as "
            f"{listed(named)}. Raise it, or take them out of the annotations."
        )


def _look_for_images(name: str, records: DatasetRecords) -> int:
    images = records.images
    step = max(1, len(images) / SAMPLED_IMAGES)
    sample = [images[int(i * step)] for i in range(min(len(images), SAMPLED_IMAGES))]
    paths = [records.path_of(image) for image in sample]
    missing = [path for path in paths if not PathManager.isfile(path)]
    if missing:
        raise UserError(
            f"Data set {name!r}: {len(missing)} of {len(sample)} images looked for do not exist: "
            f"{listed(missing)}."
        )
    return len(sample)


def _check_all_images(name: str, records: DatasetRecords, resize: Resize | None) -> int:
    images = [
        {"file_name": records.path_of(image)}
        | (
            {"width": image.width, "height": image.height}
            if math.isfinite(image.width + image.height)
            else {}
        )
        for image in records.images
    ]
    with ThreadPoolExecutor() as pool:  # decoders run outside Python's lock
        found = pool.map(image_problem, images, itertools.repeat(resize))
        problems = [problem for problem in found if problem]
    if problems:
        more = f" ... and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise UserError(
            f"Data set {name!r}: {len(problems)} of {len(images)} images cannot be used. "
            f"{' '.join(problems[:NAMED])}{more}"
        )
    return len(images)
