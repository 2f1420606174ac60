"""Data loaders for training and inference, from a config or from explicit arguments."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from torch.utils.data.sampler import Sampler

from detectron2._missing import missing, missing_names
from detectron2.config import configurable
from detectron2.data._dataset_dicts import (
    filter_images_with_only_crowd_annotations,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from detectron2.data.common import (
    AspectRatioGroupedDataset,
    DatasetFromList,
    MapDataset,
    ToIterableDataset,
)
from detectron2.data.dataset_mapper import DatasetMapper
from detectron2.data.samplers import (
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils.comm import get_world_size
from detectron2.utils.env import seed_all_rng

__all__ = [
    "build_batch_data_loader",
    "build_detection_test_loader",
    "build_detection_train_loader",
    "filter_images_with_only_crowd_annotations",
    "get_detection_dataset_dicts",
    "print_instances_class_histogram",
    "trivial_batch_collator",
    "worker_init_reset_seed",
]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)


def build_batch_data_loader(
    dataset: Dataset,
    sampler: Sampler | None,
    total_batch_size: int | None,
    *,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    drop_last: bool = True,
    single_gpu_batch_size: int | None = None,
    prefetch_factor: int = 2,
    persistent_workers: bool = False,
    pin_memory: bool = False,
    seed: int | None = None,
    **kwargs: Any,
) -> Any:
    """A torch ``DataLoader`` whose batches are plain lists, grouped by aspect ratio if wanted.

    With workers, each loads whole batches, and the batches come as they would without.

    Args:
        dataset: map-style or iterable.
        sampler: yields indices; for a map-style dataset, and only for one.
        total_batch_size: elements to a batch over all processes; or
        single_gpu_batch_size: the same per process.
        aspect_ratio_grouping: see ``AspectRatioGroupedDataset``.
        num_workers: processes that load.
        collate_fn: makes something else of the list. Default: nothing.
        drop_last: leave out an incomplete last batch. Grouping always does.
        prefetch_factor: batches (with grouping: elements) that each worker loads ahead.
        persistent_workers, pin_memory: as for torch.
        seed: of the workers' random numbers; None: drawn from torch's global generator.
        **kwargs: handed on to torch's ``DataLoader``.

    Returns:
        Something to iterate over: a ``DataLoader``, or a dataset around one.

    Raises:
        ValueError: both batch sizes are given, or none.
        AssertionError: the processes cannot share ``total_batch_size``, or ``sampler`` does not
            fit the dataset.
    """
    batch_size = _batch_size_per_process(total_batch_size, single_gpu_batch_size)
    if not isinstance(dataset, IterableDataset):
        dataset = ToIterableDataset(dataset, sampler, shard_chunk_size=batch_size)  # type: ignore[arg-type]
    elif sampler is not None:
        raise AssertionError("sampler must be None if dataset is IterableDataset")
    if seed is not None:
        kwargs["generator"] = torch.Generator().manual_seed(seed)
    kwargs.update(
        num_workers=num_workers,
        worker_init_fn=worker_init_reset_seed,
        prefetch_factor=prefetch_factor if num_workers > 0 else None,
        persistent_workers=persistent_workers,
        pin_memory=pin_memory,
    )
    if not aspect_ratio_grouping:
        return DataLoader(
            dataset,
            batch_size=batch_size,
            drop_last=drop_last,
            collate_fn=collate_fn or trivial_batch_collator,
            **kwargs,
        )
    # The loader gives single elements: batches of one without their list.
    singles = DataLoader(dataset, collate_fn=operator.itemgetter(0), **kwargs)
    batches = AspectRatioGroupedDataset(singles, batch_size)
    return batches if collate_fn is None else MapDataset(batches, collate_fn)


def _batch_size_per_process(total: int | None, single: int | None) -> int:
    if total is None and single is not None:
        return single
    if total is None or single is not None:
        raise ValueError("Give either total_batch_size or single_gpu_batch_size")
    n_processes = get_world_size()
    if total <= 0 or total % n_processes:
        raise AssertionError(
            f"Total batch size ({total}) must be a positive multiple of the number of processes "
            f"({n_processes})"
        )
    return total // n_processes


def _as_dataset(dataset: Any, mapper: Callable[[Any], Any] | None) -> Dataset:
    if isinstance(dataset, list):
        dataset = DatasetFromList(dataset, copy=False)
    return dataset if mapper is None else MapDataset(dataset, mapper)


def _sampler_or_default(dataset: Dataset, sampler: Any, default: Callable[[int], Sampler]) -> Any:
    if isinstance(dataset, IterableDataset):
        if sampler is not None:
            raise AssertionError("sampler must be None if dataset is IterableDataset")
        return None
    return default(len(dataset)) if sampler is None else sampler  # type: ignore[arg-type]


def _train_loader_from_config(
    cfg: Any, mapper: Any = None, *, dataset: Any = None, sampler: Any = None
) -> dict[str, Any]:
    if dataset is None:
        _refuse_other_tasks(cfg)
        dataset = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
    if sampler is None and not isinstance(dataset, IterableDataset):
        logger.info("Using training sampler %s", cfg.DATALOADER.SAMPLER_TRAIN)
        sampler = _training_sampler(cfg, dataset)
    return {
        "dataset": dataset,
        "sampler": sampler,
        "mapper": DatasetMapper(cfg, True) if mapper is None else mapper,
        "total_batch_size": cfg.SOLVER.IMS_PER_BATCH,
        "aspect_ratio_grouping": cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


def _refuse_other_tasks(cfg: Any) -> None:
    for name in ("KEYPOINT_ON", "LOAD_PROPOSALS"):
        if cfg.MODEL[name]:
            raise missing(f"MODEL.{name}")


def _training_sampler(cfg: Any, dataset: Any) -> Sampler:
    name = cfg.DATALOADER.SAMPLER_TRAIN
    # As in detectron2, SEED -1 is a seed like any other here: without a SEED the images come in
    # the same order in every run.
    if name == "TrainingSampler":
        return TrainingSampler(len(dataset), seed=cfg.SEED)
    if name == "RepeatFactorTrainingSampler":
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
        )
        return RepeatFactorTrainingSampler(factors, seed=cfg.SEED)
    if name == "RandomSubsetTrainingSampler":
        return RandomSubsetTrainingSampler(len(dataset), cfg.DATALOADER.RANDOM_SUBSET_RATIO)
    raise ValueError(
        f"DATALOADER.SAMPLER_TRAIN: unknown training sampler '{name}'; there are TrainingSampler, "
        "RepeatFactorTrainingSampler and RandomSubsetTrainingSampler"
    )


@configurable(from_config=_train_loader_from_config)
def build_detection_train_loader(
    dataset: list[Any] | Dataset,
    *,
    mapper: Callable[[Any], Any] | None,
    sampler: Sampler | None = None,
    total_batch_size: int,
    aspect_ratio_grouping: bool = True,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
    **kwargs: Any,
) -> Any:
    """The loader for training, endless with the default sampler.

    Also ``build_detection_train_loader(cfg)``, with any of the arguments below to replace what
    the config says.

    Args:
        dataset: a list of items, or a torch dataset, map-style or iterable.
        mapper: from an item to what the model takes; from a config a ``DatasetMapper``.
        sampler: for a list or map-style dataset; default ``TrainingSampler``.
        total_batch_size, aspect_ratio_grouping, num_workers, collate_fn, **kwargs: as for
            ``build_batch_data_loader``.

    Returns:
        Something to iterate over, that gives lists of mapped items, one batch of this process
        each.

    Raises:
        AssertionError: a sampler with an iterable dataset, or one that is none.
    """
    dataset = _as_dataset(dataset, mapper)
    return build_batch_data_loader(
        dataset,
        _sampler_or_default(dataset, sampler, TrainingSampler),
        total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
        collate_fn=collate_fn,
        **kwargs,
    )


def _test_loader_from_config(
    cfg: Any, dataset_name: str | Sequence[str], mapper: Any = None
) -> dict[str, Any]:
    _refuse_other_tasks(cfg)
    return {
        "dataset": get_detection_dataset_dicts(dataset_name, filter_empty=False),
        "mapper": DatasetMapper(cfg, False) if mapper is None else mapper,
        "num_workers": cfg.DATALOADER.NUM_WORKERS,
    }


@configurable(from_config=_test_loader_from_config)
def build_detection_test_loader(
    dataset: list[Any] | Dataset,
    *,
    mapper: Callable[[dict[str, Any]], Any] | None,
    sampler: Sampler | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    collate_fn: Callable[[list[Any]], Any] | None = None,
) -> DataLoader:
    """The loader for inference: every item once, shared among the processes.

    Also ``build_detection_test_loader(cfg, name of a dataset)``.

    Args:
        dataset: a list of items, or a torch dataset, map-style or iterable.
        mapper: from an item to what the model takes; from a config a ``DatasetMapper``.
        sampler: for a list or map-style dataset; default ``InferenceSampler``.
        batch_size: items to a batch of this process.
        num_workers: processes that load.
        collate_fn: makes something else of the list of items. Default: nothing.

    Returns:
        A ``DataLoader`` that gives lists of mapped items.

    Raises:
        AssertionError: a sampler with an iterable dataset.
    """
    dataset = _as_dataset(dataset, mapper)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=_sampler_or_default(dataset, sampler, InferenceSampler),
        drop_last=False,
        num_workers=num_workers,
        collate_fn=collate_fn or trivial_batch_collator,
    )


def trivial_batch_collator(batch: list[Any]) -> list[Any]:
    """A batch as it is."""
    return batch


def worker_init_reset_seed(worker_id: int) -> None:
    """Seed Python's, numpy's and torch's generators in a worker, differently in each."""
    seed_all_rng(torch.initial_seed() % 2**31 + worker_id)
