"""The order in which training goes through a data set, as numbers: no images, no processes.

What comes out depends on the seed, the data set and the total batch size alone. Stopping and
resuming, the number of processes and the number of loader workers leave it as it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

__all__ = ["group_into_batches", "share_of_rank", "shuffled_indices"]


def shuffled_indices(size: int, seed: int, repeat_factors: Tensor | None = None) -> Iterator[int]:
    """Indices of a data set, newly shuffled for each pass, without end.

    The same indices as detectron2's ``TrainingSampler`` (or, with factors, its
    ``RepeatFactorTrainingSampler``) gives for this seed in a single process.

    Args:
        size: number of records, at least 1.
        seed: of the shuffling.
        repeat_factors: (size,) float, how often each record comes in one pass, on average: 1.25 is
            once, and in a quarter of the passes twice.

    Raises:
        ValueError: ``size`` is 0, the number of factors differs from it, or all are 0.
    """
    if size < 1:
        raise ValueError("size: a data set without records cannot be shuffled")
    if repeat_factors is not None and (len(repeat_factors) != size or not repeat_factors.any()):
        raise ValueError(f"repeat_factors: expected {size}, not all 0, got {repeat_factors}")
    return _endless_passes(size, torch.Generator().manual_seed(seed), repeat_factors)


def _endless_passes(
    size: int, generator: torch.Generator, repeat_factors: Tensor | None
) -> Iterator[int]:
    indices = torch.arange(size)
    while True:
        chosen = indices
        if repeat_factors is not None:
            is_rounded_up = torch.rand(size, generator=generator) < repeat_factors.frac()
            chosen = indices.repeat_interleave(repeat_factors.long() + is_rounded_up)
        yield from chosen[torch.randperm(len(chosen), generator=generator)].tolist()


def group_into_batches(
    indices: Iterable[int], group_of: Sequence[Hashable], batch_size: int
) -> Iterator[list[int]]:
    """Batches whose members are all of one group, in the order in which they fill up.

    Args:
        indices: into ``group_of``.
        group_of: the group of each record of the data set, for instance whether it is a wide image.
        batch_size: members of every batch. Indices that fill none are never given.
    """
    waiting: dict[Hashable, list[int]] = {}
    for index in indices:
        batch = waiting.setdefault(group_of[index], [])
        batch.append(index)
        if len(batch) == batch_size:
            yield waiting.pop(group_of[index])


def share_of_rank(
    batches: Iterable[Sequence[int]], rank: int, world_size: int, start: int = 0
) -> Iterator[list[tuple[int, int]]]:
    """One process's share of each batch: every ``world_size``-th member.

    Args:
        batches: of all processes together, each of the same size.
        rank: 0 <= rank < world_size.
        start: number of batches to leave out at the beginning.

    Yields:
        pairs of the member's position in the stream of all batches, and its index.
    """
    for number, batch in itertools.islice(enumerate(batches), start, None):
        first = number * len(batch)
        yield [(first + slot, batch[slot]) for slot in range(rank, len(batch), world_size)]
