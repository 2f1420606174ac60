"""Which images go through the model together. It depends on the images, not on the processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from fcos.data.images import read_size
from fcos.utils.errors import UserError

__all__ = ["Batches", "make_batches", "padded_shape", "size_of"]


def size_of(path: str) -> tuple[int, int]:
    """Read height and width of an image, turned upright, from its header alone.

    Returns:
        Pixels; (0, 0) if the header cannot be read.
    """
    try:
        height, width, _ = read_size(path)
    except UserError:  # reading the whole image later says it again
        return 0, 0
    return height, width


def padded_shape(cfg: CfgNode, divisor: int) -> Callable[[int, int], tuple[int, int]]:
    """Return a function from the size of an image to its size in the model.

    Args:
        cfg: INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST resize, unless TEST.AUG.ENABLED.
        divisor: sides are padded to its multiples.

    Returns:
        Takes height and width in pixels; returns those of the image in the model, resized and
        padded, in multiples of ``divisor``.
    """
    short, longest = cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST
    is_resized = short > 0 and not cfg.TEST.AUG.ENABLED

    def shape(height: int, width: int) -> tuple[int, int]:
        if is_resized:
            height, width = ResizeShortestEdge.get_output_shape(height, width, short, longest)
        return -(-height // divisor), -(-width // divisor)

    return shape


@dataclasses.dataclass(frozen=True)
class Batches:
    """Image numbers in batches; a sequence of arrays.

    Attributes:
        order: (N,) int, the images, batch after batch.
        starts: (B,) int, where in ``order`` each batch begins; increasing, the first is 0.
    """

    order: np.ndarray
    starts: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> np.ndarray:
        ends = self.starts[number + 1 : number + 2]
        return self.order[self.starts[number] : ends[0] if len(ends) else None]

    def unfinished(self, is_finished: np.ndarray) -> np.ndarray:
        """Return the batches with an unfinished image; ``is_finished``: (N,) bool."""
        if not len(self.order):
            return np.zeros(0, np.int64)
        is_whole = np.logical_and.reduceat(is_finished[self.order], self.starts)
        return np.flatnonzero(~is_whole)


def make_batches(
    sizes: np.ndarray, shape_of: Callable[[int, int], tuple[int, int]], batch_size: int
) -> Batches:
    """Put images of one size in the model into batches, so that none is padded for another.

    Padding changes detections. Without it, an image's detections are, up to rounding, the same as
    alone. The batches do not depend on the number of processes, so neither does the rounding.

    Args:
        sizes: (N, 2) int, height and width of each image; (0, 0), unknown, makes a batch of one.
        shape_of: from such a size to the size in the model.
        batch_size: images in a batch, at most.

    Returns:
        Every image once; batches in the order of their first images, images of a batch in theirs.
    """
    number = len(sizes)
    if number == 0:
        return Batches(np.zeros(0, np.int64), np.zeros(0, np.int64))
    kinds, kind_of = np.unique(sizes, axis=0, return_inverse=True)
    kind_of = kind_of.reshape(number)
    shapes = [shape_of(h, w) if h and w else (0, 0) for h, w in kinds.tolist()]
    numbers = {shape: index for index, shape in enumerate(dict.fromkeys(shapes))}
    group_of = np.array([numbers[shape] for shape in shapes])[kind_of]

    order = np.argsort(group_of, kind="stable")
    group = group_of[order]
    place = np.arange(number)
    is_first = np.r_[True, group[1:] != group[:-1]]
    in_group = place - np.maximum.accumulate(np.where(is_first, place, 0))
    is_start = (in_group % batch_size == 0) | (group == numbers.get((0, 0), -1))

    batch_of = np.cumsum(is_start) - 1
    first_image = order[is_start]
    rank_of = np.argsort(np.argsort(first_image))  # of each batch, by its first image
    ranks = rank_of[batch_of]
    by_rank = np.argsort(ranks, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(ranks[by_rank]) > 0])
    return Batches(order[by_rank], starts)
