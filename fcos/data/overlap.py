"""Images that are in training and in evaluation: figures on them say what is remembered."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fcos.data.records import DatasetRecords
from fcos.utils.values import listed

__all__ = ["ImageFile", "image_files", "note_on_overlap"]

_Size = tuple[float, float]


class ImageFile(NamedTuple):
    """An image of a data set: its path, and its width and height in pixels."""

    path: str
    size: _Size


def image_files(records: DatasetRecords) -> list[ImageFile]:
    """Return the files of a data set."""
    return [
        ImageFile(os.path.normpath(records.path_of(image)), (image.width, image.height))
        for image in records.images
    ]


def note_on_overlap(
    trained_on: Mapping[str, Sequence[ImageFile]], test: Sequence[ImageFile]
) -> str:
    """Return a sentence on images of ``test`` that are also trained on; "" if there are none.

    Files are the same if they have one path or the same bytes. Only those of one length and one
    size of images are read.

    Args:
        trained_on: the files of each data set for training.
        test: the files of the data set to evaluate on.
    """
    paths = {file.path: name for name, files in trained_on.items() for file in files}
    shared = [(file.path, paths[file.path]) for file in test if file.path in paths]
    others = [file for file in test if file.path not in paths]
    shared += _copies(trained_on, others)
    if not shared:
        return ""
    what = "is" if len(shared) == 1 else "are"
    names = listed(sorted({name for _, name in shared}))
    return (
        f"{len(shared)} of its {len(test)} images {what} also trained on, in {names}: "
        f"{listed([os.path.basename(path) for path, _ in shared])}. Figures on these say what is "
        "remembered, not what is recognised."
    )


def _copies(
    trained_on: Mapping[str, Sequence[ImageFile]], test: Sequence[ImageFile]
) -> list[tuple[str, str]]:
    """Files of ``test`` that have the bytes of a training file, with that one's data set."""
    sizes = {file.size for file in test}
    training = [
        (f.path, name) for name, files in trained_on.items() for f in files if f.size in sizes
    ]
    by_length: dict[int, list[tuple[str, str]]] = defaultdict(list)
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for a disk
        for length, file in zip(_lengths(pool, [p for p, _ in training]), training, strict=True):
            by_length[length].append(file)
        lengths = zip(_lengths(pool, [file.path for file in test]), test, strict=True)
        pairs = [(file.path, by_length[n]) for n, file in lengths if n >= 0 and n in by_length]
        wanted = {path for _, same in pairs for path, _ in same} | {path for path, _ in pairs}
        digest = dict(zip(wanted, pool.map(_digest, wanted), strict=True))
    found = []
    for path, same in pairs:
        name = next((name for other, name in same if digest[other] == digest[path]), "")
        if name and digest[path]:
            found.append((path, name))
    return found


def _lengths(pool: ThreadPoolExecutor, paths: Sequence[str]) -> Iterator[int]:
    """Bytes of each file; -1 where there is none, which is said elsewhere."""
    chunks = [paths[i : i + 1000] for i in range(0, len(paths), 1000)]
    return itertools.chain.from_iterable(pool.map(lambda chunk: list(map(_length, chunk)), chunks))


def _length(path: str) -> int:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # a path that no file can have is a ValueError
        return -1


def _digest(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read()).digest()
    except OSError:
        return b""
