"""The labels in a folder, whatever their format: recognised, read, and compared with the images."""

from __future__ import annotations

import os

from fcos.data.importing.files import Folder
from fcos.data.importing.labels import LabelledImage, Labels, Options, Problems, Unreadable
from fcos.data.importing.recognise import FORMATS, recognise
from fcos.data.importing.sizes import fit_to_images
from fcos.utils.errors import UserError

__all__ = ["open_source", "read_source"]


def open_source(source: str, images: str, without: str) -> tuple[Folder, str]:
    """Find the files of a source.

    Args:
        source: folder of the labels, or one file of them.
        images: folder of the images, if they lie elsewhere; else "".
        without: a folder that is not looked into.

    Returns:
        The folder, and the path of the only file to read; "": all.

    Raises:
        UserError: there is none of this name.
    """
    only = "" if os.path.isdir(source) else os.path.abspath(source)
    if only and not os.path.exists(only):
        raise UserError(f"{source} does not exist.")
    return Folder(os.path.dirname(only) if only else source, images, without), only


def read_source(
    source: str,
    problems: Problems,
    *,
    format: str = "",
    images: str = "",
    options: Options | None = None,
    without: str = "",
) -> tuple[str, Folder, Labels]:
    """Read labels, and let sizes and boxes fit the images.

    Args:
        source, images, without: as for :func:`open_source`.
        problems: what could not be read is added.
        format: a key of FORMATS; "": to be recognised.
        options: what a reader cannot see in the labels.

    Returns:
        The title of the format, where it was found, and the labels.

    Raises:
        UserError: nothing can be read.
    """
    folder, only = open_source(source, images, without)
    found = recognise(folder, only)
    kind = format or next(iter(found))
    if kind not in found:
        there = ", ".join(FORMATS[name].title for name in found)
        raise UserError(f"--format {kind}: {folder.root} has no such labels, but {there}.")
    title = FORMATS[kind].title
    try:
        labels = FORMATS[kind].read(folder, found[kind], problems, options or Options())
    except Unreadable as problem:  # in a file that is not one of labels
        raise UserError(f"{title} in {folder.root}: {problem}.") from None
    others = [f"{FORMATS[k].title} (--format {k})" for k in found if k != kind]
    if others and not format:
        labels.notes.insert(0, f"There are also labels as {', '.join(others)}: not read.")
    _merge_equal_images(labels, problems)
    fit_to_images(labels, folder, problems)
    if not any(image.objects for image in labels.images):
        told = problems.in_short()
        told += "" if folder.images else " No images are there: name their folder by --images."
        place = only or folder.root
        raise UserError(f"{title} in {place}: no image with an object is left.{told}")
    return title, folder, labels


def _merge_equal_images(labels: Labels, problems: Problems) -> None:
    """Let each image be there once, and put images into the order of their paths."""
    by_path: dict[str, LabelledImage] = {}
    for image in labels.images:
        first = by_path.setdefault(image.path, image)
        if first is not image:
            problems.add("labels of an image that has others already", image.where)
    labels.images = [by_path[path] for path in sorted(by_path)]
