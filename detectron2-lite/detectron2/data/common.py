"""Datasets made from lists, from functions over datasets, and from a dataset and its sampler."""

from __future__ import annotations

import copy
import logging
import pickle
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cloudpickle
import numpy as np
from torch.utils.data import Dataset, IterableDataset, Sampler, get_worker_info

from detectron2._missing import missing_names

__all__ = [
    "AspectRatioGroupedDataset",
    "DatasetFromList",
    "MapDataset",
    "ToIterableDataset",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


class MapDataset(Dataset):
    """A dataset with a function applied to each of its elements.

    If the function returns None for an element (a broken image, say), a map-style dataset returns
    another one, chosen at random, and an iterable dataset continues with the next.
    """

    def __new__(cls, dataset: Dataset, map_func: Callable[[Any], Any]) -> Any:
        if isinstance(dataset, IterableDataset):
            return _MapIterableDataset(dataset, map_func)
        return super().__new__(cls)

    def __init__(self, dataset: Dataset, map_func: Callable[[Any], Any]) -> None:
        """
        Args:
            dataset: map-style, or iterable, in which case the result is too.
            map_func: takes an element and returns what it becomes, or None.
        """
        self._dataset = dataset
        self._map_func = map_func
        self._random = random.Random(42)
        self._candidates = set(range(len(self)))  # elements that have not become None

    def __reduce__(self) -> tuple[Any, ...]:
        # Workers that are not forked get the dataset pickled, and map_func is often a lambda.
        return _unpickle_mapped, (self._dataset, cloudpickle.dumps(self._map_func))

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]  # torch gives datasets no length

    def __getitem__(self, idx: int) -> Any:
        index, n_failed = int(idx), 0
        while True:
            element = self._map_func(self._dataset[index])
            if element is not None:
                self._candidates.add(index)
                return element
            n_failed += 1
            self._candidates.discard(index)
            if not self._candidates:
                raise RuntimeError("The mapper has returned None for every element of the dataset")
            if n_failed >= 3:
                logger.warning(
                    "The mapper returned None for %d elements in a row, last for number %d",
                    n_failed,
                    index,
                )
            index = self._random.choice([*self._candidates])


def _unpickle_mapped(dataset: Dataset, pickled_map_func: bytes) -> Dataset:
    return MapDataset(dataset, pickle.loads(pickled_map_func))


class _MapIterableDataset(IterableDataset):
    def __init__(self, dataset: IterableDataset, map_func: Callable[[Any], Any]) -> None:
        self._dataset = dataset
        self._map_func = map_func

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle_mapped, (self._dataset, cloudpickle.dumps(self._map_func))

    def __len__(self) -> int:
        return len(self._dataset)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        for element in map(self._map_func, self._dataset):
            if element is not None:
                yield element


class _PickledList:
    """A list stored as one array of bytes, which forked workers share.

    Workers would copy a list of Python objects page by page, because reading an object changes its
    reference count.
    """

    def __init__(self, elements: Sequence[Any]) -> None:
        pickled = [pickle.dumps(element, protocol=-1) for element in elements]
        self._ends = np.cumsum([len(data) for data in pickled], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(pickled), dtype=np.uint8)
        logger.info("Pickled %d elements into %.2f MiB", len(pickled), self._bytes.size / 2**20)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, idx: int) -> Any:
        index = range(len(self))[idx]
        start = self._ends[index - 1] if index else 0
        return pickle.loads(self._bytes[start : self._ends[index]].data)


class DatasetFromList(Dataset):
    """A list as a dataset."""

    def __init__(
        self,
        lst: list[Any],
        copy: bool = True,
        serialize: bool | Callable[[Sequence[Any]], Any] = True,
    ) -> None:
        """
        Args:
            lst: the elements.
            copy: give out deep copies, so that changing one does not change the list. Serialised
                elements are copies in any case.
            serialize: keep the list as one array of bytes, which the memory of forked workers
                does not multiply; or a function that stores it in another way.
        """
        self._copy = copy
        self._serialize = serialize
        if serialize:
            store = serialize if callable(serialize) else _PickledList
            self._lst = store(lst)
        else:
            self._lst = lst

    def __len__(self) -> int:
        return len(self._lst)

    def __getitem__(self, idx: int) -> Any:
        element = self._lst[idx]
        return copy.deepcopy(element) if self._copy and not self._serialize else element


class ToIterableDataset(IterableDataset):
    """A map-style dataset in the order of a sampler, shared among data loader workers."""

    def __init__(
        self,
        dataset: Dataset,
        sampler: Sampler,
        shard_sampler: bool = True,
        shard_chunk_size: int = 1,
    ) -> None:
        """
        Args:
            dataset: map-style.
            sampler: yields indices. Every worker runs all of it.
            shard_sampler: give each worker its share of the indices. False for a sampler that
                looks to that itself.
            shard_chunk_size: consecutive indices that go to one worker, then as many to the next.
                The size of a batch makes the batches those of a loader without workers.

        Raises:
            AssertionError: ``dataset`` is iterable, or ``sampler`` is no sampler.
        """
        if isinstance(dataset, IterableDataset):
            raise AssertionError(f"ToIterableDataset: {dataset} is iterable already")
        if not isinstance(sampler, Sampler):
            raise AssertionError(f"ToIterableDataset: expected a torch Sampler, got {sampler!r}")
        self.dataset = dataset
        self.sampler = sampler
        self.shard_sampler = shard_sampler
        self.shard_chunk_size = shard_chunk_size

    def __iter__(self) -> Iterator[Any]:
        for position, index in enumerate(self.sampler):
            if self._is_ours(position):
                yield self.dataset[index]

    def _is_ours(self, position: int) -> bool:
        worker = get_worker_info()
        if worker is None or not self.shard_sampler:
            return True
        return position // self.shard_chunk_size % worker.num_workers == worker.id

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]


class AspectRatioGroupedDataset(IterableDataset):
    """Batches of images that are all wider than high, or all not.

    They need less padding than mixed ones.  The order within each of the two kinds is kept.
    """

    def __init__(self, dataset: Iterable[dict[str, Any]], batch_size: int) -> None:
        """
        Args:
            dataset: yields dicts with "width" and "height".
            batch_size: images to a batch.
        """
        self.dataset = dataset
        self.batch_size = batch_size
        self._buckets: list[list[dict[str, Any]]] = [[], []]

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for image in self.dataset:
            kind = int(image["width"] > image["height"])
            self._buckets[kind].append(image)
            if len(self._buckets[kind]) == self.batch_size:
                # Emptied before the batch is yielded: iteration may stop there.
                batch, self._buckets[kind] = self._buckets[kind], []
                yield batch
