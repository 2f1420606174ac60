"""Data sets whose labels are in another format: read once, kept as an annotation file of COCO's."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from typing import Any

import filelock

from fcos.utils.errors import UserError
from fcos.utils.files import write_text
from fcos.utils.folders import subfolder
from fcos.utils.reading import ANNOTATIONS, open_file

__all__ = [
    "SEED",
    "SOURCE_KEYS",
    "SPLITS",
    "VAL_FRACTION",
    "LabelSource",
    "annotation_file",
    "bring_up_to_date",
    "check_again",
    "register_source",
    "source_of",
]

logger = logging.getLogger(__name__)

# Keys of DATASETS.CUSTOM.<name> -> formats of `fcos data import`.
SOURCE_KEYS = {
    name.upper(): name
    for name in ("coco", "cvat", "via", "labelme", "voc", "open_images", "yolo", "csv")
}
_LONGEST_LINE = 2**24  # bytes
SPLITS = ("train", "val", "test")
VAL_FRACTION, SEED = 0.2, 0  # of a split that the labels do not have
_FORM = 1  # to be raised when the same labels are read in another way


@dataclasses.dataclass(frozen=True)
class LabelSource:
    """Where the labels of a data set are.

    Attributes:
        format: as of ``fcos data import``.
        path: the folder of the labels, or one file of them.
        images: the folder of the images; "": they are with the labels.
        split: "train", "val" or "test"; "": all images.
        classes: names of the classes in their order; empty: as the labels say.
    """

    format: str
    path: str
    images: str = ""
    split: str = ""
    classes: tuple[str, ...] = ()

    @property
    def root(self) -> str:
        """The folder that the names of images start at."""
        if self.images:
            return self.images
        return self.path if os.path.isdir(self.path) else os.path.dirname(self.path)


@dataclasses.dataclass
class _Registered:
    """A source, and what is made of it."""

    name: str
    source: LabelSource
    output_dir: str
    is_current: bool = False  # in this process


_registered: dict[str, _Registered] = {}  # by the path of the annotation file


def annotation_file(name: str, output_dir: str) -> str:
    """Return the path of the annotation file that is made for a data set."""
    return os.path.join(output_dir, "datasets", f"{name}.json")


def register_source(name: str, source: LabelSource, output_dir: str) -> None:
    """Note that a data set's annotation file is made of a source; nothing is read yet."""
    _registered[annotation_file(name, output_dir)] = _Registered(name, source, output_dir)


def check_again(json_file: str) -> None:
    """Let the next need of an annotation file ask whether its source has changed."""
    _registered[json_file].is_current = False


def source_of(json_file: str) -> LabelSource | None:
    """Return what an annotation file is made of; None if it is the user's."""
    entry = _registered.get(json_file)
    return entry.source if entry else None


def bring_up_to_date(json_file: str) -> None:
    """Write an annotation file that is made of a source, unless the one that is there is current.

    It is written once: by the first process that comes here, while others wait. What could not be
    read is logged in each.

    Raises:
        UserError: the labels cannot be read, or the file cannot be written.
    """
    entry = _registered.get(json_file)
    if entry is None or entry.is_current:
        return
    folder = subfolder(entry.output_dir, "datasets")
    with _locked(os.path.join(folder, "lock")):
        try:
            state = _state_of(entry)
            if _info_of(json_file).get("state") != _state_for(entry.source, state):
                _make(entry, state)
        except UserError as error:
            raise UserError(f"DATASETS.CUSTOM.{entry.name}: {error}") from None
    entry.is_current = True
    info = _info_of(json_file)
    for note in info["notes"]:
        logger.info(f"{entry.name}: {note}")
    for line in info["left_out"]:
        logger.warning(f"{entry.name}: left out: {line}")


@contextlib.contextmanager
def _locked(path: str) -> Iterator[None]:
    lock = filelock.FileLock(path)
    with contextlib.suppress(OSError):  # some network file systems have no locks
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _info_of(json_file: str) -> Mapping[str, Any]:
    """Return what the first line of an annotation file says; empty if there is no such file."""
    try:
        with open_file(json_file, ANNOTATIONS) as file:
            line = file.readline(_LONGEST_LINE).decode("utf-8")
        info = json.loads(line.rstrip().rstrip(",") + "}")["info"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return info if isinstance(info, dict) else {}


def _state_of(entry: _Registered) -> str:
    """Return a text that is another one when a file of the source has changed."""
    from fcos.data.importing.source import open_source

    source = entry.source
    folder, _ = open_source(source.path, source.images, without=entry.output_dir)
    digest = hashlib.sha256()
    labels = (path for paths in folder.by_ending.values() for path in paths)
    for path in sorted([*labels, *folder.images]):
        found = os.stat(path)
        digest.update(f"{path}\0{found.st_size} {found.st_mtime_ns}\0".encode(errors="replace"))
    return digest.hexdigest()


def _state_for(source: LabelSource, state: str) -> list[Any]:
    values = dataclasses.astuple(source)
    return [_FORM, state, *values[:-1], list(values[-1])]


def _make(entry: _Registered, state: str) -> None:
    """Read the labels, and write the files of all data sets that are parts of them.

    Raises:
        UserError: the labels cannot be read, or do not have what a data set asks for.
    """
    from fcos.data.importing.annotations import coco_pieces
    from fcos.data.importing.classes import choose_classes
    from fcos.data.importing.labels import Problems
    from fcos.data.importing.source import read_source
    from fcos.data.importing.split import split_images

    source, problems = entry.source, Problems()
    kind, without = source.format, entry.output_dir
    title, _, labels = read_source(
        source.path, problems, format=kind, images=source.images, without=without
    )
    choose_classes(labels, (), {})
    class_names = _chosen_classes(source, labels.class_names)
    parts = [other for other in _registered.values() if _is_of_one_source(other, entry)]
    whole = labels.images
    if any(part.source.split for part in parts):
        split_images(labels, problems, VAL_FRACTION, SEED)
    for part in parts:
        split = part.source.split
        images = [i for i in labels.images if i.split == split] if split else whole
        if not images:
            raise UserError(f"{title} in {source.path} has no images in the split {split}.")
        pieces = coco_pieces(
            images,
            class_names,
            source.root,
            description=f"{title} of {source.path}",
            state=_state_for(part.source, state),
            notes=labels.notes,
            left_out=problems.lines(),
        )
        write_text(annotation_file(part.name, part.output_dir), pieces)


def _is_of_one_source(one: _Registered, other: _Registered) -> bool:
    whole = [dataclasses.replace(entry.source, split="") for entry in (one, other)]
    return whole[0] == whole[1] and one.output_dir == other.output_dir


def _chosen_classes(source: LabelSource, found: list[str]) -> list[str]:
    """Return the class names that are asked for, or else those that were found.

    Raises:
        UserError: there are others.
    """
    if not source.classes:
        return found
    others = [name for name in found if name not in source.classes]
    if others:
        raise UserError(f"CLASSES lacks {', '.join(map(repr, others))}, which the labels have.")
    return list(source.classes)
