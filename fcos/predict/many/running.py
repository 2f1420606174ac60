"""The job of ``python -m fcos.detect``: its processes, from images to results."""

from __future__ import annotations

import functools
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.data import DatasetFromList
from detectron2.utils import comm
from fcos.config import CfgNode
from fcos.config.model_classes import num_detected_classes
from fcos.config.same import check_same_config
from fcos.data import register_custom_datasets
from fcos.predict.classes import choose_category_ids, choose_names, configured_classes
from fcos.predict.detector import Detector, prepare_cfg
from fcos.predict.lowest import LowestScores
from fcos.predict.many.ahead import read_ahead
from fcos.predict.many.batches import Batches, make_batches, padded_shape
from fcos.predict.many.folder import DETECTIONS, LEFT_OUT, DetectionFolder, run_settings
from fcos.predict.many.job import DetectionJob
from fcos.predict.many.labels import FoundLabels
from fcos.predict.many.shards import FinishedImages, ShardWriter
from fcos.predict.many.work import LineMaker, Progress, claims, read_sizes
from fcos.predict.predictor import Predictor
from fcos.utils.agree import in_all, on_main
from fcos.utils.device import check_device
from fcos.utils.errors import UserError, printable
from fcos.utils.processes import Ending, choose_processes, run_processes
from fcos.utils.terminal import show_log
from fcos.utils.values import NAMED

__all__ = ["detect_many"]

logger = logging.getLogger(__name__)

_SOME_LEFT_OUT = 3  # exit code
_AGAIN = "The same command goes on from here."


def detect_many(
    cfg: CfgNode,
    job: DetectionJob,
    *,
    num_gpus: int | None = None,
    num_machines: int | None = None,
    machine_rank: int | None = None,
    dist_url: str | None = None,
) -> int:
    """Detect in all images of a job, or in those that an earlier run has not finished.

    Args:
        cfg: a config with MODEL.WEIGHTS.
        job: the images and the output folder.
        num_gpus: GPUs of each machine, or processes with MODEL.DEVICE cpu; ``None``: all GPUs, or
            one process, or as many as torchrun or srun has started.
        num_machines: how many machines share the images; ``None``: 1.
        machine_rank: which of them this is, from 0.
        dist_url: where they meet, tcp://host:port.

    Returns:
        The exit code: 0; 3 if images were left out; 1 after an error that was printed; or 128 +
        number of a signal.

    Raises:
        UserError: the processes cannot be started; or, with one process and ``job.debug``, any
            other mistake.
    """
    cfg = prepare_cfg(cfg, job.threshold)
    check_device(cfg.MODEL.DEVICE)
    processes = choose_processes(
        cfg.MODEL.DEVICE,
        num_gpus=num_gpus,
        num_machines=num_machines,
        machine_rank=machine_rank,
        dist_url=dist_url,
        default_gpus=torch.cuda.device_count() if cfg.MODEL.DEVICE == "cuda" else 1,
    )
    return run_processes(functools.partial(_run_one, cfg, job), processes, _AGAIN)


def _run_one(cfg: CfgNode, job: DetectionJob) -> Ending:
    """Run one process from its start to its end."""
    try:
        with DetectionFolder(job.output) as folder:
            return Ending(_detect_all(cfg, job, folder))
    except UserError as error:
        if job.debug:
            raise
        return Ending(1, f"Error: {error}", error.in_all_processes)
    except KeyboardInterrupt:
        return Ending(128 + signal.SIGINT, f"Stopped. {_AGAIN}")


def _detect_all(cfg: CfgNode, job: DetectionJob, folder: DetectionFolder) -> int:
    show_log(comm.get_rank())
    check_same_config(cfg)
    register_custom_datasets(cfg)
    on_main(folder.lock)
    predictor = in_all(lambda: job.predictor(cfg))
    lowest = predictor.lowest
    logger.info(f"Kept: detections with {lowest}, {lowest.origin}.")
    categories = on_main(lambda: _categories(cfg, predictor))
    token = on_main(lambda: _begin(cfg, job, folder, categories, lowest))
    in_all(lambda: folder.check_token(token))

    paths = DatasetFromList(folder.paths())  # in one array, not in as many objects
    threads = max(1, cfg.DATALOADER.NUM_WORKERS)
    sizes = _sizes(folder, paths, threads)
    divisor = max(1, predictor.model.backbone.size_divisibility)
    batches = make_batches(sizes, padded_shape(cfg, divisor), job.batch_size)
    finished = FinishedImages(len(paths))  # only the main process fills it
    is_finished, shards = on_main(lambda: _look_back(folder, finished, job.retry))
    labels = FoundLabels(job.labels, folder, finished, paths, categories, str(lowest))
    on_main(lambda: labels.check(is_going_on=not is_finished.all(), has_masks=cfg.MODEL.MASK_ON))
    if not is_finished.all():
        category_ids = [category["id"] for category in categories]
        make_lines = LineMaker(Detector(predictor, category_ids))
        writer = in_all(lambda: ShardWriter(shards[comm.get_rank()]))
        progress = Progress(is_finished)
        mine = _claimed(batches, batches.unfinished(is_finished), paths, progress)
        for batch in read_ahead(mine, threads, job.batch_size, predictor.read):
            lines = make_lines(batch)
            new = [line for image, line in lines.items() if not is_finished[image]]
            writer.write(new)
            progress.add(len(new))
        writer.close()
        progress.close()
    else:
        shards = []
    if not comm.is_main_process():
        return 0
    code = _finish(folder, finished, shards, paths, categories, lowest)
    labels.write()
    return code


