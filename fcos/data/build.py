"""The streams of a config: the records of its data sets, and how they are loaded."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from torch import Tensor

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog, print_instances_class_histogram
from detectron2.data.samplers import RepeatFactorTrainingSampler
from detectron2.utils import comm
from fcos.config.data_checks import check_loader
from fcos.config.keys import check_keys
from fcos.data.annotations import forget_annotations
from fcos.data.image_checks import ImageUse, check_images
from fcos.data.left_out import leave_out, left_out
from fcos.data.mapper import CheckedMapper, ImageMapper
from fcos.data.register import load_dataset, read_dataset, require_same_classes
from fcos.data.resize import resize_of
from fcos.data.stream import Mapper, Record, TestStream, TrainStream
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError

logger = logging.getLogger(__name__)

__all__ = ["build_test_stream", "build_train_stream", "build_validation_stream"]


def build_train_stream(cfg: CfgNode, mapper: Mapper | None = None) -> TrainStream:
    """Build the training stream of ``cfg`` for this process.

    Reads DATASETS.TRAIN, SOLVER.IMS_PER_BATCH, SEED (negative: a random one, equal on all
    processes), DATALOADER.* and, for the default mapper, INPUT.* and MODEL.MASK_ON.

    Degenerate boxes and broken polygons are left out. Images without objects are too, if
    DATALOADER.FILTER_EMPTY_ANNOTATIONS is on; otherwise they come with empty ``Instances``. With
    DATALOADER.SKIP_UNREADABLE, so are images that cannot be used, in all processes alike.

    Args:
        mapper: instead of an ``ImageMapper``.

    Raises:
        UserError: a data set is missing, nothing is left to train on, the batch cannot be divided
            among the processes, or the sampler is unknown.
    """
    records = _training_records(cfg)
    checked = _checked(cfg, mapper, is_train=True)
    stream = TrainStream(
        records,
        checked,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        repeat_factors=_repeat_factors(cfg, records),
        group_by_shape=cfg.DATALOADER.ASPECT_RATIO_GROUPING,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )
    if isinstance(checked.mapper, ImageMapper) and checked.mapper.augment is not None:
        checked.mapper.augment.records = stream.records  # a mosaic draws from them
    _forget(cfg.DATASETS.TRAIN, but=cfg.DATASETS.TEST)
    return stream


def build_test_stream(cfg: CfgNode, dataset_name: str, mapper: Mapper | None = None) -> TestStream:
    """Build this process's part of a data set for evaluation, in batches of TEST.IMS_PER_BATCH.

    Args:
        mapper: instead of an ``ImageMapper``.

    Raises:
        UserError: the data set is missing, or TEST.IMS_PER_BATCH is below 1.
    """
    check_keys(cfg, "TEST.IMS_PER_BATCH")
    _leave_out_unreadable(cfg, dataset_name, is_train=False)
    records = load_dataset(dataset_name, cfg.MODEL.MASK_ON).dicts()
    _log_histogram([dataset_name], records)
    mapper = _checked(cfg, mapper, is_train=False)
    return TestStream(records, mapper, cfg.DATALOADER.NUM_WORKERS, cfg.TEST.IMS_PER_BATCH)


def build_validation_stream(cfg: CfgNode, dataset_name: str) -> TestStream:
    """Build this process's part of a data set to compute losses on, in batches as for evaluation.

    Images are resized as for evaluation and not augmented; their objects are those that a training
    would learn.

    Raises:
        UserError: as of :func:`build_test_stream`.
    """
    check_keys(cfg, "TEST.IMS_PER_BATCH")
    _leave_out_unreadable(cfg, dataset_name, is_train=False)
    records = load_dataset(dataset_name, cfg.MODEL.MASK_ON).dicts(for_training=True)
    as_test = cfg.clone()
    as_test.defrost()
    node = as_test.INPUT
    node.MIN_SIZE_TRAIN, node.MAX_SIZE_TRAIN = (cfg.INPUT.MIN_SIZE_TEST,), cfg.INPUT.MAX_SIZE_TEST
    node.MIN_SIZE_TRAIN_SAMPLING = "choice"
    node.RANDOM_FLIP, node.CROP.ENABLED, node.AUGMENTATIONS = "none", False, []
    if any(_has_run_lengths(record) for record in records):
        node.MASK_FORMAT = "bitmask"
    mapper = CheckedMapper(ImageMapper(as_test, is_train=True), resize_of(cfg, "TEST"))
    return TestStream(records, mapper, cfg.DATALOADER.NUM_WORKERS, cfg.TEST.IMS_PER_BATCH)


def _has_run_lengths(record: Record) -> bool:
    return any(isinstance(a.get("segmentation"), dict) for a in record.get("annotations", ()))


def _checked(cfg: CfgNode, mapper: Mapper | None, is_train: bool) -> CheckedMapper:
    """Wrap a mapper, by default our own. How another one resizes is not known."""
    if mapper is not None:
        return CheckedMapper(mapper)
    resize = resize_of(cfg, "TRAIN" if is_train else "TEST")
    return CheckedMapper(ImageMapper(cfg, is_train=is_train), resize)


def _training_records(cfg: CfgNode) -> list[Record]:
    check_loader(cfg)
    names = list(cfg.DATASETS.TRAIN)
    filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
    records: list[Record] = []
    for name in names:
        _leave_out_unreadable(cfg, name, is_train=True)
        loaded = load_dataset(name, cfg.MODEL.MASK_ON)
        records += loaded.dicts(for_training=True, filter_empty=filter_empty)
    if not records:
        raise UserError(f"Nothing to train on: no image of {', '.join(names)} has an object.")
    _log_histogram(names, records)
    return records


def _leave_out_unreadable(cfg: CfgNode, name: str, is_train: bool) -> None:
    """Agree on the images that cannot be used; the main process may know them already."""
    if not cfg.DATALOADER.SKIP_UNREADABLE:
        leave_out(name, None)
        return

    def look() -> frozenset[str]:
        known = left_out(name)
        if known is not None:
            return known
        resize = resize_of(cfg, "TRAIN" if is_train else "TEST")
        records = read_dataset(name, is_train, cfg.MODEL.MASK_ON)
        reading = cfg.INPUT.STRETCH_RANGE, cfg.INPUT.MAX_PIXELS
        use = ImageUse(name, records, is_train, resize, *reading)
        checked = check_images([use], skip_unreadable=True)[0]
        logger.info(f"Data set {name!r}: {' '.join(checked.notes)}")
        return frozenset(checked.unreadable)

    leave_out(name, on_main(look))


def _log_histogram(names: Sequence[str], records: Sequence[Record]) -> None:
    """Log how many objects there are of each class, if the data sets name their classes.

    Raises:
        UserError: they name different ones.
    """
    classes = {name: MetadataCatalog.get(name).get("thing_classes") for name in names}
    if not all(classes.values()):
        return
    require_same_classes(classes)
    if all("annotations" in record for record in records):
        print_instances_class_histogram(records, classes[names[0]])


def _forget(names: Sequence[str], but: Sequence[str]) -> None:
    """The stream has its own copy of its records. Those to evaluate on are needed every time."""
    kept = {MetadataCatalog.get(name).get("json_file") for name in but}
    for name in names:
        json_file = MetadataCatalog.get(name).get("json_file")
        if json_file not in kept:
            forget_annotations(json_file)


def _repeat_factors(cfg: CfgNode, records: list[Record]) -> Tensor | None:
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        return None
    return RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
        records, cfg.DATALOADER.REPEAT_THRESHOLD, sqrt=cfg.DATALOADER.REPEAT_SQRT
    )
