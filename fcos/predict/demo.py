"""What ``demo.py`` does with its arguments: read, detect, draw, write."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from detectron2.config import CfgNode
from detectron2.structures import Instances
from detectron2.utils.logger import setup_logger
from fcos.config import read_cfg
from fcos.data import register_custom_datasets
from fcos.data.images import read_bgr
from fcos.data.register import dataset_records
from fcos.predict.classes import (
    DatasetClasses,
    choose_category_ids,
    choose_names,
    configured_classes,
    dataset_classes,
)
from fcos.predict.draw import draw_instances, ground_truth_instances, side_by_side
from fcos.predict.inputs import evenly_spaced, find_images
from fcos.predict.predictor import Predictor
from fcos.predict.results import ResultsFile
from fcos.predict.sinks import ImageFiles, Sink, VideoFile, Window
from fcos.predict.video import Video
from fcos.utils.errors import UserError

logger = logging.getLogger(__name__)

__all__ = ["run_demo"]

# An input is a dict in detectron2's format: "file_name", "image_id" and, from a data set,
# "annotations". A frame of a video brings its pixels along as "image".
Record = dict[str, Any]


def run_demo(args: argparse.Namespace) -> int:
    """Detect in everything that the arguments of ``demo.py`` name, draw it and write it.

    Args:
        args: as ``demo.py`` parses them.

    Raises:
        UserError: something in ``args`` cannot be done; or all is done, except for images that
            could not be read.
        KeyboardInterrupt: Ctrl-C came. What was done until then is kept, also the ``--json`` file.
    """
    setup_logger(name="fcos")
    cfg = setup_cfg(args)
    with contextlib.ExitStack() as stack:
        if args.video_input is None and args.webcam is None:
            records, total, sink = _open_images(args)
        else:
            records, total, sink = _open_video(args, stack)
        if sink is not None:
            stack.callback(sink.close)
        results = ResultsFile(args.json) if args.json is not None else None
        predictor = Predictor(cfg, args.optimize, args.compile)
        demo = Demo(cfg, predictor, args.dataset, args.confidence_threshold, sink, results)
        if results is not None:
            stack.callback(results.close)
        demo.run(records, total)
    return 0


def setup_cfg(args: argparse.Namespace) -> CfgNode:
    """The frozen config of ``args.config_file`` and ``args.opts``; registers its data sets.

    ``MODEL.FCOS.SCORE_THRESH_TEST`` is lowered where it would hide detections above
    ``args.confidence_threshold``: a score is the root of class probability times centerness, so
    one of at least t has a class probability of at least t * t.

    Raises:
        UserError: the file or an option cannot be used.
    """
    cfg = read_cfg(args.config_file, args.opts)
    least = args.confidence_threshold**2
    cfg.MODEL.FCOS.SCORE_THRESH_TEST = min(cfg.MODEL.FCOS.SCORE_THRESH_TEST, least)
    cfg.freeze()
    register_custom_datasets(cfg)
    return cfg


class Demo:
    """Detects, draws and collects, one batch of images after the other."""

    def __init__(
        self,
        cfg: CfgNode,
        predictor: Predictor,
        dataset: str | None,
        threshold: float,
        sink: Sink | None,
        results: ResultsFile | None,
    ) -> None:
        """Find out the names of the classes.

        Args:
            cfg: as :func:`setup_cfg` returns it.
            predictor: of ``cfg``.
            dataset: the data set that the images come from, if any.
            threshold: score in [0, 1] that a detection must have at least.
            sink: takes the pictures; ``None`` draws none.
            results: takes the detections; ``None`` keeps none.
        """
        self._predict = predictor
        self._threshold = threshold
        self._sink = sink
        self._with_masks = cfg.MODEL.MASK_ON
        self._results = results
        num_classes = cfg.MODEL.FCOS.NUM_CLASSES
        in_checkpoint = self._predict.class_names or []
        known = DatasetClasses()
        if dataset or results or len(in_checkpoint) != num_classes:
            known = dataset_classes(dataset) if dataset else configured_classes(cfg)
        self._names = choose_names(num_classes, in_checkpoint, known.names)
        self._truth_names = known.names
        self._category_ids = choose_category_ids(self._names, known) if results else ()

    def run(self, records: Iterable[Record], total: int | None) -> None:
        """Go through all inputs, or until the user leaves the window.

        Args:
            records: the inputs.
            total: their number, if known; with more than one there is a progress bar.

        Raises:
            UserError: some images cannot be read; the others are done.
        """
        left_out: list[str] = []
        with tqdm(total=total, disable=total == 1, unit="image") as progress:
            for batch in _batches(records, self._predict.batch_size):
                start = time.perf_counter()
                images = self._read(batch, left_out, go_on=total != 1)
                for record, image, instances in self._detect(images):
                    if total == 1:
                        seconds = time.perf_counter() - start
                        found = f"{len(instances)} detection{'s' * (len(instances) != 1)}"
                        logger.info(f"{record['file_name']}: {found} in {seconds:.2f} s.")
                    if self._sink is not None:
                        picture = self._draw(image, instances, record)
                        if not self._sink.show(picture, record["file_name"]):
                            return
                progress.update(len(batch))
        if left_out:
            raise UserError(
                f"{len(left_out)} of {total} images could not be read and were left out: "
                f"{', '.join(left_out)}."
            )

    def _read(
        self, batch: list[Record], left_out: list[str], go_on: bool
    ) -> list[tuple[Record, np.ndarray]]:
        """The records whose images can be read, with these; adds the others to ``left_out``."""
        images = []
        for record in batch:
            try:
                image = record["image"] if "image" in record else read_bgr(record["file_name"])
            except UserError as error:
                if not go_on:
                    raise
                tqdm.write(f"Left out: {error}", file=sys.stderr)
                left_out.append(record["file_name"])
            else:
                images.append((record, image))
        return images

    def _detect(
        self, images: list[tuple[Record, np.ndarray]]
    ) -> Iterator[tuple[Record, np.ndarray, Instances]]:
        found = self._predict.detect_batch([image for _, image in images])
        for (record, image), instances in zip(images, found, strict=True):
            instances = instances[instances.scores >= self._threshold]
            if self._results is not None:
                name, image_id = record["file_name"], record["image_id"]
                self._results.add(instances, image_id, name, self._category_ids)
            yield record, image, instances

    def _draw(self, image: np.ndarray, instances: Instances, record: Record) -> np.ndarray:
        picture = draw_instances(image, instances, self._names)
        if "annotations" not in record:
            return picture
        height, width = image.shape[:2]
        truth = ground_truth_instances(record["annotations"], height, width, self._with_masks)
        return side_by_side(
            draw_instances(image, truth, self._truth_names), picture, "ground truth", "detections"
        )


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    left = iter(records)
    while batch := list(itertools.islice(left, size)):
        yield batch


def _open_images(args: argparse.Namespace) -> tuple[Iterable[Record], int | None, Sink | None]:
    """The images, their number, and the place for their pictures."""
    if args.dataset is not None:
        records = evenly_spaced(dataset_records(args.dataset), args.num_images or 10)
    else:
        files = find_images(args.input)
        records = [{"file_name": file, "image_id": i} for i, file in enumerate(files)]
    if args.output is not None:
        names = [record["file_name"] for record in records]
        return records, len(records), ImageFiles(args.output, names)
    return records, len(records), Window(wait_ms=0) if args.json is None else None


def _open_video(
    args: argparse.Namespace, stack: contextlib.ExitStack
) -> tuple[Iterable[Record], int | None, Sink | None]:
    """The same for a video or webcam, which ``stack`` closes."""
    video = Video(args.webcam if args.video_input is None else args.video_input)
    stack.callback(video.close)
    frames = (
        {"file_name": video.name, "image_id": number, "image": frame}
        for number, frame in enumerate(video)
    )
    if args.output is not None:
        return frames, video.num_frames, VideoFile(args.output, video.name, video.fps)
    return frames, video.num_frames, Window(wait_ms=1) if args.json is None else None
