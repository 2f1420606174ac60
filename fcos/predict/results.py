"""A file of detections in COCO's results format."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterable
from typing import Any, BinaryIO

from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_whole

__all__ = ["ResultsFile"]


class ResultsFile:
    """Collects detections and writes them as one JSON list."""

    def __init__(self, file: str) -> None:
        """Check that ``file`` can be written.

        Raises:
            UserError: its folder cannot be written, or it exists and is no list, such as the
                annotations of a data set.
        """
        check_writable(os.path.dirname(file))
        if os.path.exists(file) and not _is_list(file):
            raise UserError(f"{file} holds something else than detections: name another file.")
        self._file = file
        # Of many images, they would fill the memory. This file has no name, so it never stays.
        self._parts = tempfile.TemporaryFile(dir=os.path.dirname(file) or os.curdir)  # noqa: SIM115
        self._separator = b""

    def add(self, results: Iterable[dict[str, Any]]) -> None:
        """Add the detections of an image, as :meth:`fcos.predict.detector.Detector.results`.

        Raises:
            UserError: they cannot be written, such as on a full disk.
        """
        try:
            for result in results:
                self._parts.write(self._separator + json.dumps(result).encode())
                self._separator = b", "
        except OSError as error:
            raise UserError(f"{self._file} cannot be written: {error.strerror}.") from error

    def close(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        write_whole(self._file, self._write)
        self._parts.close()

    def _write(self, file: BinaryIO) -> None:
        self._parts.seek(0)  # which writes what is still in memory
        file.write(b"[")
        shutil.copyfileobj(self._parts, file)
        file.write(b"]")


def _is_list(file: str) -> bool:
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as stream:
        return stream.read(1) == b"["
