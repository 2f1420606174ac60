"""Endless samplers for training and a finite one for inference; each process gets its share.

None of them knows of data loader workers: ``ToIterableDataset`` splits a process's share among
those.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data.sampler import Sampler

from detectron2._missing import missing_names
from detectron2.utils import comm

__all__ = [
    "InferenceSampler",
    "RandomSubsetTrainingSampler",
    "RepeatFactorTrainingSampler",
    "TrainingSampler",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


class _EndlessSampler(Sampler):
    """An endless stream that all processes compute; of n processes each takes every n-th index."""

    def __init__(self, shuffle: bool, seed: int | None) -> None:
        self._shuffle = shuffle
        self._seed = comm.shared_random_seed() if seed is None else int(seed)
        self._rank = comm.get_rank()
        self._world_size = comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._stream(), self._rank, None, self._world_size)

    def _stream(self) -> Iterator[int]:
        generator = torch.Generator()
        generator.manual_seed(self._seed)
        while True:
            indices = self._epoch(generator)
            if self._shuffle:
                indices = indices[torch.randperm(len(indices), generator=generator)]
            yield from indices.tolist()

    def _epoch(self, generator: torch.Generator) -> Tensor:
        """The indices of one epoch before they are shuffled: (K,) int64."""
        raise NotImplementedError


class TrainingSampler(_EndlessSampler):
    """All indices in random order, then all of them in another, without end."""

    def __init__(self, size: int, shuffle: bool = True, seed: int | None = None) -> None:
        """
        Args:
            size: number of images.
            shuffle: False: in their own order instead, again and again.
            seed: of the order; the same on all processes. None draws one and shares it, for which
                all processes have to get here.

        Raises:
            TypeError: ``size`` is no integer.
            ValueError: ``size`` is not positive.
        """
        if not isinstance(size, int):
            raise TypeError(f"TrainingSampler: size must be an integer, got {size!r}")
        if size <= 0:
            raise ValueError(f"TrainingSampler: there must be at least one image, got size={size}")
        self._size = size
        super().__init__(shuffle, seed)

    def _epoch(self, generator: torch.Generator) -> Tensor:
        return torch.arange(self._size)


class RandomSubsetTrainingSampler(TrainingSampler):
    """As ``TrainingSampler``, on a random part of the images that is drawn once."""

    def __init__(
        self,
        size: int,
        subset_ratio: float,
        shuffle: bool = True,
        seed_shuffle: int | None = None,
        seed_subset: int | None = None,
    ) -> None:
        """
        Args:
            size, shuffle: as for ``TrainingSampler``.
            subset_ratio: what part of the images, in (0, 1].
            seed_shuffle: its ``seed``.
            seed_subset: likewise, of the choice of the part.

        Raises:
            AssertionError: ``subset_ratio`` outside (0, 1].
        """
        super().__init__(size, shuffle, seed_shuffle)
        if not 0.0 < subset_ratio <= 1.0:
            raise AssertionError(f"subset_ratio: expected a part in (0, 1], got {subset_ratio}")
        generator = torch.Generator()
        generator.manual_seed(comm.shared_random_seed() if seed_subset is None else seed_subset)
        subset_size = int(size * subset_ratio)
        self._subset = torch.randperm(size, generator=generator)[:subset_size]
        logger.info("Training on a random subset: %d of %d images", subset_size, size)

    def _epoch(self, generator: torch.Generator) -> Tensor:
        return self._subset


class RepeatFactorTrainingSampler(_EndlessSampler):
    """As ``TrainingSampler``, but images can come several times an epoch: those of rare classes."""

    def __init__(
        self, repeat_factors: Tensor, *, shuffle: bool = True, seed: int | None = None
    ) -> None:
        """
        Args:
            repeat_factors: (size,) float, how often each image comes per epoch. The fraction is
                a probability, drawn anew in each epoch.
            shuffle, seed: as for ``TrainingSampler``.
        """
        super().__init__(shuffle, seed)
        self._whole = repeat_factors.trunc()
        self._fraction = repeat_factors - self._whole

    @staticmethod
    def repeat_factors_from_category_frequency(
        dataset_dicts: Sequence[dict[str, Any]], repeat_thresh: float, sqrt: bool = True
    ) -> Tensor:
        """Repeat factors after the LVIS paper (arXiv:1908.03195, appendix B.2).

        A class that occurs in a part f of the images gets max(1, repeat_thresh / f), and an image
        the largest number among its classes, or 1 if it has none.

        Args:
            dataset_dicts: the images, in detectron2's dataset format.
            repeat_thresh: classes in at least this part of the images are not repeated.
            sqrt: take the square root of the quotient, as the paper does.

        Returns:
            (images,) float32, at least 1.
        """
        classes = [{a["category_id"] for a in d["annotations"]} for d in dataset_dicts]
        counts = Counter(itertools.chain.from_iterable(classes))
        factors = {}
        for class_, count in counts.items():
            quotient = repeat_thresh / (count / len(dataset_dicts))
            factors[class_] = max(1.0, math.sqrt(quotient) if sqrt else quotient)
        return torch.tensor(
            [max((factors[c] for c in present), default=1.0) for present in classes],
            dtype=torch.float32,
        )

    def _epoch(self, generator: torch.Generator) -> Tensor:
        drawn = torch.rand(len(self._fraction), generator=generator) < self._fraction
        times = (self._whole + drawn).to(torch.int64)
        return torch.arange(len(times)).repeat_interleave(times)


class InferenceSampler(Sampler):
    """Every index once: of n processes the first gets the first n-th, and so on.

    Shares differ by one if the number of images is not a multiple of n.
    """

    def __init__(self, size: int) -> None:
        """
        Args:
            size: number of images.
        """
        self._local_indices = self._get_local_indices(size, comm.get_world_size(), comm.get_rank())

    @staticmethod
    def _get_local_indices(total_size: int, world_size: int, rank: int) -> range:
        share, rest = divmod(total_size, world_size)
        start = share * rank + min(rank, rest)  # the first `rest` processes get one more
        return range(start, start + share + (rank < rest))

    def __iter__(self) -> Iterator[int]:
        yield from self._local_indices

    def __len__(self) -> int:
        return len(self._local_indices)
