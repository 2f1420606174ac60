"""Data sets: registration from the config, checks, and the streams that load them.

The demo data set is written by ``python -m fcos.data.digits``.
"""

from fcos.data.augmenting import check_augmentations
from fcos.data.build import build_test_stream, build_train_stream, build_validation_stream
from fcos.data.checks import check_dataset, check_datasets
from fcos.data.images import read_bgr
from fcos.data.mapper import CheckedMapper
from fcos.data.register import get_class_names, register_custom_datasets, require_dataset
from fcos.data.report import DatasetReport
from fcos.data.stream import TestStream, TrainStream

__all__ = [
    "CheckedMapper",
    "DatasetReport",
    "TestStream",
    "TrainStream",
    "build_test_stream",
    "build_train_stream",
    "build_validation_stream",
    "check_augmentations",
    "check_dataset",
    "check_datasets",
    "get_class_names",
    "read_bgr",
    "register_custom_datasets",
    "require_dataset",
]
