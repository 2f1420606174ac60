"""What can be known about a data set before the first iteration: sound, and does it fit the model.

The checks read the annotations as they are in the file, so that a message can name the annotation.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import reprlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from detectron2.utils.file_io import PathManager
from fcos.utils.errors import UserError

from .mapper import Resize, image_problem, is_degenerate, resize_of
from .register import get_class_names, read_coco_json, refuse_equal_ids, require_dataset

__all__ = ["DatasetReport", "check_dataset", "check_datasets"]

NUM_CLASSES_KEY = "MODEL.FCOS.NUM_CLASSES"
SAMPLED_IMAGES = 100
NAMED = 5  # how many of several things a message names


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
            f"{len(self.class_names)} classes ({_listed(self.class_names)})."
        )
        return "\n".join([head, *self.notes])


@dataclasses.dataclass
class _Image:
    file_name: str
    width: float
    height: float
    boxes: list[_Box] = dataclasses.field(default_factory=list)

    @property
    def num_objects(self) -> int:
        return sum(not (box.is_crowd or self.has_degenerate(box)) for box in self.boxes)

    def has_degenerate(self, box: _Box) -> bool:
        return is_degenerate(box.xyxy, self.width, self.height)


@dataclasses.dataclass(frozen=True)
class _Box:
    where: str  # for messages
    xyxy: list[float]
    is_crowd: bool
    mask_form: str  # "polygons", "run lengths", "no numbers" or, without a segmentation, ""
    mask_size: list[int] | None  # of run lengths: rows and columns


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
                f"in another order: {_listed(reports[0].class_names)} in the first, "
                f"{_listed(report.class_names)} in the second."
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
    images, class_names = _read(name, for_training)
    if len(class_names) != num_classes:
        raise UserError(
            f"Data set {name!r} has {len(class_names)} classes ({_listed(class_names)}), but "
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


def _read(name: str, for_training: bool) -> tuple[list[_Image], list[str]]:
    metadata = MetadataCatalog.get(name)
    if metadata.get("json_file"):
        return _read_coco(metadata.json_file, metadata.get("image_root", ""), for_training)
    return _read_entries(name)


def _read_coco(
    json_file: str, image_root: str, for_training: bool
) -> tuple[list[_Image], list[str]]:
    contents = read_coco_json(json_file)
    categories = sorted(contents["categories"], key=lambda category: category["id"])
    known_ids = {category["id"] for category in categories}
    images: dict[Any, _Image] = {}
    for record in contents["images"]:
        missing = [key for key in ("id", "file_name", "width", "height") if key not in record]
        if missing:
            raise UserError(f"{json_file}: image {record} has no {' and no '.join(missing)}.")
        size = record["width"], record["height"]
        if not all(isinstance(side, (int, float)) and side > 0 for side in size):
            raise UserError(
                f"{json_file}: image {record['id']} has the width {size[0]!r} and the height "
                f"{size[1]!r}; expected two positive numbers, in pixels."
            )
        path = os.path.join(image_root, str(record["file_name"]))
        images[record["id"]] = _Image(path, *size)
    _check_fields(json_file, contents.get("annotations", []), for_training)
    for annotation in contents.get("annotations", ()):
        where = f"annotation {annotation.get('id')}"
        if annotation.get("category_id") not in known_ids:
            raise UserError(
                f"{json_file}: {where} has category_id {annotation.get('category_id')!r}, which "
                f"is not among its categories: {_listed(sorted(known_ids))}."
            )
        box = _box(f"{json_file}: {where}", annotation, BoxMode.XYWH_ABS)
        if annotation.get("image_id") not in images:
            raise UserError(
                f"{json_file}: {where} is on image {annotation.get('image_id')!r}, which is "
                "not among its images."
            )
        images[annotation["image_id"]].boxes.append(dataclasses.replace(box, where=where))
    return list(images.values()), [category["name"] for category in categories]


def _check_fields(json_file: str, annotations: list[dict[str, Any]], for_training: bool) -> None:
    """Loading needs an id of its own for each annotation, and the evaluation its area."""
    for annotation in annotations:
        needed = ("id",) if for_training else ("id", "area")
        missing = [key for key in needed if annotation.get(key) is None]
        if missing:
            raise UserError(
                f"{json_file}: annotation {reprlib.repr(annotation)} has no "
                f"{' and no '.join(missing)}."
            )
    # detectron2 puts up with it in the published "minival" files of COCO 2014, which have some.
    if "minival" not in json_file:
        refuse_equal_ids(json_file, "annotations", annotations)


def _read_entries(name: str) -> tuple[list[_Image], list[str]]:
    """Of a data set that is not in COCO's format: as the function that it registered gives it."""
    entries = DatasetCatalog.get(name)
    class_names = get_class_names(name)
    images = []
    for entry in entries:
        size = entry.get("width", math.inf), entry.get("height", math.inf)
        image = _Image(entry["file_name"], *size)
        for number, annotation in enumerate(entry.get("annotations", ())):
            where = f"annotation {number} of {entry['file_name']}"
            if annotation.get("category_id") not in range(len(class_names)):
                raise UserError(
                    f"Data set {name!r}: {where} has category_id {annotation.get('category_id')}, "
                    f"expected 0 to {len(class_names) - 1}."
                )
            mode = annotation.get("bbox_mode", BoxMode.XYXY_ABS)
            box = _box(f"Data set {name!r}: {where}", annotation, mode)
            image.boxes.append(dataclasses.replace(box, where=f"annotation {number}"))
        images.append(image)
    return images, class_names


