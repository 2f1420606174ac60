"""The objects that training learns from, as arrays: on the image files, and in the network.

Letters: N images, G objects of all images.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detectron2.data.transforms import ResizeShortestEdge
from fcos.config import CfgNode
from fcos.data.records import DatasetRecords
from fcos.utils.errors import UserError

__all__ = ["Inputs", "Objects", "network_inputs", "objects_of"]


@dataclasses.dataclass(frozen=True)
class Objects:
    """The objects to learn from, or to find: neither crowds nor what training leaves out.

    Attributes:
        boxes: (G, 4), x1, y1, x2, y2 in pixels of the image files.
        classes: (G,) int64.
        image_index: (G,) int64 in [0, N), not decreasing.
        sizes: (N, 2), height and width of the image files.
        record: (G,) the place of the object in its image's list, to find it again.
    """

    boxes: np.ndarray
    classes: np.ndarray
    image_index: np.ndarray
    sizes: np.ndarray
    record: np.ndarray

    @property
    def sides(self) -> np.ndarray:
        """(G, 2): width and height."""
        return self.boxes[:, 2:] - self.boxes[:, :2]

    @property
    def per_image(self) -> np.ndarray:
        """(N,): number of objects."""
        return np.bincount(self.image_index, minlength=len(self.sizes))


def objects_of(name: str, data: DatasetRecords) -> Objects:
    """Collect the objects of a data set.

    Args:
        name: of the data set, for messages.
        data: its records.

    Raises:
        UserError: an image has no width and height, or an object is of an unknown class.
    """
    class_of, rows, where = data.class_of, [], []
    for index, image in enumerate(data.images):
        if not math.isfinite(image.width + image.height):
            raise UserError(
                f"Data set {name!r} does not give the width and height of {image.file_name}, which "
                "this page needs: add them."
            )
        for place, thing in enumerate(image.objects):
            if thing.is_learnt:
                if thing.category_id not in class_of:
                    raise UserError(
                        f"Data set {name!r}: {thing.where} of {image.file_name} has the class "
                        f"{thing.category_id!r}, expected 0 to {len(class_of) - 1}."
                    )
                rows.append(thing.xyxy)
                where.append((class_of[thing.category_id], index, place))
    places = np.array(where, dtype=np.int64).reshape(-1, 3)
    sizes = np.array([(image.height, image.width) for image in data.images], dtype=np.float64)
    boxes = np.array(rows, dtype=np.float64).reshape(-1, 4)
    classes, image_index, record = places.T.copy()
    return Objects(boxes, classes, image_index, sizes.reshape(-1, 2), record)


@dataclasses.dataclass(frozen=True)
class Inputs:
    """Objects as the network sees them: resized and cut at the border of their image.

    Attributes:
        boxes: (G, 4) float32, x1, y1, x2, y2 in pixels of the network input.
        classes: (G,) int64.
        image_index: (G,) int64 in [0, N), not decreasing.
        sizes: (N, 2) int64, height and width of the network input.
    """

    boxes: Tensor
    classes: Tensor
    image_index: Tensor
    sizes: Tensor

    def sample(self, num_images: int) -> Inputs:
        """Return every so many-th image, about ``num_images`` in all; or everything."""
        step = math.ceil(len(self.sizes) / num_images)
        if step <= 1:
            return self
        is_kept = self.image_index % step == 0
        index = self.image_index[is_kept] // step
        return Inputs(self.boxes[is_kept], self.classes[is_kept], index, self.sizes[::step])


def network_inputs(cfg: CfgNode, objects: Sequence[Objects]) -> Inputs:
    """Resize the objects of data sets as INPUT says for training, without augmentation.

    Where INPUT.MIN_SIZE_TRAIN has several lengths, one is drawn for each image, with a fixed seed.

    Args:
        cfg: reads INPUT.MIN_SIZE_TRAIN, MIN_SIZE_TRAIN_SAMPLING and MAX_SIZE_TRAIN.
        objects: of each data set; their images follow each other.
    """
    sizes = np.concatenate([each.sizes for each in objects])
    starts = np.cumsum([0] + [len(each.sizes) for each in objects])
    index = np.concatenate([o.image_index + n for o, n in zip(objects, starts[:-1], strict=True)])
    boxes = np.concatenate([each.boxes for each in objects])
    resized = _resized(cfg, sizes)
    factor = (resized / sizes)[index][:, [1, 0, 1, 0]]
    corners = boxes * factor
    corners = np.clip(corners, 0, resized[index][:, [1, 0, 1, 0]])
    return Inputs(
        torch.from_numpy(corners.astype(np.float32)),
        torch.from_numpy(np.concatenate([each.classes for each in objects])),
        torch.from_numpy(index),
        torch.from_numpy(resized),
    )


def _resized(cfg: CfgNode, sizes: np.ndarray) -> np.ndarray:
    """Return (N, 2) int64: height and width after resizing."""
    node = cfg.INPUT
    given = node.MIN_SIZE_TRAIN
    shorts = np.atleast_1d(given)
    generator = np.random.default_rng(0)
    if node.MIN_SIZE_TRAIN_SAMPLING == "range":
        short = generator.integers(shorts.min(), shorts.max() + 1, len(sizes))
    else:
        short = generator.choice(shorts, len(sizes))
    cases, case = np.unique(
        np.column_stack([sizes, short]).astype(int), axis=0, return_inverse=True
    )
    found = [
        (height, width)
        if edge == 0  # no resizing
        else ResizeShortestEdge.get_output_shape(height, width, edge, node.MAX_SIZE_TRAIN)
        for height, width, edge in cases.tolist()
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)[case.reshape(-1)]
