"""The first batches of a training, as pictures: what the detector will see, after augmentation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from fcos.config import CfgNode
from fcos.data.build import build_train_stream
from fcos.evaluation.pictures import jpeg
from fcos.predict import draw_sample
from fcos.utils.errors import UserError

__all__ = ["Sample", "training_samples"]


@dataclasses.dataclass(frozen=True)
class Sample:
    """A picture of what training sees of an image.

    Attributes:
        picture: a JPEG file.
        name: of the image file.
        size: width and height in the network.
        num_objects: objects on it.
    """

    picture: bytes
    name: str
    size: tuple[int, int]
    num_objects: int


def training_samples(
    cfg: CfgNode, class_names: Sequence[str], most: int
) -> tuple[list[Sample], str]:
    """Draw the first samples of the training stream of a config.

    Args:
        cfg: of the training.
        class_names: of the data set.
        most: samples to draw.

    Returns:
        The samples, in the order of training; and why there are no more of them, if the stream
        stopped.
    """
    cfg = cfg.clone()
    cfg.DATALOADER.NUM_WORKERS = 0  # the same samples, without processes to wait for
    drawn: list[Sample] = []
    try:
        for batch in build_train_stream(cfg):
            for sample in batch[: most - len(drawn)]:
                drawn.append(_draw(sample, cfg.INPUT.FORMAT, class_names))
            if len(drawn) >= most:
                break
    except UserError as error:
        return drawn, str(error)
    return drawn, ""


def _draw(sample: dict[str, Any], pixel_format: str, class_names: Sequence[str]) -> Sample:
    truth = sample["instances"]
    height, width = truth.image_size
    picture = jpeg(draw_sample(sample, pixel_format, class_names))
    name = os.path.basename(sample.get("file_name", ""))
    return Sample(picture, name, (width, height), len(truth))
