"""Which format the labels in a folder have, told by their contents."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from fcos.data.importing.coco import read_coco
from fcos.data.importing.cvat import read_cvat
from fcos.data.importing.files import Folder, stem_of
from fcos.data.importing.labelme import read_labelme
from fcos.data.importing.labels import Labels, Options, Problems
from fcos.data.importing.tables import kind_of_table, read_csv, read_open_images
from fcos.data.importing.via import read_via
from fcos.data.importing.voc import read_voc
from fcos.data.importing.yolo import is_yolo_row, read_data_yaml, read_yolo
from fcos.utils.errors import UserError
from fcos.utils.reading import LABELS, open_file

__all__ = ["FORMATS", "recognise"]


class Format(NamedTuple):
    """A format of labels: what it is called, and its reader."""

    title: str
    read: Callable[[Folder, list[str], Problems, Options], Labels]


# Where a folder has labels in several formats, the first of these is read.
FORMATS = {
    "coco": Format("COCO JSON", read_coco),
    "cvat": Format("CVAT XML", read_cvat),
    "via": Format("VIA (VGG) JSON", read_via),
    "labelme": Format("LabelMe JSON", read_labelme),
    "voc": Format("Pascal VOC XML", read_voc),
    "open_images": Format("Open Images CSV", read_open_images),
    "yolo": Format("YOLO text", read_yolo),
    "csv": Format("CSV of boxes", read_csv),
}

_SAMPLE = 1 << 16  # bytes at each end of a file that are looked at

_JSON_SIGNS = {
    "via": r'"_via_img_metadata"|"regions"\s*:\s*[\[{]',
    "labelme": r'"shapes"\s*:\s*\[',
    "coco": r'"(images|annotations|categories)"\s*:\s*\[',
}


def recognise(folder: Folder, only: str = "") -> dict[str, list[str]]:
    """Return the label files of each format that is found, the format to read first.

    Args:
        folder: where to look.
        only: a single file to look at; "": all of them.

    Raises:
        UserError: there are none.
    """
    found: dict[str, list[str]] = {}
    has_data_yaml = False
    for ending, kind_of in _KINDS.items():
        for path in folder.by_ending.get(ending, ()):
            if only and path != only:
                continue
            kind = kind_of(path, folder)
            if kind:
                found.setdefault(kind, []).append(path)
                has_data_yaml |= kind_of is _kind_of_yaml
    if not found:
        raise UserError(_nothing(folder, only))
    order = (["yolo"] if has_data_yaml else []) + list(FORMATS)
    return {kind: found[kind] for kind in dict.fromkeys(order) if kind in found}


def _nothing(folder: Folder, only: str) -> str:
    place = only or folder.root
    looked = (
        "looked for Pascal VOC or CVAT XML, COCO, LabelMe or VIA JSON, YOLO text files with images "
        "of the same names, and CSV tables with a header such as filename,xmin,ymin,xmax,ymax,class"
    )
    archives = [path for e in (".zip", ".tar", ".gz") for path in folder.by_ending.get(e, ())]
    unpack = f" Unpack {folder.relative(archives[0])} first." if archives and not only else ""
    return f"{place} has no labels that can be read: {looked}.{unpack}"


def _ends_of(path: str) -> str:
    """Return the beginning and the end of a text file; refuse one that cannot be read."""
    try:
        with open_file(path, LABELS) as file:
            start = file.read(_SAMPLE)
            size = os.fstat(file.fileno()).st_size
            if size > _SAMPLE:
                file.seek(max(_SAMPLE, size - _SAMPLE))
                start += b"\n" + file.read()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}), so it is not known whether it has labels: "
            "make it readable, or take it out of the folder."
        ) from error
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return start.decode("utf-16", errors="replace")
    return start.decode("utf-8-sig", errors="replace")


def _kind_of_json(path: str, folder: Folder) -> str:
    text = _ends_of(path)
    return next((kind for kind, sign in _JSON_SIGNS.items() if re.search(sign, text)), "")


def _kind_of_xml(path: str, folder: Folder) -> str:
    match = re.search(r"<(annotations?)[\s>]", _ends_of(path)[:4096])
    return {"annotation": "voc", "annotations": "cvat"}[match[1]] if match else ""


def _kind_of_csv(path: str, folder: Folder) -> str:
    return kind_of_table(_ends_of(path)[:4096].splitlines()[:5])


def _kind_of_txt(path: str, folder: Folder) -> str:
    """Tell YOLO's rows from other text; a table of boxes may end in .txt as well."""
    lines = _ends_of(path).splitlines()[:5]
    if not lines:
        return "yolo" if folder.has_image_called(stem_of(path)) else ""
    if any(map(is_yolo_row, lines)):
        return "yolo"
    return "csv" if lines[0].count(",") >= 5 and kind_of_table(lines) else ""


def _kind_of_yaml(path: str, folder: Folder) -> str:
    return "yolo" if _ends_of(path) and read_data_yaml(path) else ""


_KINDS: dict[str, Callable[[str, Folder], str]] = {
    ".json": _kind_of_json,
    ".xml": _kind_of_xml,
    ".csv": _kind_of_csv,
    ".tsv": _kind_of_csv,
    ".yaml": _kind_of_yaml,
    ".yml": _kind_of_yaml,
    ".txt": _kind_of_txt,
}
