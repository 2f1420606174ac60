"""What can be known about a data set before the first iteration: is it sound, does it fit?"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from detectron2.config import CfgNode
from detectron2.utils.file_io import PathManager
from fcos.data.annotated import NAMED, AnnotatedImage, listed, read_annotated
from fcos.data.images import Resize, image_problem, resize_of
from fcos.data.register import require_dataset
from fcos.utils.errors import UserError

__all__ = ["DatasetReport", "check_dataset", "check_datasets"]

NUM_CLASSES_KEY = "MODEL.FCOS.NUM_CLASSES"
SAMPLED_IMAGES = 100


@dataclasses.dataclass(frozen=True)
class DatasetReport:
    """A data set that passed `check_dataset`. ``str`` gives a sentence on each line.

    Attributes:
        name: of the data set.
        class_names: in the order of the class numbers.
        num_images: all of them.
        num_objects: boxes to learn or to find; neither crowd regions nor degenerate boxes.
        num_empty_images: images without such a box.
        degenerate: where each box without an area inside its image was found.
        num_files_checked: image files that were looked at, and exist.
        notes: what else there is to say, in sentences.
    """

    name: str
    class_names: tuple[str, ...]
    num_images: int
    num_objects: int
    num_empty_images: int
    degenerate: tuple[str, ...]
    num_files_checked: int
    notes: tuple[str, ...]

    def __str__(self) -> str:
        head = (
            f"Data set {self.name!r}: {self.num_images} images, {self.num_objects} objects, "
            f"{len(self.class_names)} classes ({listed(self.class_names)})."
        )
        return "\n".join([head, *self.notes])


def check_datasets(
    cfg: CfgNode, *, training: bool = True, all_images: bool = False
) -> list[DatasetReport]:
    """Checks DATASETS.TRAIN (only for training) and DATASETS.TEST against each other and the model.

    Args:
        training: whether DATASETS.TRAIN is going to be used.
        all_images: decode every image instead of looking for a sample of the files.

    Returns:
        a report for each data set, once for each use, those for training first.

    Raises:
        UserError: the first thing found that would make training or evaluation fail.
    """
    uses = [(name, True) for name in cfg.DATASETS.TRAIN if training]
    uses += [(name, False) for name in cfg.DATASETS.TEST]
    reports: list[DatasetReport] = []
    for name, is_for_training in uses:
        report = check_dataset(
            name,
            cfg.MODEL.FCOS.NUM_CLASSES,
            all_images=all_images,
            for_training=is_for_training,
            filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS,
            mask_format=cfg.INPUT.MASK_FORMAT if cfg.MODEL.MASK_ON else "",
            resize=resize_of(cfg, "TRAIN" if is_for_training else "TEST"),
        )
        if reports and report.class_names != reports[0].class_names:
            raise UserError(
                f"Data sets {reports[0].name!r} and {name!r} have different classes, or the same "
                f"in another order: {listed(reports[0].class_names)} in the first, "
                f"{listed(report.class_names)} in the second."
            )
        reports.append(report)
    return reports


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
    """Checks one data set: its files, classes, category ids, boxes and images.

    Boxes without an area inside their image are no error: they are counted, and training leaves
    them out.

    Args:
        name: as registered with detectron2.
        num_classes: of the model.
        all_images: decode every image; otherwise 100 files, evenly spread, are looked for.
        for_training: else it is going to be evaluated on; then it may be without objects.
        filter_empty: whether training leaves out images without objects.
        mask_format: INPUT.MASK_FORMAT of a model with masks; empty for one without.
        resize: how images are resized; ``None``: not at all.

    Raises:
        UserError: with what is wrong, where, and what to do.
    """
    require_dataset(name)
    images, class_names = read_annotated(name, for_training)
    if len(class_names) != num_classes:
        raise UserError(
            f"Data set {name!r} has {len(class_names)} classes ({listed(class_names)}), but "
            f"{NUM_CLASSES_KEY} is {num_classes}: set {NUM_CLASSES_KEY} {len(class_names)}."
        )
    num_objects = [image.num_objects for image in images]
    if not images or (for_training and not any(num_objects)):
        raise UserError(
            f"Data set {name!r} leaves nothing to {'train' if for_training else 'evaluate'} on: "
            f"{len(images)} images, {sum(num_objects)} objects with an area inside their image."
        )
    if mask_format:
        _check_masks(name, images, mask_format, for_training)
    _check_resized(name, images, resize)
    num_files = _check_files(name, images, all_images, resize)
    degenerate = tuple(
        f"{box.where} ({os.path.basename(image.file_name)})"
        for image in images
        for box in image.boxes
        if image.has_degenerate(box)
    )
    notes = [
        _note_on_equal_names(class_names),
        _note_on_degenerate(degenerate, for_training),
        _note_on_overhanging(images),
        _note_on_empty(num_objects.count(0), for_training, filter_empty),
        f"{num_files} of {len(images)} images were {'decoded' if all_images else 'looked for'}.",
    ]
    return DatasetReport(
        name=name,
        class_names=tuple(class_names),
        num_images=len(images),
        num_objects=sum(num_objects),
        num_empty_images=num_objects.count(0),
        degenerate=degenerate,
        num_files_checked=num_files,
        notes=tuple(filter(None, notes)),
    )


def _check_masks(
    name: str, images: Sequence[AnnotatedImage], mask_format: str, for_training: bool
) -> None:
    if mask_format not in ("polygon", "bitmask"):
        raise UserError(f"INPUT.MASK_FORMAT is {mask_format!r}: expected polygon or bitmask.")
    # Training leaves crowd regions and degenerate boxes out; an evaluation has a use for both.
    boxes = [
        box
        for image in images
        for box in image.boxes
        if not (for_training and (box.is_crowd or image.has_degenerate(box)))
    ]
    broken = [box.where for box in boxes if box.mask_form == "no numbers"]
    if broken:
        raise UserError(
            f"Data set {name!r}: {len(broken)} of {len(boxes)} annotations have a segmentation "
            f"with something else than finite numbers: {listed(broken)}. Correct them, or set "
            "MODEL.MASK_ON False for boxes only."
        )
    lacking = [box.where for box in boxes if not box.mask_form]
    if lacking:
        raise UserError(
            f"Data set {name!r}: {len(lacking)} of {len(boxes)} annotations have no segmentation, "
            f"which MODEL.MASK_ON True needs: {listed(lacking)}. Annotate them with polygons, or "
            "set MODEL.MASK_ON False for boxes only."
        )
    _check_sizes_of_masks(name, images)
    run_lengths = [box.where for box in boxes if box.mask_form == "run lengths"]
    if for_training and mask_format == "polygon" and run_lengths:
        raise UserError(
            f"Data set {name!r}: {len(run_lengths)} of {len(boxes)} annotations have run lengths "
            f"as segmentation, which INPUT.MASK_FORMAT polygon cannot hold: {listed(run_lengths)}."
            " Set INPUT.MASK_FORMAT bitmask."
        )


def _check_sizes_of_masks(name: str, images: Sequence[AnnotatedImage]) -> None:
    other_size = [
        f"{box.where} ({box.mask_size} instead of {[image.height, image.width]})"
        for image in images
        for box in image.boxes
        if box.mask_size and math.isfinite(image.width + image.height)
        if box.mask_size != [image.height, image.width]
    ]
    if other_size:
        raise UserError(
            f"Data set {name!r}: {len(other_size)} annotations have run lengths of another size "
            f"than their image, whose rows and columns they count: {listed(other_size)}."
        )


def _check_resized(name: str, images: Sequence[AnnotatedImage], resize: Resize | None) -> None:
    """Of a very long image, or of one that is cropped, nothing may be left of the shorter side."""
    if resize is None:
        return
    sizes = {(image.height, image.width): image for image in images}
    vanishing: dict[str, list[AnnotatedImage]] = {}
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


def _check_files(
    name: str, images: Sequence[AnnotatedImage], all_images: bool, resize: Resize | None
) -> int:
    """How many were looked at."""
    if all_images:
        return _check_all_images(name, images, resize)
    return _look_for_images(name, images)


def _look_for_images(name: str, images: Sequence[AnnotatedImage]) -> int:
    step = max(1, len(images) / SAMPLED_IMAGES)
    sample = [images[int(i * step)] for i in range(min(len(images), SAMPLED_IMAGES))]
    missing = [image.file_name for image in sample if not PathManager.isfile(image.file_name)]
    if missing:
        raise UserError(
            f"Data set {name!r}: {len(missing)} of {len(sample)} images looked for do not exist: "
            f"{listed(missing)}."
        )
    return len(sample)


def _check_all_images(name: str, images: Sequence[AnnotatedImage], resize: Resize | None) -> int:
    entries = [
        {"file_name": image.file_name, "width": image.width, "height": image.height}
        if math.isfinite(image.width + image.height)
        else {"file_name": image.file_name}
        for image in images
    ]
    with ThreadPoolExecutor() as pool:  # decoders run outside Python's lock
        found = pool.map(image_problem, entries, itertools.repeat(resize))
        problems = [problem for problem in found if problem]
    if problems:
        more = f" ... and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise UserError(
            f"Data set {name!r}: {len(problems)} of {len(images)} images cannot be used. "
            f"{' '.join(problems[:NAMED])}{more}"
        )
    return len(images)


def _note_on_equal_names(class_names: Sequence[str]) -> str:
    counts = Counter(class_names)
    doubled = [name for name in counts if counts[name] > 1]
    if not doubled:
        return ""
    return (
        f"Several categories have the same name ({listed(doubled)}), and are different classes "
        "all the same: if they should not be, merge them in the annotations."
    )


def _note_on_degenerate(degenerate: Sequence[str], for_training: bool) -> str:
    if not degenerate:
        return ""
    what = "box has" if len(degenerate) == 1 else "boxes have"
    # pycocotools keeps them among the objects, and no detection overlaps with nothing.
    fate = "left out of training" if for_training else "counted in the evaluation as never found"
    return (
        f"{len(degenerate)} {what} no width or height inside the image, {fate}: "
        f"{listed(degenerate)}."
    )


def _note_on_overhanging(images: Sequence[AnnotatedImage]) -> str:
    """Most often these are corners where sizes belong; a pixel more or less is rounding."""
    overhanging = [
        f"{box.where} ({os.path.basename(image.file_name)})"
        for image in images
        for box in image.boxes
        if not image.has_degenerate(box)
        if min(box.xyxy) < -1 or box.xyxy[2] > image.width + 1 or box.xyxy[3] > image.height + 1
    ]
    if not overhanging:
        return ""
    what = "box reaches" if len(overhanging) == 1 else "boxes reach"
    return (
        f"{len(overhanging)} {what} more than a pixel beyond the image (a bbox is x, y, width, "
        f"height): {listed(overhanging)}."
    )


def _note_on_empty(num_empty: int, for_training: bool, filter_empty: bool) -> str:
    if not num_empty:
        return ""
    what = "image has" if num_empty == 1 else "images have"
    fate = ""
    if for_training:
        state = "left out" if filter_empty else "trained on as background"
        fate = f", {state} (DATALOADER.FILTER_EMPTY_ANNOTATIONS {filter_empty})"
    return f"{num_empty} {what} no object{fate}."
