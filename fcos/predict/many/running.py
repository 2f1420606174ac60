"""The processes of ``python -m fcos.detect``, from the command's arguments to its results."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from detectron2.data import DatasetFromList
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from fcos.config import CfgNode
from fcos.predict.classes import choose_category_ids, choose_names, configured_classes
from fcos.predict.demo import setup_cfg
from fcos.predict.inputs import find_images, read_list
from fcos.predict.many.ahead import read_ahead
from fcos.predict.many.batches import Batches, make_batches, padded_shape
from fcos.predict.many.folder import DETECTIONS, LEFT_OUT, DetectionFolder, run_settings
from fcos.predict.many.shards import FinishedImages, ShardWriter
from fcos.predict.many.work import Detector, Progress, claims, meeting_host, read_sizes
from fcos.predict.predictor import Predictor
from fcos.utils.agree import in_all, on_main
from fcos.utils.device import check_device
from fcos.utils.errors import UserError
from fcos.utils.processes import Ending, check_processes, run_processes

__all__ = ["run"]

logger = logging.getLogger(__name__)

_SOME_LEFT_OUT = 3  # exit code
_NAMED = 5  # how many images a message names


def run(args: argparse.Namespace) -> int:
    """Detect in all images that the arguments name.

    Args:
        args: as ``fcos_cli.detect`` parses them.

    Returns:
        The exit code: 0; 3 if images were left out; 1 after an error that was printed; or 128 +
        number of a signal.
    """
    try:
        cfg = setup_cfg(args)
        check_device(cfg.MODEL.DEVICE)
        if args.num_gpus is None:
            args.num_gpus = torch.cuda.device_count() if cfg.MODEL.DEVICE == "cuda" else 1
        check_processes(args, cfg.MODEL.DEVICE)
        if meeting_host(args.dist_url) is None:
            raise UserError(f"--dist-url is {args.dist_url}: expected tcp://<machine>:<port>.")
        return run_processes(_process, args)
    except UserError as error:
        if args.debug:
            raise
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _process(args: argparse.Namespace) -> Ending:
    """What each process does."""
    try:
        with DetectionFolder(args.output) as folder:
            return Ending(_detect_all(args, folder))
    except UserError as error:
        if args.debug:
            raise
        return Ending(1, f"Error: {error}", error.in_all_processes)
    except KeyboardInterrupt:
        return Ending(128 + signal.SIGINT, "Stopped. The same command goes on from here.")


def _detect_all(args: argparse.Namespace, folder: DetectionFolder) -> int:
    setup_logger(name="fcos", distributed_rank=comm.get_rank())
    cfg = setup_cfg(args)
    on_main(folder.lock)
    predictor = in_all(lambda: Predictor(cfg, args.optimize, args.compile))
    categories = on_main(lambda: _categories(cfg, predictor))
    token = on_main(lambda: _begin(args, cfg, folder, categories))
    in_all(lambda: folder.check_token(token))

    paths = DatasetFromList(folder.paths())  # in one array, not in as many objects
    threads = max(1, cfg.DATALOADER.NUM_WORKERS)
    sizes = _sizes(folder, paths, threads)
    divisor = max(1, predictor.model.backbone.size_divisibility)
    batches = make_batches(sizes, padded_shape(cfg, divisor), args.batch_size)
    records = FinishedImages(len(paths))  # the main process alone fills it
    is_finished, shards = on_main(lambda: _look_back(folder, records, args.retry))
    if not is_finished.all():
        detector = Detector(
            predictor, args.confidence_threshold, [entry["id"] for entry in categories]
        )
        writer = in_all(lambda: ShardWriter(shards[comm.get_rank()]))
        progress = Progress(args.dist_url, is_finished)
        mine = _claimed(batches, batches.unfinished(is_finished), paths, progress)
        for batch in read_ahead(mine, threads, args.batch_size):
            lines = detector(batch)
            new = [line for image, line in lines.items() if not is_finished[image]]
            writer.write(new)
            progress.add(len(new))
        writer.close()
        progress.close()
    else:
        shards = []
    if not comm.is_main_process():
        return 0
    return _finish(folder, records, shards, paths, categories)


def _categories(cfg: CfgNode, predictor: Predictor) -> list[dict[str, Any]]:
    """Ids and names as ``demo.py`` chooses them, in COCO's form."""
    known = configured_classes(cfg)
    names = choose_names(cfg.MODEL.FCOS.NUM_CLASSES, predictor.class_names, known.names)
    ids = choose_category_ids(names, known)
    return [{"id": i, "name": name} for i, name in zip(ids, names, strict=True)]


