"""What can be known about a data set before the first iteration: is it sound, does it fit?"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from fcos.config.detector_keys import FCOS_KEYS, Setting, setting_of
from fcos.config.model_classes import ModelClasses, model_classes
from fcos.data.image_checks import ImageUse, check_images
from fcos.data.images import MAX_PIXELS
from fcos.data.left_out import leave_out, without_left_out
from fcos.data.mask_checks import check_masks
from fcos.data.notes import notes_on, places_of
from fcos.data.overlap import image_files, note_on_overlap
from fcos.data.records import DatasetRecords, ImageRecord
from fcos.data.register import read_dataset, require_same_classes
from fcos.data.report import DatasetReport
from fcos.data.resize import Resize, resize_of
from fcos.data.truth_checks import check_evaluable
from fcos.data.units import check_units
from fcos.utils.collector import collector_paused
from fcos.utils.errors import UserError
from fcos.utils.values import listed

__all__ = ["check_dataset", "check_datasets"]


def check_datasets(
    cfg: CfgNode,
    *,
    training: bool = True,
    all_images: bool = False,
    seconds: float | None = None,
) -> list[DatasetReport]:
    """Check DATASETS.TRAIN (only for training) and DATASETS.TEST against each other and the model.

    With DATALOADER.SKIP_UNREADABLE, images that cannot be used are left out from then on.

    Args:
        training: whether DATASETS.TRAIN is going to be used.
        all_images, seconds: as of :func:`fcos.data.image_checks.check_images`.

    Returns:
        a report for each data set, once for each use, those for training first.

    Raises:
        UserError: the first thing found that would make training or evaluation fail.
    """
    names = [(name, True) for name in cfg.DATASETS.TRAIN if training]
    names += [(name, False) for name in cfg.DATASETS.TEST]
    uses = [
        DatasetUse(
            name,
            for_training,
            cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else "",
            resize_of(cfg, "TRAIN" if for_training else "TEST"),
            cfg.INPUT.STRETCH_RANGE,
            cfg.INPUT.MAX_PIXELS,
            setting_of(cfg, "most_found"),
        )
        for name, for_training in names
    ]
    return _check(uses, model_classes(cfg), all_images, cfg.DATALOADER.SKIP_UNREADABLE, seconds)


def check_dataset(
    name: str,
    num_classes: int,
    *,
    all_images: bool = False,
    for_training: bool = True,
    filter_empty: bool = True,
    mask_format: str = "",
    resize: Resize | None = None,
    most_found: int = 0,
) -> DatasetReport:
    """Check one data set: its files, classes, category ids, boxes and images.

    Boxes without an area inside their image are no error: they are counted, and training leaves
    them out.

    Args:
        name: as registered with detectron2.
        num_classes: of the model.
        all_images: decode every image, also if that takes longer than a minute.
        for_training: else it is going to be evaluated on; then it may be without objects.
        filter_empty: whether training leaves out images without objects.
        mask_format: INPUT.MASK_FORMAT of a model with masks; empty for one without.
        resize: how images are resized; ``None``: not at all.
        most_found: the most objects that are detected in an image; 0: any number.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    most = most_found, FCOS_KEYS.most_found
    use = DatasetUse(name, for_training, filter_empty, mask_format, resize, most_found=most)
    return _check([use], ModelClasses(num_classes), all_images)[0]


@dataclasses.dataclass(frozen=True)
class DatasetUse:
    """A data set and what it is used for; the attributes are arguments of `check_dataset`."""

    name: str
    for_training: bool = True
    filter_empty: bool = True
    mask_format: str = ""
    resize: Resize | None = None
    stretch_range: bool = False
    max_pixels: int = MAX_PIXELS
    most_found: Setting = (0, "")


def _check(
    uses: Sequence[DatasetUse],
    model: ModelClasses,
    all_images: bool,
    skip_unreadable: bool = False,
    seconds: float | None = None,
) -> list[DatasetReport]:
    """Check annotations, which is quick, and then images."""
    for use in uses:
        leave_out(use.name, None)
    with collector_paused():
        records = [read_dataset(u.name, u.for_training, bool(u.mask_format)) for u in uses]
        reports = _reports(uses, records, model)
    checked = check_images(
        [
            ImageUse(u.name, of_use, u.for_training, u.resize, u.stretch_range, u.max_pixels)
            for u, of_use in zip(uses, records, strict=True)
        ],
        all_images=all_images,
        skip_unreadable=skip_unreadable,
        seconds=seconds,
    )
    if skip_unreadable:
        unreadable: dict[str, set[str]] = {use.name: set() for use in uses}
        for use, images in zip(uses, checked, strict=True):
            unreadable[use.name].update(images.unreadable)
        for name, file_names in unreadable.items():
            leave_out(name, file_names)
        rest = [without_left_out(u.name, r) for u, r in zip(uses, records, strict=True)]
        with collector_paused():
            reports = _reports(uses, rest, model)
    return [
        dataclasses.replace(
            report, num_files_checked=images.num_decoded, notes=(*report.notes, *images.notes)
        )
        for report, images in zip(reports, checked, strict=True)
    ]


def _reports(
    uses: Sequence[DatasetUse], records: Sequence[DatasetRecords], model: ModelClasses
) -> list[DatasetReport]:
    """Check the annotations of data sets, and that they have the same classes."""
    reports = [_report(*one, model) for one in zip(uses, records, strict=True)]
    for report in reports[1:]:
        first = reports[0]
        require_same_classes({first.name: first.class_names, report.name: report.class_names})
    files = [image_files(of_use) for of_use in records]
    trained_on = {u.name: f for u, f in zip(uses, files, strict=True) if u.for_training}
    for i, use in enumerate(uses if trained_on else ()):
        if not use.for_training and (note := note_on_overlap(trained_on, files[i])):
            reports[i] = dataclasses.replace(reports[i], notes=(*reports[i].notes, note))
    return reports


def _report(use: DatasetUse, records: DatasetRecords, model: ModelClasses) -> DatasetReport:
    name, for_training = use.name, use.for_training
    _check_classes(name, records, model)
    _check_annotations(name, records)
    images = records.images
    check_units(name, images)
    num_objects = [image.num_objects for image in images]
    if not images or (for_training and not any(num_objects)):
        raise UserError(_nothing_left(name, images, for_training))
    if not for_training:
        check_evaluable(f"Data set {name!r}", images, with_masks=bool(use.mask_format))
    elif use.mask_format:
        check_masks(f"Data set {name!r}", images, use.mask_format, for_training=True)
    _check_resized(name, images, use.resize)
    degenerate = places_of(records, lambda thing, _: thing.is_degenerate)
    return DatasetReport(
        name=name,
        class_names=tuple(records.class_names),
        num_images=len(images),
        num_objects=sum(num_objects),
        num_empty_images=num_objects.count(0),
        degenerate=tuple(degenerate),
        notes=tuple(notes_on(records, for_training, use.filter_empty, degenerate, use.most_found)),
    )


def _check_classes(name: str, records: DatasetRecords, model: ModelClasses) -> None:
    names = records.class_names
    if not names:
        is_in_file = bool(MetadataCatalog.get(name).get("json_file"))
        where = "its annotation file lists no categories" if is_in_file else "it names none"
        raise UserError(
            f"Data set {name!r} has no classes: {where}."
            + ("" if is_in_file else f" Set MetadataCatalog.get({name!r}).thing_classes.")
        )
    if model.number is not None and len(names) != model.number:
        raise UserError(
            f"Data set {name!r} has {len(names)} classes ({listed(names)}), but {model.key} "
            f"is {model.number}: set {model.key} {len(names)}."
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
