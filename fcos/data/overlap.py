"""Images that are in training and in evaluation: figures on them say what is remembered."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from fcos.data.records import DatasetRecords
from fcos.utils.reading import IMAGE, open_file
from fcos.utils.values import listed

__all__ = ["ImageFile", "image_files", "note_on_overlap"]

_Size = tuple[float, float]

_BEGINNING = 1 << 16  # bytes


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

    Files are the same if they have one path or the same bytes. Only those of one size of
    images, one length and one beginning are read whole.

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
    training = {
        f.path: name for name, files in trained_on.items() for f in files if f.size in sizes
    }
    tested = [file.path for file in test]
    content: dict[str, Hashable] = {}
    with ThreadPoolExecutor() as pool:  # most of the time is waiting for a disk
        # Uncompressed images all have one length, and reading them whole takes long.
        for measure in (_length, _beginning, _digest):
            content = _of_each(measure, [*training, *tested], pool)
            shared = {content[path] for path in training} & {content[path] for path in tested}
            shared.discard(None)
            training = {path: name for path, name in training.items() if content[path] in shared}
            tested = [path for path in tested if content[path] in shared]
    names = {content[path]: name for path, name in training.items()}
    return [(path, names[content[path]]) for path in tested]


def _of_each(
    measure: Callable[[str], Hashable], paths: list[str], pool: ThreadPoolExecutor
) -> dict[str, Hashable]:
    chunks = [paths[i : i + 100] for i in range(0, len(paths), 100)]
    values = pool.map(lambda chunk: list(map(measure, chunk)), chunks)
    return dict(zip(paths, itertools.chain.from_iterable(values), strict=True))


def _length(path: str) -> int | None:
    """Bytes of a file; None where there is none, which is said elsewhere."""
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):  # a path that no file can have is a ValueError
        return None


def _beginning(path: str) -> bytes | None:
    return _digest(path, _BEGINNING)


def _digest(path: str, length: int = -1) -> bytes | None:
    try:
        with open_file(path, IMAGE) as file:
            return hashlib.blake2b(file.read(length)).digest()
    except OSError:
        return None
