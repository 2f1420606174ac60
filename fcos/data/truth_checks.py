"""What an evaluation needs of annotations: checked before the training, and by the evaluation."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence

from fcos.data.mask_checks import check_masks
from fcos.data.records import ImageRecord
from fcos.utils.errors import UserError
from fcos.utils.values import is_number

__all__ = ["check_evaluable"]


def check_evaluable(where: str, images: Sequence[ImageRecord], with_masks: bool) -> None:
    """Check that detections can be compared with the annotations.

    Args:
        where: what a message calls the data set.
        images: its records.
        with_masks: masks are to be evaluated too; then the records are read with masks.

    Raises:
        UserError: they cannot.
    """
    for image in images:
        if math.isinf(image.width + image.height):
            raise UserError(
                f"{where} does not give the width and height of {image.file_name}, which the "
                "evaluation needs."
            )
        for thing in image.objects:
            area = thing.area
            if area is not None and not (is_number(area) and area >= 0):
                raise UserError(
                    f"{where}: {thing.where} has the area {reprlib.repr(area)}; expected a number "
                    "of square pixels, or none: then the area of the box is taken."
                )
    if with_masks:
        check_masks(where, images, "bitmask", for_training=False)
