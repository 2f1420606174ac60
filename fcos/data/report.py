"""What a data set holds, as its checks found it."""

from __future__ import annotations

import dataclasses

from fcos.utils.values import listed

__all__ = ["DatasetReport"]


@dataclasses.dataclass(frozen=True)
class DatasetReport:
    """A data set that passed `check_dataset`. ``str`` gives a sentence on each line.

    Attributes:
        name: of the data set.
        class_names: in the order of the class numbers.
        num_images: all of them.
        num_objects: boxes to learn or to find; neither crowd regions nor degenerate boxes.
        num_empty_images: images without such a box.
        degenerate: where each box without an area inside its image was found.
        notes: what else there is to say, in sentences.
        num_files_checked: image files that were decoded.
    """

    name: str
    class_names: tuple[str, ...]
    num_images: int
    num_objects: int
    num_empty_images: int
    degenerate: tuple[str, ...]
    notes: tuple[str, ...]
    num_files_checked: int = 0

    def __str__(self) -> str:
        head = (
            f"Data set {self.name!r}: {self.num_images} images, {self.num_objects} objects, "
            f"{len(self.class_names)} classes ({listed(self.class_names)})."
        )
        return "\n".join([head, *self.notes])
