"""What is done so far: files of JSON lines, one line for each image, that are only appended to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from fcos.utils.errors import UserError
from fcos.utils.files import append_to
from fcos.utils.json_files import is_id
from fcos.utils.reading import SHARD, open_file
from fcos.utils.values import is_number

__all__ = ["FinishedImages", "ShardWriter", "problem_line", "result_line"]

_BEFORE_RESULTS = b'"results": ['
_ADVICE = "When it can, the same command goes on where it stopped."
_LONGEST_LINE = 2**29  # bytes: a thousand masks, and far more boxes
_LONGEST = 2**31 - 1  # pixels of a side that "sizes" can hold
_OPEN_FILES = 200  # at a time; a process may open about a thousand


def result_line(image: int, size: tuple[int, int], results: list[dict[str, Any]]) -> bytes:
    """Make the line of an image that was detected in.

    Args:
        image: its number.
        size: its height and width in pixels.
        results: its detections, in COCO's format.
    """
    head = {"image": image, "height": size[0], "width": size[1]}
    # The results come last, to be cut out of the line without parsing it.
    return json.dumps({**head, "results": results}).encode() + b"\n"


def problem_line(image: int, problem: str) -> bytes:
    """Make the line of an image that is left out; ``problem`` is a sentence."""
    return json.dumps({"image": image, "problem": problem}).encode() + b"\n"


def _is_result(content: dict[str, Any], line: bytes) -> bool:
    """Say whether a line is as :func:`result_line` makes it, so that it can be cut."""
    sides, results = (content["height"], content["width"]), content["results"]
    return (
        len(content) == 4
        and line.count(_BEFORE_RESULTS) == 1  # inside of a text, its quotes have a backslash
        and line.endswith(b"]}\n")
        and all(type(side) is int and 0 < side <= _LONGEST for side in sides)
        and isinstance(results, list)
        and all(map(_is_detection, results))
    )


def _is_detection(result: Any) -> bool:
    box, ids = result["bbox"], (result["image_id"], result["category_id"])
    are_numbers = isinstance(box, list) and all(map(is_number, (*box, result["score"])))
    return are_numbers and len(box) == 4 and all(map(is_id, ids))


class ShardWriter:
    """Appends lines to a new file; they are kept however the process ends."""

    def __init__(self, path: str) -> None:
        """Make the file.

        Raises:
            UserError: the file exists or cannot be made.
        """
        self._path = path
        self._file = append_to(path, _ADVICE, new=True)

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines.

        Raises:
            UserError: they cannot be written, such as on a full disk.
        """
        rest = memoryview(b"".join(lines))
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            text = f"{self._path} cannot be written: {error.strerror}. {_ADVICE}"
            raise UserError(text) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class FinishedImages:
    """Which images are finished, and where their lines are in the shards.

    The lines stay on the disk; memory holds 26 bytes per image. An incomplete line, as a killed
    process leaves it, is ignored. Of several lines of an image, the last one counts.

    Attributes:
        is_done: (N,) bool, images with detections (perhaps none at all).
        is_left_out: (N,) bool, images that could not be read.
        sizes: (N, 2) int32, height and width of the images that are done.
    """

    def __init__(self, number: int) -> None:
        """Begin without any line.

        Args:
            number: of images.
        """
        self.is_done = np.zeros(number, bool)
        self.is_left_out = np.zeros(number, bool)
        self.sizes = np.zeros((number, 2), np.int32)
        self._shard = np.zeros(number, np.int32)
        self._offset = np.zeros(number, np.int64)
        self._paths: list[str] = []
        self._length = np.zeros(number, np.int32)
        self._files: dict[int, int] = {}

    def add(self, path: str) -> None:
        """Read a shard.

        Raises:
            UserError: it cannot be read.
        """
        shard, offset = len(self._paths), 0
        self._paths.append(path)
        try:
            with open_file(path, SHARD) as file:
                while line := file.readline(_LONGEST_LINE):
                    self._take(line, shard, offset)
                    offset += len(line)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}.") from error

    def _take(self, line: bytes, shard: int, offset: int) -> None:
        if not line.endswith(b"\n"):
            return
        try:
            content = json.loads(line)
            image = content["image"]
            size = None if "problem" in content else (content["height"], content["width"])
            if not (type(image) is int and 0 <= image < len(self.sizes)):
                return
            if not (_is_result(content, line) if size else isinstance(content["problem"], str)):
                return
            self.sizes[image] = size or (0, 0)
        except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError):
            return  # after a crash, a file system may have left anything
        self.is_done[image] = size is not None
        self.is_left_out[image] = size is None
        self._shard[image], self._offset[image], self._length[image] = shard, offset, len(line)

    def results(self) -> Iterator[bytes]:
        """Yield the detections of each image that has some, in the order of the images.

        Yields:
            JSON objects separated by commas.
        """
        for image in np.flatnonzero(self.is_done).tolist():
            if text := self.results_of(image):
                yield text

    def results_of(self, image: int) -> bytes:
        """Return the detections of an image that is done: JSON objects separated by commas."""
        line = self._line(image)
        return line[line.index(_BEFORE_RESULTS) + len(_BEFORE_RESULTS) : line.rindex(b"]")]

    def problems(self) -> Iterator[tuple[int, str]]:
        """Yield the number of each image that is left out, and why it is."""
        for image in np.flatnonzero(self.is_left_out).tolist():
            yield image, json.loads(self._line(image))["problem"]

    def _line(self, image: int) -> bytes:
        shard = int(self._shard[image])
        if shard not in self._files:
            if len(self._files) >= _OPEN_FILES:
                self.close()
            self._files[shard] = os.open(self._paths[shard], os.O_RDONLY)
        return os.pread(self._files[shard], int(self._length[image]), int(self._offset[image]))

    def close(self) -> None:
        """Close the files; later reading opens them again."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()