def _begin(
    args: argparse.Namespace, cfg: CfgNode, folder: DetectionFolder, categories: list[dict[str, Any]]
) -> str:
    """Find the run to go on with, or make one; returns its token."""
    settings = run_settings(
        cfg,
        images=args.list or args.input,
        recursive=args.recursive,
        confidence_threshold=args.confidence_threshold,
        batch_size=args.batch_size,
        optimize=args.optimize,
        compile=args.compile,
        categories=categories,
    )

    def list_images() -> list[str]:
        return read_list(args.list) if args.list else find_images(args.input, args.recursive)

    return folder.begin(settings, list_images, args.fresh)


def _sizes(folder: DetectionFolder, paths: Sequence[str], threads: int) -> np.ndarray:
    """The sizes of all images, from the disk or from an earlier start."""
    if on_main(folder.has_sizes):
        return folder.sizes()
    sizes = read_sizes(paths, threads)

    def save() -> None:
        if not sizes.any():
            raise UserError(f"None of the {len(paths)} images can be read, such as {paths[0]}.")
        folder.save_sizes(sizes)

    on_main(save)
    return sizes


def _look_back(folder: DetectionFolder, records: FinishedImages, retry: bool) -> tuple[np.ndarray, list[str]]:
    """Which images are finished, (N,) bool, and names of files for the lines of the others."""
    for shard in folder.shards():
        records.add(shard)
    is_finished = records.is_done if retry else records.is_done | records.is_left_out
    logger.info(f"{len(is_finished)} images, {is_finished.sum()} of them done before.")
    # A copy: records go on changing.
    return is_finished.copy(), folder.new_shards(comm.get_world_size())


def _claimed(
    batches: Batches, pending: np.ndarray, paths: Sequence[str], progress: Progress
) -> Iterator[list[tuple[int, str]]]:
    """Batches that no other process gets."""
    for number in claims(len(pending), progress.store):
        yield [(image, paths[image]) for image in batches[pending[number]].tolist()]


def _finish(
    folder: DetectionFolder,
    records: FinishedImages,
    new_shards: Sequence[str],
    paths: Sequence[str],
    categories: list[dict[str, Any]],
) -> int:
    """Write the results; returns the exit code."""
    for shard in new_shards:
        records.add(shard)
    missing = len(paths) - int((records.is_done | records.is_left_out).sum())
    if missing:
        raise UserError(
            f"{missing} of {len(paths)} images are not done, since a process ended before its "
            "time. The same command goes on from here."
        )
    folder.write_results(records, paths, categories)
    number = records.is_done.sum()
    done = "1 image is" if number == 1 else f"{number} images are"
    logger.info(f"{done} done: {folder.path_of(DETECTIONS)}.")
    left_out = np.flatnonzero(records.is_left_out).tolist()
    if not left_out:
        return 0
    named = ", ".join(paths[image] for image in left_out[:_NAMED])
    print(
        f"{len(left_out)} of {len(paths)} images could not be read and were left out: {named}"
        f"{', ...' if len(left_out) > _NAMED else '.'} {folder.path_of(LEFT_OUT)} says why.",
        file=sys.stderr,
    )
    return _SOME_LEFT_OUT