def _box(where: str, annotation: dict[str, Any], mode: BoxMode) -> _Box:
    try:
        numbers = [float(number) for number in annotation["bbox"]]
        is_sound = len(numbers) == 4 and all(map(math.isfinite, numbers))
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        raise UserError(
            f"{where} has the bbox {annotation.get('bbox')}; expected 4 finite numbers, in pixels."
        )
    xyxy = BoxMode.convert(numbers, mode, BoxMode.XYXY_ABS)
    mask: Any = annotation.get("segmentation")
    form = _mask_form(mask)
    size = list(mask["size"]) if form == "run lengths" else None
    return _Box(where, xyxy, bool(annotation.get("iscrowd", 0)), form, size)


def _mask_form(segmentation: object) -> str:
    if isinstance(segmentation, dict) and "counts" in segmentation:
        return "run lengths" if isinstance(segmentation.get("size"), (list, tuple)) else ""
    if isinstance(segmentation, list):
        parts = [part for part in segmentation if isinstance(part, list)]
        if not all(map(_are_finite, parts)):
            return "no numbers"
        # A polygon has three corners or more.
        if any(len(part) >= 6 and len(part) % 2 == 0 for part in parts):
            return "polygons"
    return ""


def _are_finite(numbers: list[Any]) -> bool:
    try:
        return math.isfinite(sum(numbers))  # ten times as fast as one by one
    except TypeError:
        return False


def _check_masks(name: str, images: Sequence[_Image], mask_format: str, for_training: bool) -> None:
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
            f"with something else than finite numbers: {_listed(broken)}. Correct them, or set "
            "MODEL.MASK_ON False for boxes only."
        )
    lacking = [box.where for box in boxes if not box.mask_form]
    if lacking:
        raise UserError(
            f"Data set {name!r}: {len(lacking)} of {len(boxes)} annotations have no segmentation, "
            f"which MODEL.MASK_ON True needs: {_listed(lacking)}. Annotate them with polygons, or "
            "set MODEL.MASK_ON False for boxes only."
        )
    _check_sizes_of_masks(name, images)
    run_lengths = [box.where for box in boxes if box.mask_form == "run lengths"]
    if for_training and mask_format == "polygon" and run_lengths:
        raise UserError(
            f"Data set {name!r}: {len(run_lengths)} of {len(boxes)} annotations have run lengths "
            f"as segmentation, which INPUT.MASK_FORMAT polygon cannot hold: {_listed(run_lengths)}."
            " Set INPUT.MASK_FORMAT bitmask."
        )


def _check_sizes_of_masks(name: str, images: Sequence[_Image]) -> None:
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
            f"than their image, whose rows and columns they count: {_listed(other_size)}."
        )


def _check_resized(name: str, images: Sequence[_Image], resize: Resize | None) -> None:
    """Of a very long image, or of one that is cropped, nothing may be left of the shorter side."""
    if resize is None:
        return
    sizes = {(image.height, image.width): image for image in images}
    vanishing: dict[str, list[_Image]] = {}
    for (height, width), image in sizes.items():
        if math.isfinite(height + width) and min(height, width) > 0:
            vanishing.setdefault(resize.vanishes_by(height, width), []).append(image)
    vanishing.pop("", None)
    if vanishing:
        setting, of_it = next(iter(vanishing.items()))
        named = [f"{os.path.basename(i.file_name)} ({i.width}x{i.height})" for i in of_it]
        raise UserError(
            f"Data set {name!r}: {setting} leaves nothing of the shorter side of images such as "
            f"{_listed(named)}. Raise it, or take them out of the annotations."
        )


def _check_files(
    name: str, images: Sequence[_Image], all_images: bool, resize: Resize | None
) -> int:
    """How many were looked at."""
    if all_images:
        return _check_all_images(name, images, resize)
    return _look_for_images(name, images)


def _look_for_images(name: str, images: Sequence[_Image]) -> int:
    step = max(1, len(images) / SAMPLED_IMAGES)
    sample = [images[int(i * step)] for i in range(min(len(images), SAMPLED_IMAGES))]
    missing = [image.file_name for image in sample if not PathManager.isfile(image.file_name)]
    if missing:
        raise UserError(
            f"Data set {name!r}: {len(missing)} of {len(sample)} images looked for do not exist: "
            f"{_listed(missing)}."
        )
    return len(sample)


def _check_all_images(name: str, images: Sequence[_Image], resize: Resize | None) -> int:
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
        f"Several categories have the same name ({_listed(doubled)}), and are different classes "
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
        f"{_listed(degenerate)}."
    )


def _note_on_overhanging(images: Sequence[_Image]) -> str:
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
        f"height): {_listed(overhanging)}."
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


def _listed(things: Sequence[object]) -> str:
    named = ", ".join(map(str, itertools.islice(things, NAMED)))
    return f"{named}, ... ({len(things)} in all)" if len(things) > NAMED else named
