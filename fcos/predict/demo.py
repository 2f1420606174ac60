"""The job of ``demo.py``: read, detect, draw, write."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from detectron2.config import CfgNode
from detectron2.structures import Instances
from fcos.checkpoint import DEFAULT_SCORE
from fcos.config.model_classes import num_detected_classes
from fcos.data.register import dataset_records
from fcos.predict.classes import (
    DatasetClasses,
    choose_category_ids,
    choose_names,
    configured_classes,
    dataset_classes,
)
from fcos.predict.detector import Detector, prepare_cfg
from fcos.predict.draw import (
    FrameDrawing,
    draw_instances,
    ground_truth_instances,
    side_by_side,
)
from fcos.predict.inputs import evenly_spaced, find_images
from fcos.predict.predictor import Predictor
from fcos.predict.results import ResultsFile
from fcos.predict.sinks import ImageFiles, Sink, VideoFile, Window
from fcos.predict.video import Video
from fcos.utils.errors import UserError
from fcos.utils.terminal import progress_bar, show_log

logger = logging.getLogger(__name__)

__all__ = ["run_demo"]

# A record in detectron2's format: "file_name", "image_id" and, from a data set, "annotations". The
# record of a frame of a video has its pixels as "image".
Record = dict[str, Any]


def run_demo(
    cfg: CfgNode,
    *,
    inputs: Sequence[str] = (),
    video: str | int | None = None,
    dataset: str | None = None,
    num_images: int = 10,
    output: str | None = None,
    results_file: str | None = None,
    threshold: float | None = None,
    optimize: str | None = None,
    compile: bool = False,
) -> None:
    """Detect in images, a video or a data set, draw the detections and write them.

    Without ``output`` and ``results_file``, a window shows the pictures.

    Args:
        cfg: a config with MODEL.WEIGHTS.
        inputs: images, folders and patterns, as :func:`fcos.predict.inputs.find_images` takes
            them; not used where ``video`` or ``dataset`` is given.
        video: a video file, or the number of a webcam.
        dataset: name of a registered data set, also of DATASETS.CUSTOM.
        num_images: how many images of the data set, at equal distances.
        output: a file or folder for the pictures.
        results_file: a JSON file for the detections, in COCO's results format.
        threshold: score in [0, 1] that a detection must have at least; ``None``: that of its class
            in the checkpoint, or 0.5 where it has none.
        optimize, compile: as of :class:`fcos.predict.Predictor`.

    Raises:
        UserError: something cannot be used or written; or some images could not be read, after all
            others are done.
        KeyboardInterrupt: Ctrl-C. What was done until then is kept, the results file included.
    """
    show_log()
    cfg = prepare_cfg(cfg, threshold)
    records: Iterable[Record]
    total: int | None
    sink: Sink | None = None
    with contextlib.ExitStack() as stack:
        if video is None:
            images = _records_of(inputs, dataset, num_images, cfg.MODEL.MASK_ON)
            records, total = images, len(images)
            if output is not None:
                sink = ImageFiles(output, [record["file_name"] for record in images])
        else:
            frames = stack.enter_context(contextlib.closing(Video(video)))
            records, total = _records_of_frames(frames), frames.num_frames
            if output is not None:
                sink = VideoFile(output, frames.name, frames.fps)
        if output is None and results_file is None:
            sink = Window(wait_ms=0 if video is None else 1)
        if sink is not None:
            stack.callback(sink.close)
        results = None if results_file is None else ResultsFile(results_file)
        predictor = Predictor(cfg, optimize, compile, threshold=threshold, default=DEFAULT_SCORE)
        lowest = predictor.lowest
        note = lowest.for_evaluations if results_file else ""
        logger.info(f"Kept: detections with {lowest}, {lowest.origin}.{note}")
        num_classes, known = num_detected_classes(cfg), DatasetClasses()
        # Reading a data set takes time: do it only if the names or the ids are needed.
        if dataset or results or len(predictor.class_names or ()) != num_classes:
            known = dataset_classes(dataset) if dataset else configured_classes(cfg)
        names = choose_names(num_classes, predictor.class_names, known.names)
        ids = choose_category_ids(names, known) if results else ()
        detector = Detector(predictor, ids)
        frame_drawing = None if video is None else FrameDrawing(names)
        demo = Demo(detector, names, known.names, cfg.MODEL.MASK_ON, sink, results, frame_drawing)
        if results is not None:
            stack.callback(results.close)
        demo.run(records, total)


@dataclasses.dataclass(frozen=True)
class Demo:
    """Detects in batches of images, draws the detections and collects them.

    Attributes:
        detector: of the detections that are drawn and written.
        names: of the classes of the model.
        truth_names: of the classes of the data set.
        with_masks: draw the masks of the ground truth.
        sink: takes the pictures; ``None`` draws none.
        results: takes the detections; ``None`` keeps none.
        frame_drawing: draws on the frames of a video; ``None``: the images are not of one.
    """

    detector: Detector
    names: Sequence[str]
    truth_names: Sequence[str]
    with_masks: bool
    sink: Sink | None
    results: ResultsFile | None
    frame_drawing: FrameDrawing | None = None

    def run(self, records: Iterable[Record], total: int | None) -> None:
        """Detect in all images, or until the user leaves the window.

        Args:
            records: of the images.
            total: their number, if known; with more than one there is a progress bar.

        Raises:
            UserError: some images cannot be read; the others are done.
        """
        left_out: list[str] = []
        with progress_bar(total, disable=total == 1) as progress:
            for batch in _batches(records, self.detector.predictor.batch_size):
                start = time.perf_counter()
                images = self._read(batch, left_out, go_on=total != 1)
                found = self.detector([image for _, image in images])
                for (record, image), instances in zip(images, found, strict=True):
                    if total == 1:
                        seconds = time.perf_counter() - start
                        number = f"{len(instances)} detection{'s' * (len(instances) != 1)}"
                        logger.info(f"{record['file_name']}: {number} in {seconds:.2f} s.")
                    if not self._hand_on(record, image, instances):
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
        """Read the images of a batch; add the names of those that cannot be read to a list."""
        images = []
        for record in batch:
            try:
                read = self.detector.predictor.read
                image = record["image"] if "image" in record else read(record["file_name"])
            except UserError as error:
                if not go_on:
                    raise
                tqdm.write(f"Left out: {error}", file=sys.stderr)
                left_out.append(record["file_name"])
            else:
                images.append((record, image))
        return images

    def _hand_on(self, record: Record, image: np.ndarray, instances: Instances) -> bool:
        """Collect and draw the detections of an image; False: the user wants no more."""
        name = record["file_name"]
        if self.results is not None:
            self.results.add(self.detector.results(instances, record["image_id"], name))
        return self.sink is None or self.sink.show(self._draw(image, instances, record), name)

    def _draw(self, image: np.ndarray, instances: Instances, record: Record) -> np.ndarray:
        if self.frame_drawing is not None:
            return self.frame_drawing(image, instances)
        picture = draw_instances(image, instances, self.names)
        if "annotations" not in record:
            return picture
        height, width = image.shape[:2]
        truth = ground_truth_instances(record["annotations"], height, width, self.with_masks)
        return side_by_side(
            draw_instances(image, truth, self.truth_names), picture, "ground truth", "detections"
        )


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    left = iter(records)
    while batch := list(itertools.islice(left, size)):
        yield batch


def _records_of(
    inputs: Sequence[str], dataset: str | None, num_images: int, with_masks: bool
) -> list[Record]:
    """Return the records of a data set, or make those of image files, numbered from 0."""
    if dataset is not None:
        return evenly_spaced(dataset_records(dataset, with_masks), num_images)
    return [{"file_name": file, "image_id": i} for i, file in enumerate(find_images(inputs))]


def _records_of_frames(video: Video) -> Iterator[Record]:
    for number, frame in enumerate(video):
        yield {"file_name": video.name, "image_id": number, "image": frame}
