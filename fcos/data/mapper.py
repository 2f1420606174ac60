"""From a record to a sample, and what to say when its image cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fcos.data.images import Resize, image_problem
from fcos.utils.errors import UserError

__all__ = ["CheckedMapper"]


class CheckedMapper:
    """A mapper that names the image file when the image is to blame for a failure.

    Args:
        mapper: makes a sample of a record in detectron2's form, such as a ``DatasetMapper``.
        resize: what ``mapper`` does to the image; ``None``: it does not resize, or is not asked.
    """

    def __init__(
        self, mapper: Callable[[dict[str, Any]], Any], resize: Resize | None = None
    ) -> None:
        self.mapper = mapper
        self.resize = resize

    def __call__(self, record: dict[str, Any]) -> Any:
        """Return the sample that the wrapped mapper makes of ``record``.

        Raises:
            UserError: the image is missing, broken, of another size than the annotations say, or so
                long that resizing leaves nothing of it.
        """
        try:
            return self.mapper(record)
        except Exception as error:
            problem = image_problem(record, self.resize)
            if problem is None:
                raise
            advice = "Replace the file, or take it out of the annotations."
            raise UserError(f"{problem} {advice}") from error
