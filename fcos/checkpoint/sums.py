"""The checksums in a file of ``torch.save``, which torch itself does not look at when it loads one.

A disk or a copy that changes a single bit changes a weight, perhaps by a factor of 2**64, and a
training goes on from it. Other forms (safetensors, pickles of arrays, files of torch before 1.6)
have no checksums: there only what is read shows damage.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fcos.checkpoint.last import TAG

__all__ = ["damaged_part", "expect_no_sums", "how_to_go_on"]

_THREADS = 4
_BLOCK = 2**20  # bytes


def damaged_part(path: str) -> str:
    """Find a part of a zip archive that does not have the content that was written.

    For 200 MB, this takes 0.1 seconds of a core, half of what loading takes.

    Args:
        path: of the file.

    Returns:
        The name of the first such part; "" if there is none, and for a file that was written
        without checksums (``torch.serialization.set_crc32_options(False)``).

    Raises:
        OSError: the file cannot be read.
        zipfile.BadZipFile: it is no zip archive.
    """
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    expect_no_sums(parts)
    shares = [parts[number::_THREADS] for number in range(_THREADS)]
    with ThreadPoolExecutor(_THREADS) as pool:
        damaged = set(pool.map(_first_damaged, [path] * _THREADS, shares))
    return next((part.filename for part in parts if part.filename in damaged), "")


def _first_damaged(path: str, parts: Sequence[zipfile.ZipInfo]) -> str:
    """Find the first damaged one of some parts of an archive; "" if there is none.

    Each thread opens the file itself: in Python 3.13.0, threads that share an archive read each
    other's bytes.
    """
    with zipfile.ZipFile(path) as archive:
        return next((part.filename for part in parts if not _is_sound(archive, part)), "")


def expect_no_sums(parts: Sequence[zipfile.ZipInfo]) -> None:
    """Let parts be read without a comparison if their file was written without checksums."""
    if not any(part.CRC for part in parts):
        for part in parts:
            del part.CRC


def how_to_go_on(path: str) -> str:
    """Say how a training goes on whose last checkpoint is damaged.

    Args:
        path: of that checkpoint.
    """
    folder, last = os.path.split(path)
    earlier = _earlier(folder, last)
    if not earlier:
        return "There is no other whole checkpoint: start a new training."
    tag = os.path.join(folder, TAG)
    return (
        f"The one before, {earlier}, is whole: to go on from it, write its name into {tag} (echo "
        f"{earlier} > {tag}), and give --resume again."
    )


def _earlier(folder: str, last: str) -> str:
    """Return the name of the newest whole checkpoint before the last one; "" if there is none."""
    found = {name: re.fullmatch(r"model_(\d+)\.pth", name) for name in [last, *os.listdir(folder)]}
    iterations = {name: int(match[1]) for name, match in found.items() if match}
    before = iterations.pop(last, math.inf)
    for name in sorted(iterations, key=iterations.__getitem__, reverse=True):
        with contextlib.suppress(OSError, zipfile.BadZipFile):
            if iterations[name] < before and not damaged_part(os.path.join(folder, name)):
                return name
    return ""


def _is_sound(archive: zipfile.ZipFile, part: zipfile.ZipInfo) -> bool:
    try:
        with archive.open(part) as content:  # compares the sum at the end
            while content.read(_BLOCK):
                pass
    except (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error):
        return False
    return True
