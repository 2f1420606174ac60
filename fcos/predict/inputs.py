"""Find the image files that a user names: files, folders, patterns and lists."""

from __future__ import annotations

import glob
import io
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from fcos.data.image_names import is_address
from fcos.utils.errors import UserError
from fcos.utils.reading import LIST, read_bytes

__all__ = [
    "IMAGE_SUFFIXES",
    "evenly_spaced",
    "find_images",
    "read_list",
]

logger = logging.getLogger(__name__)

# Formats that can be read and written, so that a picture can have the name of its input.
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")

T = TypeVar("T")


def find_images(inputs: Sequence[str], recursive: bool = False) -> list[str]:
    """Find the image files of files, folders and glob patterns.

    Args:
        inputs: each a file with any suffix; a folder, for its visible image files; or a pattern
            (``"shots/**/*.jpg"``), for the image files that match.
        recursive: search the visible subfolders of a folder, too; links to folders are not
            followed.

    Returns:
        Paths in the order of ``inputs``, sorted within a folder or pattern, each file once.

    Raises:
        UserError: an input does not exist or cannot be read, or holds or matches no image.
    """
    return _each_once([path for name in inputs for path in _expand(name, recursive)])


def read_list(file: str) -> list[str]:
    """Read the paths of image files from a text file, one on each line; they need not exist.

    Empty lines and lines that begin with # are skipped. Relative paths start at the current folder.
    Nothing is fetched: an address is the path of a file, too, and hardly one that exists.

    Returns:
        Paths in the order of the lines, each file once.

    Raises:
        UserError: the file cannot be read, or names nothing.
    """
    try:
        # File names are bytes. "surrogateescape" keeps those that are not UTF-8 unchanged.
        content = read_bytes(os.path.expanduser(file), LIST, as_text=True)
    except OSError as error:
        raise UserError(f"The list {file} cannot be read: {error.strerror}.") from error
    lines = io.StringIO(content.decode("utf-8", errors="surrogateescape"), newline=None)
    paths = [
        os.path.expanduser(line.rstrip("\n")) for line in lines if line.strip() and line[0] != "#"
    ]
    paths = [os.path.join(os.curdir, path) if is_address(path) else path for path in paths]
    if not paths:
        raise UserError(f"The list {file} names no image: it needs one path on each line.")
    return _each_once(paths)


def _each_once(paths: Sequence[str]) -> list[str]:
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(os.path.realpath(path), path)
    if len(found) < len(paths):
        logger.info(f"{len(paths) - len(found)} inputs are files that were named before.")
    return list(found.values())


def _expand(name: str, recursive: bool) -> list[str]:
    name = os.path.expanduser(name)
    if os.path.isfile(name):
        if name.lower().endswith(_VIDEO_SUFFIXES):
            raise UserError(f"{name} is a video: give it to --video-input of demo.py.")
        return [name]
    if os.path.isdir(name):
        images = _only_images(_entries(name, recursive))
        if not images:
            with_subfolders = "" if recursive else "; its subfolders are not searched"
            raise UserError(
                f"The folder {name} holds no image ({', '.join(IMAGE_SUFFIXES)}){with_subfolders}."
            )
        return images
    if not glob.has_magic(name):
        raise UserError(f"The input {name} does not exist.")
    images = _only_images(glob.glob(name, recursive=True))
    if not images:
        raise UserError(f"No image file ({', '.join(IMAGE_SUFFIXES)}) matches {name}.")
    return images


def _entries(folder: str, recursive: bool) -> Iterator[str]:
    """Yield the paths in a folder and, with ``recursive``, in its visible subfolders."""

    def refuse(error: OSError) -> None:
        raise UserError(f"The folder {error.filename} cannot be read: {error.strerror}.") from error

    for path, subfolders, files in os.walk(folder, onerror=refuse):
        subfolders[:] = [name for name in subfolders if recursive and not name.startswith(".")]
        yield from (os.path.join(path, name) for name in files)


def _only_images(paths: Any) -> list[str]:
    return sorted(
        path
        for path in paths
        if path.lower().endswith(IMAGE_SUFFIXES)
        and not os.path.basename(path).startswith(".")
        and os.path.isfile(path)
    )


def evenly_spaced(items: Sequence[T], count: int) -> list[T]:
    """Choose ``count`` items at equal distances, the first and the last among them.

    The same arguments give the same items: all if there are no more than ``count``, and the middle
    one if ``count`` is 1.

    Raises:
        ValueError: ``count`` is below 1.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    if count >= len(items):
        return list(items)
    if count == 1:
        return [items[len(items) // 2]]
    step = (len(items) - 1) / (count - 1)
    return [items[round(i * step)] for i in range(count)]
