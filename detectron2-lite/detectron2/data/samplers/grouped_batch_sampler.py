"""Batches of indices that belong to one group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from torch.utils.data.sampler import BatchSampler, Sampler

from detectron2._missing import missing_names

__all__ = ["GroupedBatchSampler"]

__getattr__ = missing_names(__name__)


class GroupedBatchSampler(BatchSampler):
    """Collects what a sampler yields by group; a batch goes out as soon as its group has enough.

    Incomplete batches are dropped.
    """

    def __init__(self, sampler: Sampler, group_ids: Sequence[int], batch_size: int) -> None:
        """
        Args:
            sampler: yields indices below ``len(group_ids)``.
            group_ids: the group of each index.
            batch_size: indices to a batch.

        Raises:
            ValueError: ``sampler`` is no sampler.
        """
        if not isinstance(sampler, Sampler):
            raise ValueError(f"sampler: expected a torch Sampler, got {sampler!r}")
        self.sampler = sampler
        self.group_ids = group_ids
        self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        waiting: dict[int, list[int]] = defaultdict(list)
        for index in self.sampler:
            group = int(self.group_ids[index])
            waiting[group].append(index)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)

    def __len__(self) -> int:
        raise NotImplementedError("How many batches there will be depends on the order of groups")
