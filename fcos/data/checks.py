"""What can be known about a data set before the first iteration: is it sound, does it fit?"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from fcos.data.image_checks import ImageUse, check_images
from fcos.data.left_out import leave_out, without_left_out
from fcos.data.records import (
    BROKEN_POLYGONS,
    NOT_NUMBERS,
    RUN_LENGTHS,
    DatasetRecords,
    ImageRecord,
)
from fcos.data.register import read_dataset, require_same_classes
from fcos.data.report import DatasetReport, notes_on, places_of
from fcos.data.resize import Resize, resize_of
from fcos.utils.errors import UserError
from fcos.utils.values import listed

__all__ = ["check_dataset", "check_datasets"]

NUM_CLASSES_KEY = "MODEL.FCOS.NUM_CLASSES"


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
        )
        for name, for_training in names
    ]
    skip = cfg.DATALOADER.SKIP_UNREADABLE
    return _check(uses, cfg.MODEL.FCOS.NUM_CLASSES, all_images, skip, seconds)


def check_dataset(
    name: str,
    num_classes: int,
    *,
    all_images: bool = False,
    for_training: bool = True,
    filter_empty: bool = True,
    mask_format: str = "",
    resize: Resize | None = None,
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

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    use = DatasetUse(name, for_training, filter_empty, mask_format, resize)
    return _check([use], num_classes, all_images)[0]


@dataclasses.dataclass(frozen=True)
class DatasetUse:
    """A data set and what it is used for; the attributes are arguments of `check_dataset`."""

    name: str
    for_training: bool = True
    filter_empty: bool = True
    mask_format: str = ""
    resize: Resize | None = None
    stretch_range: bool = False


def _check(
    uses: Sequence[DatasetUse],
    num_classes: int,
    all_images: bool,
    skip_unreadable: bool = False,
    seconds: float | None = None,
) -> list[DatasetReport]:
    """Check annotations, which is quick, and then images."""
    for use in uses:
        leave_out(use.name, None)
    records = [read_dataset(use.name, use.for_training) for use in uses]
    reports = _reports(uses, records, num_classes)
    checked = check_images(
        [
            ImageUse(use.name, of_use, use.for_training, use.resize, use.stretch_range)
            for use, of_use in zip(uses, records, strict=True)
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
        reports = _reports(uses, rest, num_classes)
    return [
        dataclasses.replace(
            report, num_files_checked=images.num_decoded, notes=(*report.notes, *images.notes)
        )
        for report, images in zip(reports, checked, strict=True)
    ]


def _reports(
    uses: Sequence[DatasetUse], records: Sequence[DatasetRecords], num_classes: int
) -> list[DatasetReport]:
    """Check the annotations of data sets, and that they have the same classes."""
    reports = [_report(*one, num_classes) for one in zip(uses, records, strict=True)]
    for report in reports[1:]:
        first = reports[0]
        require_same_classes({first.name: first.class_names, report.name: report.class_names})
    return reports


def _report(use: DatasetUse, records: DatasetRecords, num_classes: int) -> DatasetReport:
    name, for_training = use.name, use.for_training
    _check_classes(name, records, num_classes)
    _check_annotations(name, records, for_training)
    images = records.images
    num_objects = [image.num_objects for image in images]
    if not images or (for_training and not any(num_objects)):
        raise UserError(
            f"Data set {name!r} leaves nothing to {'train' if for_training else 'evaluate'} on: "
            f"{len(images)} images, {sum(num_objects)} objects with an area inside their image."
        )
    if use.mask_format:
        _check_masks(name, images, use.mask_format, for_training)
    _check_resized(name, images, use.resize)
    degenerate = places_of(records, lambda thing, _: thing.is_degenerate)
    return DatasetReport(
        name=name,
        class_names=tuple(records.class_names),
        num_images=len(images),
        num_objects=sum(num_objects),
        num_empty_images=num_objects.count(0),
        degenerate=tuple(degenerate),
        notes=tuple(notes_on(records, for_training, use.filter_empty, degenerate)),
    )


def _check_classes(name: str, records: DatasetRecords, num_classes: int) -> None:
    names = records.class_names
    if len(names) != num_classes:
        raise UserError(
            f"Data set {name!r} has {len(names)} classes ({listed(names)}), but {NUM_CLASSES_KEY} "
            f"is {num_classes}: set {NUM_CLASSES_KEY} {len(names)}."
        )


def _check_annotations(name: str, records: DatasetRecords, for_training: bool) -> None:
    """The reader refuses what nobody can use; here is what other uses put up with."""
    if records.stray:
        raise UserError(records.stray)
    is_in_file = bool(records.images) and records.images[0].source is None
    class_of = records.class_of
    for image in records.images:
        for thing in image.objects:
            if thing.category_id not in class_of:  # of a file, all are
                raise UserError(
                    f"Data set {name!r}: {thing.where} of {image.file_name} has category_id "
                    f"{thing.category_id}, expected 0 to {len(class_of) - 1}."
                )
            if is_in_file and not for_training and thing.area is None:
                raise UserError(
                    f"{MetadataCatalog.get(name).json_file}: {thing.where} has no area, which the "
                    "evaluation needs."
                )


def _check_masks(
    name: str, images: Sequence[ImageRecord], mask_format: str, for_training: bool
) -> None:
    if mask_format not in ("polygon", "bitmask"):
        raise UserError(f"INPUT.MASK_FORMAT is {mask_format!r}: expected polygon or bitmask.")
    # Training leaves crowd regions and degenerate boxes out; an evaluation has a use for both.
    objects = [
        thing
        for image in images
        for thing in image.objects
        if not (for_training and (thing.is_crowd or thing.is_degenerate))
    ]
    broken = [thing.where for thing in objects if thing.mask_form == NOT_NUMBERS]
    if broken:
        raise UserError(
            f"Data set {name!r}: {len(broken)} of {len(objects)} annotations have a segmentation "
            f"with something else than finite numbers: {listed(broken)}. Correct them, or set "
            "MODEL.MASK_ON False for boxes only."
        )
    lacking = [thing.where for thing in objects if thing.mask_form in ("", BROKEN_POLYGONS)]
    if lacking:
        raise UserError(
            f"Data set {name!r}: {len(lacking)} of {len(objects)} annotations have no segmentation,"
            f" which MODEL.MASK_ON True needs: {listed(lacking)}. Annotate them with polygons, or "
            "set MODEL.MASK_ON False for boxes only."
        )
    _check_sizes_of_masks(name, images)
    run_lengths = [thing.where for thing in objects if thing.mask_form == RUN_LENGTHS]
    if for_training and mask_format == "polygon" and run_lengths:
        raise UserError(
            f"Data set {name!r}: {len(run_lengths)} of {len(objects)} annotations have run lengths "
            f"as segmentation, which INPUT.MASK_FORMAT polygon cannot hold: {listed(run_lengths)}."
            " Set INPUT.MASK_FORMAT bitmask."
        )


def _check_sizes_of_masks(name: str, images: Sequence[ImageRecord]) -> None:
    other_size = [
        f"{thing.where} ({size} instead of {[image.height, image.width]})"
        for image in images
        if math.isfinite(image.width + image.height)
        for thing in image.objects
        if thing.mask_form == RUN_LENGTHS
        if (size := list(thing.segmentation["size"])) != [image.height, image.width]
    ]
    if other_size:
        raise UserError(
            f"Data set {name!r}: {len(other_size)} annotations have run lengths of another size "
            f"than their image, whose rows and columns they count: {listed(other_size)}."
        )


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