def _categories(cfg: CfgNode, predictor: Predictor) -> list[dict[str, Any]]:
    """Choose ids and names of the classes as ``demo.py`` does; return them in COCO's form."""
    known = configured_classes(cfg)
    names = choose_names(num_detected_classes(cfg), predictor.class_names, known.names)
    ids = choose_category_ids(names, known)
    return [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]


def _begin(
    cfg: CfgNode,
    job: DetectionJob,
    folder: DetectionFolder,
    categories: list[dict[str, Any]],
    lowest: LowestScores,
) -> str:
    """Find the run to go on with, or make one; return its token."""
    settings = run_settings(
        cfg,
        images=job.list_file or job.inputs,
        recursive=job.recursive,
        confidence_threshold=lowest.setting(len(categories)),
        batch_size=job.batch_size,
        optimize=job.optimize,
        compile=job.compile,
        categories=categories,
    )
    return folder.begin(settings, job.image_files, job.fresh)


def _sizes(folder: DetectionFolder, paths: Sequence[str], threads: int) -> np.ndarray:
    """Read the sizes of all images, or take those of an earlier start from the folder."""
    if on_main(folder.has_sizes):
        return folder.sizes(len(paths))
    sizes = read_sizes(paths, threads)

    def save() -> None:
        if not sizes.any():
            raise UserError(f"None of the {len(paths)} images can be read, such as {paths[0]}.")
        folder.save_sizes(sizes)

    on_main(save)
    return sizes


def _look_back(
    folder: DetectionFolder, finished: FinishedImages, retry: bool
) -> tuple[np.ndarray, list[str]]:
    """Read what earlier starts have done.

    Returns:
        Which images are finished, (N,) bool; and files for the lines of the others, one for each
        process.
    """
    for shard in folder.shards():
        finished.add(shard)
    is_finished = finished.is_done if retry else finished.is_done | finished.is_left_out
    logger.info(f"{len(is_finished)} images, {is_finished.sum()} of them done before.")
    # A copy, because ``finished`` goes on changing.
    return is_finished.copy(), folder.new_shards(comm.get_world_size())


def _claimed(
    batches: Batches, pending: np.ndarray, paths: Sequence[str], progress: Progress
) -> Iterator[list[tuple[int, str]]]:
    """Yield batches that no other process gets."""
    for number in claims(len(pending), progress.store):
        yield [(image, paths[image]) for image in batches[pending[number]].tolist()]


def _finish(
    folder: DetectionFolder,
    finished: FinishedImages,
    new_shards: Sequence[str],
    paths: Sequence[str],
    categories: list[dict[str, Any]],
    lowest: LowestScores,
) -> int:
    """Write the results; return the exit code."""
    for shard in new_shards:
        finished.add(shard)
    missing = len(paths) - int((finished.is_done | finished.is_left_out).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(paths)} images are not done, since a process ended before its "
            "time. The same command goes on from here."
        )
    folder.write_results(finished, paths, categories)
    number = finished.is_done.sum()
    done = "1 image is" if number == 1 else f"{number} images are"
    logger.info(f"{done} done: {folder.path_of(DETECTIONS)}.{lowest.for_evaluations}")
    left_out = np.flatnonzero(finished.is_left_out).tolist()
    if not left_out:
        return 0
    named = ", ".join(paths[image] for image in left_out[:NAMED])
    said = (
        f"{len(left_out)} of {len(paths)} images could not be read and were left out: {named}"
        f"{', ...' if len(left_out) > NAMED else '.'} {folder.path_of(LEFT_OUT)} says why."
    )
    print(printable(said), file=sys.stderr)
    return _SOME_LEFT_OUT
