"""Labels written in the formats of labelling tools; :mod:`fcos.data.importing` reads them again.

hotcoco converts to these formats too, but rounds VOC's boxes to 1-based pixels, writes a data.yaml
that names no images, and refuses two images of one name in different folders.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import yaml

from fcos.data.importing.annotations import coco_pieces, common_folder
from fcos.data.importing.labels import LabelledImage, LabelledObject
from fcos.data.importing.masks import runs_of_crop
from fcos.utils.errors import UserError
from fcos.utils.files import write_text
from fcos.utils.folders import made_folder

__all__ = ["LABEL_FORMATS", "WITH_MASKS", "check_label_names", "write_labels"]

WITH_MASKS = ("cvat", "coco")
_PER_IMAGE = {"yolo": ".txt", "voc": ".xml"}  # formats with a file for each image, and its ending


def check_label_names(kind: str, paths: Iterable[str]) -> None:
    """Check that each image has a label file of its own.

    Args:
        kind: a key of LABEL_FORMATS.
        paths: of the images.

    Raises:
        UserError: two images would have the same one, or they are on several drives.
    """
    common_folder(paths)
    seen: dict[str, str] = {}
    for path in paths if kind in _PER_IMAGE else ():
        first = seen.setdefault(os.path.splitext(os.path.abspath(path))[0], path)
        if first != path:
            raise UserError(
                f"--labels {kind}: {first} and {path} would have the same label file: rename one, "
                "or write cvat or coco."
            )


def write_labels(
    kind: str, folder: str, images: Iterable[LabelledImage], class_names: Sequence[str], note: str
) -> None:
    """Write a folder of labels, whole or not at all. One that is there with the same stays.

    Args:
        kind: a key of LABEL_FORMATS.
        folder: to be written.
        images: with their labels in pixels; iterated several times.
        class_names: all that the objects may have, in the order of their numbers.
        note: a line on what the labels are; it is written into the files.

    Raises:
        UserError: the folder has other content, or cannot be written.
    """
    root = common_folder(image.path for image in images)
    with contextlib.suppress(_Same), made_folder(folder) as unfinished:
        for name, pieces in LABEL_FORMATS[kind](images, class_names, root, note):
            path = os.path.join(unfinished, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            # Names of files may be other than UTF-8.
            write_text(path, pieces, errors="surrogateescape", survives_power_loss=False)
        if os.path.lexists(folder):
            _compare(folder, unfinished)


class _Same(Exception):
    """The folder is there already."""


def _compare(folder: str, unfinished: str) -> None:
    """Raise :class:`_Same`, or an error if the folder that is there has other content."""
    if other := _first_difference(folder, unfinished):
        raise UserError(
            f"{folder} is there already with other content ({other}), perhaps corrected by hand: "
            "move it away, and run the same command again."
        )
    raise _Same


def _first_difference(first: str, second: str) -> str:
    """Return the name of a file that only one of two folders has, or that differs; "" if none."""
    names = sorted({*_files_below(first), *_files_below(second)})
    pairs = ((name, os.path.join(first, name), os.path.join(second, name)) for name in names)
    for name, one, other in pairs:
        both = os.path.isfile(one) and os.path.isfile(other)
        if not (both and filecmp.cmp(one, other, shallow=False)):
            return name
    return ""


def _files_below(folder: str) -> Iterator[str]:
    if not os.path.isdir(folder):
        yield os.curdir
    for place, _, names in os.walk(folder):
        yield from (os.path.relpath(os.path.join(place, name), folder) for name in names)


Files = Iterator[tuple[str, Iterable[str]]]  # names, and the text of each in pieces


def _name_of(image: LabelledImage, root: str) -> str:
    return os.path.relpath(image.path, root).replace(os.sep, "/")


# ---- YOLO: fractions of the width and height -----------------------------------------------------


def _yolo(
    images: Iterable[LabelledImage], class_names: Sequence[str], root: str, note: str
) -> Files:
    numbers = {name: number for number, name in enumerate(class_names)}
    settings = {"path": ".", "train": "train.txt", "names": dict(enumerate(class_names))}
    yield "data.yaml", [f"# {note}\n", yaml.safe_dump(settings, sort_keys=False)]
    yield "classes.txt", (f"{' '.join(name.split())}\n" for name in class_names)
    yield "train.txt", (f"images/{_name_of(image, root)}\n" for image in images)
    for image in images:
        rows = [_yolo_row(image, labelled, numbers) for labelled in image.objects]
        yield f"labels/{os.path.splitext(_name_of(image, root))[0]}.txt", rows


def _yolo_row(image: LabelledImage, labelled: LabelledObject, numbers: dict[str, int]) -> str:
    left, top, right, bottom = labelled.xyxy
    x, width = (left + right) / 2 / image.width, (right - left) / image.width
    y, height = (top + bottom) / 2 / image.height, (bottom - top) / image.height
    return f"{numbers[labelled.name]} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


# ---- Pascal VOC: whole pixels, edges counted from 0 ----------------------------------------------


def _voc(
    images: Iterable[LabelledImage], class_names: Sequence[str], root: str, note: str
) -> Files:
    for image in images:
        name = _name_of(image, root)
        lines = [
            "<annotation>",
            f"  <folder>{escape(os.path.basename(os.path.dirname(image.path)))}</folder>",
            f"  <filename>{escape(name)}</filename>",
            f"  <source><annotation>{escape(note)}</annotation></source>",
            f"  <size><width>{image.width}</width><height>{image.height}</height>"
            "<depth>3</depth></size>",
            "  <segmented>0</segmented>",
            *(_voc_object(image, labelled) for labelled in image.objects),
            "</annotation>",
        ]
        yield f"Annotations/{os.path.splitext(name)[0]}.xml", ["\n".join(lines), "\n"]


def _voc_object(image: LabelledImage, labelled: LabelledObject) -> str:
    left, top, right, bottom = map(round, labelled.xyxy)
    left, top = min(left, image.width - 1), min(top, image.height - 1)  # one pixel at least
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    corners = {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
    box = "".join(f"<{tag}>{number}</{tag}>" for tag, number in corners.items())
    return (
        f"  <object><name>{escape(labelled.name)}</name><pose>Unspecified</pose>"
        f"<truncated>0</truncated><difficult>0</difficult><bndbox>{box}</bndbox></object>"
    )


# ---- CVAT: hundredths of pixels, and masks as run lengths of a crop ------------------------------


def _cvat(
    images: Iterable[LabelledImage], class_names: Sequence[str], root: str, note: str
) -> Files:
    yield "annotations.xml", _cvat_pieces(images, class_names, root, note)


def _cvat_pieces(
    images: Iterable[LabelledImage], class_names: Sequence[str], root: str, note: str
) -> Iterator[str]:
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in class_names)
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
    yield f"  <meta><task><name>{escape(note)}</name><labels>{labels}</labels></task></meta>\n"
    for number, image in enumerate(images):
        name = quoteattr(_name_of(image, root))
        yield f'  <image id="{number}" name={name} width="{image.width}" height="{image.height}">\n'
        yield from map(_cvat_shape, image.objects)
        yield "  </image>\n"
    yield "</annotations>\n"


def _cvat_shape(labelled: LabelledObject) -> str:
    common = f'label={quoteattr(labelled.name)} source="auto" occluded="0" z_order="0"'
    if labelled.segmentation is None:
        sides = zip(("xtl", "ytl", "xbr", "ybr"), labelled.xyxy, strict=True)
        numbers = " ".join(f'{side}="{number:.2f}"' for side, number in sides)
        return f"    <box {common} {numbers}/>\n"
    from pycocotools import mask as mask_api

    pixels = mask_api.decode(labelled.segmentation)
    rows, columns = pixels.any(axis=1).nonzero()[0], pixels.any(axis=0).nonzero()[0]
    if not len(rows):  # half a pixel's
        return _cvat_shape(LabelledObject(labelled.name, labelled.xyxy))
    crop = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    runs = ", ".join(map(str, runs_of_crop(crop)))
    place = f'left="{columns[0]}" top="{rows[0]}" width="{crop.shape[1]}" height="{crop.shape[0]}"'
    return f'    <mask {common} rle="{runs}" {place}/>\n'


# ---- COCO: all that is known ---------------------------------------------------------------------


def _coco(
    images: Iterable[LabelledImage], class_names: Sequence[str], root: str, note: str
) -> Files:
    yield "annotations.json", coco_pieces(images, class_names, root, description=note)


# By name: takes images, names of the classes, the folder that the images lie below, and a note.
LABEL_FORMATS: dict[str, Callable[[Iterable[LabelledImage], Sequence[str], str, str], Files]] = {
    "yolo": _yolo,
    "voc": _voc,
    "cvat": _cvat,
    "coco": _coco,
}
