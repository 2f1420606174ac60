"""Sizes of images and objects, and the numbers of a config that follow from them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np

from fcos.data.importing.labels import LabelledImage

__all__ = ["Sizes", "image_size", "measure", "schedule"]

# Pixels of the network input: a small object (the tenth percentile of the square root of the
# area) should have the first, and gets at least the second.
WANTED_OBJECT, LEAST_OBJECT = 40, 12
P3_STRIDE = 8


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Sizes on a training set, in pixels of the image files.

    Attributes:
        short: median of the shorter side of images.
        aspect: longer by shorter side, which 95 of 100 images do not exceed.
        small: tenth percentile of the square root of the area of objects.
        thin: tenth percentile of the shorter side of objects.
    """

    short: float
    aspect: float
    small: float
    thin: float

    def levels(self, short: int) -> dict[str, Any]:
        """Return keys for levels P2 to P6 where images of a shorter side ``short`` need them."""
        if self.thin * short / self.short >= P3_STRIDE:
            return {}
        features = ["res2", "res3", "res4", "res5"]
        levels = {
            "TOP_LEVELS": 1,
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "FPN_STRIDES": [4, 8, 16, 32, 64],
            "SIZES_OF_INTEREST": [32, 64, 128, 256],
        }
        changed = {"RESNETS": {"OUT_FEATURES": features}, "FPN": {"IN_FEATURES": features}}
        return {"MODEL": {**changed, "FCOS": levels}}


def measure(images: list[LabelledImage]) -> Sizes:
    """Measure images and the objects on them; of both there is one at least."""
    sides = np.array([(image.width, image.height) for image in images], dtype=float)
    boxes = np.array([labelled.xyxy for image in images for labelled in image.objects])
    objects = boxes[:, 2:] - boxes[:, :2]
    return Sizes(
        short=float(np.median(sides.min(axis=1))),
        aspect=float(np.percentile(sides.max(axis=1) / sides.min(axis=1), 95)),
        small=float(np.percentile(np.sqrt(objects.prod(axis=1)), 10)),
        thin=float(np.percentile(objects.min(axis=1), 10)),
    )


def image_size(sizes: Sizes, cap: int, is_enlarged: bool = False) -> tuple[dict[str, Any], str]:
    """Return the keys of the size of images, and a sentence on them.

    Args:
        sizes: of the training set.
        cap: of the shorter side; small objects may double it.
        is_enlarged: bring images to ``cap``, or to twice their size, whatever objects they have.
    """
    if is_enlarged:
        short = min(float(cap), 2 * sizes.short)
    else:
        short = min(sizes.short, cap, max(160, sizes.short * WANTED_OBJECT / sizes.small))
        short = max(short, min(sizes.short, 2 * cap, sizes.short * LEAST_OBJECT / sizes.small))
    rounded = max(32, round(short / 16) * 16)
    longest = math.ceil(rounded * min(sizes.aspect, 3) / 16) * 16
    keys = {
        "MIN_SIZE_TRAIN": [rounded],
        "MAX_SIZE_TRAIN": longest,
        "MIN_SIZE_TEST": rounded,
        "MAX_SIZE_TEST": longest,
    }
    scale = rounded / sizes.short
    return {"INPUT": keys}, (
        f"Images are resized to a shorter side of {rounded} (median here {sizes.short:g}): nine of "
        f"ten objects are larger than {sizes.small * scale:.0f} pixels then."
    )


def schedule(images: int, batch: int, is_tuned: bool) -> tuple[dict[str, Any], str]:
    """Return the keys of the schedule, and a sentence on it.

    12 epochs, but 1000 iterations at least from random weights and 500 from published ones. The
    rate is in proportion to the batch: from 0.02 for 8 images (configs/bccd.yaml), or from the
    paper's 0.01 for 16. It falls to a tenth at 0.8 and at 0.95 of the iterations.

    Args:
        images: with objects, in the training set.
        batch: images in a batch; 0: 4 for published weights, else 8, but not more than there are.
        is_tuned: whether it starts from published weights.
    """
    batch = batch or min(4 if is_tuned else 8, images)
    rate = 0.01 * batch / 16 if is_tuned else 0.02 * batch / 8
    iterations = max(math.ceil(12 * images / batch), 500 if is_tuned else 1000)
    iterations = math.ceil(iterations / 100) * 100
    period = max(iterations // 10, 1)
    solver = {
        "IMS_PER_BATCH": batch,
        "BASE_LR": round(rate, 6),
        "WARMUP_ITERS": min(iterations // 10, 500),
        "STEPS": [round(0.8 * iterations), round(0.95 * iterations)],
        "MAX_ITER": iterations,
        "CHECKPOINT_PERIOD": period,
    }
    return {"SOLVER": solver, "TEST": {"EVAL_PERIOD": period}}, (
        f"{iterations} iterations of {batch} images are {iterations * batch / images:.0f} epochs; "
        f"an evaluation every {period}."
    )
