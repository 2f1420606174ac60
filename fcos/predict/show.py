"""The labels of a data set on its images, without any model."""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
from tqdm import tqdm

from fcos.config.defaults import get_cfg, read_cfg
from fcos.data.images import read_bgr
from fcos.data.register import dataset_records, get_class_names, register_custom_datasets
from fcos.predict.draw import draw_instances, ground_truth_instances
from fcos.predict.inputs import evenly_spaced
from fcos.predict.sinks import ImageFiles, Sink, Window
from fcos.utils.errors import UserError
from fcos.utils.terminal import progress_bar, show_log

logger = logging.getLogger(__name__)

__all__ = ["show_dataset"]


def show_dataset(
    name: str, *, config_file: str = "", output: str | None = None, num_images: int = 10
) -> None:
    """Draw the boxes, classes and masks of a data set; crowds are left out.

    Args:
        name: of the data set, as registered or as in DATASETS.CUSTOM of the config.
        config_file: a config that declares it; empty for none.
        output: a folder for the pictures; None shows them in a window.
        num_images: how many images, at equal distances.

    Raises:
        UserError: the data set cannot be used, or a picture cannot be written; or some images
            could not be read, after all others are done.
    """
    show_log()
    cfg = read_cfg(config_file) if config_file else get_cfg()
    register_custom_datasets(cfg)
    records = evenly_spaced(dataset_records(name), num_images)
    names = get_class_names(name)
    files = [record["file_name"] for record in records]
    sink: Sink = Window(wait_ms=0) if output is None else ImageFiles(output, files)
    left_out = []
    try:
        bar = progress_bar(len(records), iterable=records, disable=len(records) == 1)
        for record in bar:
            try:
                image = read_bgr(record["file_name"], cfg.INPUT.STRETCH_RANGE, cfg.INPUT.MAX_PIXELS)
            except UserError as error:
                tqdm.write(f"Left out: {error}", file=sys.stderr)
                left_out.append(record["file_name"])
                continue
            if not sink.show(_draw(image, record, names), record["file_name"]):
                break
    finally:
        sink.close()
    if left_out:
        raise UserError(
            f"{len(left_out)} of {len(records)} images could not be read and were left out: "
            f"{', '.join(left_out)}."
        )


def _draw(image: np.ndarray, record: dict[str, Any], names: list[str]) -> np.ndarray:
    annotations = record.get("annotations", [])
    has_masks = any(annotation.get("segmentation") for annotation in annotations)
    height, width = image.shape[:2]
    truth = ground_truth_instances(annotations, height, width, with_masks=has_masks)
    return draw_instances(image, truth, names)
