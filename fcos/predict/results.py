"""A file of detections in COCO's results format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import Any

from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, write_text

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
        self._results: list[dict[str, Any]] = []

    def add(self, results: Iterable[dict[str, Any]]) -> None:
        """Add the detections of an image, as :meth:`fcos.predict.detector.Detector.results`."""
        self._results += results

    def close(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            UserError: it cannot be written.
        """
        write_text(self._file, [json.dumps(self._results)])


def _is_list(file: str) -> bool:
    if not os.path.isfile(file):
        return False
    with open(file, "rb") as stream:
        return stream.read(1) == b"["
