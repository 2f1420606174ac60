"""Batches of samples: for training, which can resume at any batch, and for evaluation."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detectron2.data import DatasetFromList, build_detection_test_loader
from detectron2.data.samplers import InferenceSampler
from fcos.config.training_checks import check_batch
from fcos.data.order import group_into_batches, share_of_rank, shuffled_indices
from fcos.data.workers import start_iterating
from fcos.utils.errors import UserError

__all__ = ["Mapper", "Record", "TestStream", "TrainStream"]

Record = dict[str, Any]  # one image and its annotations, in detectron2's form
Mapper = Callable[[Record], Any]


class TrainStream:
    """Training batches without end, the same ones on any number of processes and workers.

    All processes together go through one sequence of batches, which the seed decides; each of
    them loads its share of every batch. The chance in a sample's augmentation depends on the seed
    and on the sample's place in the sequence. So the stream may be left after any batch and taken
    up again there, and it is the same on 1 process or 8, with 0 workers or 4.

    Iterating gives lists of this process's ``batch_size / world_size`` samples. Every iteration
    begins at ``start_batch``. Workers start when the first batch is asked for.

    Attributes:
        seed: of the order and of the augmentation.
        start_batch: how many batches the next iteration leaves out; nothing of them is loaded.
        num_images: in the data set.
    """

    def __init__(
        self,
        records: Sequence[Record],
        mapper: Mapper,
        *,
        batch_size: int,
        seed: int,
        repeat_factors: Tensor | None = None,
        group_by_shape: bool = True,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """
        Args:
            records: the data set; not changed.
            mapper: makes a sample of a copy of a record.
            batch_size: images in a batch of all processes together.
            repeat_factors: (len(records),) how often each comes in one pass, on average; else once.
            group_by_shape: put wide images (width > height) and others into separate batches.
            num_workers: processes that load for this one; 0 loads in this one.

        Raises:
            UserError: ``batch_size`` cannot be divided among the processes, or a record lacks the
                width and height needed for grouping.
        """
        check_batch(batch_size, world_size)
        self.seed = seed
        self.start_batch = 0
        self.num_images = len(records)
        self._records = DatasetFromList(list(records))
        self._mapper = mapper
        self._groups = [_is_wide(record) if group_by_shape else None for record in records]
        self._repeat_factors = repeat_factors
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._rank, self._world_size = rank, world_size

    @property
    def records(self) -> Sequence[Record]:
        """The data set; each record that it gives is a copy."""
        return self._records

    def start(self, batch: int, seed: int) -> None:
        """Makes the next iteration begin at this batch (0 is the first) of this seed's sequence."""
        self.start_batch, self.seed = batch, seed

    def __iter__(self) -> Iterator[list[Any]]:
        loader = DataLoader(
            _Batches(self._records, self._mapper, self.seed),
            batch_size=None,  # an item of the data set is a batch
            sampler=_Shares(self._positions),
            num_workers=self._num_workers,
            collate_fn=list,
            # Of its own, or making a loader would advance the random numbers of the training.
            generator=torch.Generator(),
        )
        yield from map(_raise_problems, start_iterating(loader))

    def _positions(self) -> Iterator[list[tuple[int, int]]]:
        """This process's share of each batch: place in the sequence, and index of the record."""
        indices = shuffled_indices(len(self._records), self.seed, self._repeat_factors)
        batches = group_into_batches(indices, self._groups, self._batch_size)
        return share_of_rank(batches, self._rank, self._world_size, self.start_batch)


class TestStream:
    """Every sample of an evaluation loader once; ``len`` is its number of batches.

    A ``UserError`` of the mapper arrives as it was raised, not wrapped in the traceback of a worker
    process. In batches of more than one, images come in the order of their shapes.
    """

    __test__ = False  # not a class of tests, pytest

    def __init__(
        self, records: Sequence[Record], mapper: Mapper, num_workers: int = 0, batch_size: int = 1
    ) -> None:
        self._loader = build_detection_test_loader(
            list(records),
            mapper=_ProblemsAsSamples(mapper),
            sampler=_by_shape(records) if batch_size > 1 else None,
            batch_size=batch_size,
            num_workers=num_workers,
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[Any]]:
        yield from map(_raise_problems, start_iterating(self._loader))


def _is_wide(record: Record) -> bool:
    if "width" not in record or "height" not in record:
        raise UserError(
            f"The data set does not give the width and height of {record.get('file_name')}, which "
            "grouping needs: add them, or set DATALOADER.ASPECT_RATIO_GROUPING False."
        )
    return bool(record["width"] > record["height"])


def _by_shape(records: Sequence[Record]) -> list[int]:
    """This process's part of the indices, images of one shape behind each other.

    A batch of one shape needs no padding, which takes time and moves what is detected a little.
    """
    part = InferenceSampler(len(records))
    return sorted(part, key=lambda i: (records[i].get("height", 0), records[i].get("width", 0)))


class _Shares(Sampler[list[tuple[int, int]]]):
    def __init__(self, make: Callable[[], Iterator[list[tuple[int, int]]]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        return self._make()


class _Batches(Dataset[list[Any]]):
    """Batches by the positions of their samples in the stream and their indices in the data set."""

    def __init__(self, records: Dataset[Record], mapper: Mapper, seed: int) -> None:
        self._records = records
        self._make_sample = _ProblemsAsSamples(mapper)
        self._seed = seed

    def __getitem__(self, share: list[tuple[int, int]]) -> list[Any]:
        with _random_states_kept():
            return [self._sample(position, index) for position, index in share]

    def _sample(self, position: int, index: int) -> Any:
        _seed_generators(self._seed, position)
        return self._make_sample(self._records[index])


class _ProblemsAsSamples:
    """Hands a ``UserError`` on as if it were a sample.

    An exception that leaves a worker process loses its message: PyTorch puts the text of a
    traceback in its place. A value arrives unchanged.
    """

    def __init__(self, mapper: Mapper) -> None:
        self._mapper = mapper

    def __call__(self, record: Record) -> Any:
        try:
            return self._mapper(record)
        except UserError as problem:
            return problem


def _raise_problems(batch: list[Any]) -> list[Any]:
    for sample in batch:
        if isinstance(sample, UserError):
            raise sample
    return batch


@contextlib.contextmanager
def _random_states_kept() -> Iterator[None]:
    """Afterwards the three generators on the CPU go on as if nothing had been drawn."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _seed_generators(seed: int, position: int) -> None:
    """Random numbers, of all three generators on the CPU, that depend on the arguments alone."""
    words = np.random.SeedSequence([seed, position]).generate_state(3).tolist()
    random.seed(words[0])
    np.random.seed(words[1])
    torch.default_generator.manual_seed(words[2])  # torch.manual_seed would reseed GPUs as well
