"""What a process does with its batches: read, detect, write down."""

from __future__ import annotations

import contextlib
import logging
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.distributed as dist
from tqdm import tqdm

from detectron2.structures import Instances
from detectron2.utils import comm
from fcos.predict.many.ahead import Image
from fcos.predict.many.batches import upright_size
from fcos.predict.many.shards import problem_line, result_line
from fcos.predict.predictor import Predictor
from fcos.predict.results import coco_results
from fcos.utils.errors import UserError

__all__ = ["Detector", "Progress", "claims", "meeting_host", "read_sizes"]

logger = logging.getLogger(__name__)

_BLOCK = 4096  # images whose sizes are asked for at once


def meeting_host(dist_url: str) -> str | None:
    """The machine that a --dist-url names; ``None`` if it is neither "auto" nor tcp://host:port."""
    if dist_url == "auto":
        return "127.0.0.1"
    try:
        url = urllib.parse.urlsplit(dist_url)
        return url.hostname if url.scheme == "tcp" and url.port else None
    except ValueError:  # no port number, or half an address
        return None


def claims(total: int, store: dist.Store) -> Iterator[int]:
    """Numbers below ``total``; each goes to one of the processes that share ``store``.

    Sharing out beforehand would let fast GPUs wait for slow ones.

    Raises:
        UserError: the main process, which keeps ``store``, is gone.
    """
    while True:
        with _losing_a_process():
            number = store.add("claimed", 1) - 1
        if number >= total:
            return
        yield number


@contextlib.contextmanager
def _losing_a_process() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # of torch.distributed, for a lost connection
        raise UserError(
            "Another process ended before its time. The same command goes on from here."
        ) from error


class Progress:
    """Counters that all processes share, and a progress bar that the main one shows.

    Attributes:
        store: the counters.
    """

    def __init__(self, dist_url: str, is_finished: np.ndarray) -> None:
        """Every process must call this.

        Args:
            dist_url: where the processes met; the counters are on the same machine.
            is_finished: (N,) bool, the images that need not be done.
        """
        self.store = _shared_store(dist_url)
        self._before = int(is_finished.sum())
        self._bar = tqdm(
            total=len(is_finished),
            initial=self._before,
            unit="image",
            disable=not comm.is_main_process(),
            mininterval=0.5 if sys.stderr.isatty() else 30,  # a log gets a line now and then
        )

    def add(self, images: int) -> None:
        """More images are finished.

        Raises:
            UserError: the main process is gone.
        """
        with _losing_a_process():
            self._show(self.store.add("finished", images))

    def _show(self, finished: int) -> None:
        self._bar.update(self._before + finished - self._bar.n)

    def close(self) -> None:
        """Wait for all processes, which must call this.

        Raises:
            UserError: one of them is gone.
        """
        with _losing_a_process():
            comm.all_gather(None)
        if comm.is_main_process():  # the others may find its counters gone
            self._show(self.store.add("finished", 0))
        self._bar.close()


def _shared_store(dist_url: str) -> dist.Store:
    if comm.get_world_size() == 1:
        return dist.HashStore()
    host, store = meeting_host(dist_url), None
    assert host is not None  # others have been refused
    if comm.is_main_process():
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    port = comm.all_gather(store.port if store else None)[0]
    return store or dist.TCPStore(host, port, is_master=False, wait_for_workers=False)


def read_sizes(paths: Sequence[str], threads: int) -> np.ndarray:
    """The sizes of all images; every process must call this and reads the headers of its share.

    Args:
        paths: of all images, the same in every process.
        threads: how many read at the same time.

    Returns:
        (N, 2) int32, height and width; (0, 0) where they cannot be read.
    """
    rank, number = comm.get_rank(), comm.get_world_size()
    mine = range(rank, len(paths), number)
    sizes = np.zeros((len(mine), 2), np.int32)
    is_quiet = rank > 0 or len(mine) <= _BLOCK
    with (
        ThreadPoolExecutor(threads) as pool,
        tqdm(total=len(mine), unit="image", desc="Sizes", disable=is_quiet) as bar,
    ):
        for begin in range(0, len(mine), _BLOCK):
            block = mine[begin : begin + _BLOCK]
            found = list(pool.map(upright_size, [paths[image] for image in block]))
            sizes[begin : begin + len(found)] = found
            bar.update(len(found))
    whole = np.zeros((len(paths), 2), np.int32)
    for other, share in enumerate(comm.all_gather(sizes)):
        whole[other::number] = share
    return whole


class Detector:
    """Makes lines for the shards of a batch of images."""

    def __init__(self, predictor: Predictor, threshold: float, category_ids: Sequence[int]) -> None:
        """
        Args:
            predictor: detects.
            threshold: score in [0, 1] that a detection must have at least.
            category_ids: of class 0, 1, ...
        """
        self._predictor = predictor
        self._threshold = threshold
        self._category_ids = category_ids
        self._has_warned = False

    def __call__(self, batch: Sequence[Image]) -> dict[int, bytes]:
        """The line of each image.

        Args:
            batch: as :func:`fcos.predict.many.ahead.read_ahead` gives it.

        Returns:
            From the images' numbers to their lines.
        """
        lines = {i: problem_line(i, pixels) for i, _, pixels in batch if isinstance(pixels, str)}
        images = [(i, path, pixels) for i, path, pixels in batch if not isinstance(pixels, str)]
        try:
            found = self._detect([pixels for _, _, pixels in images])
        except Exception:  # a bug, or too little memory: at every start, so the user needs to know
            names = ", ".join(path for _, path, _ in images)
            logger.error(f"This went wrong with {names}. An image that is taken away is left out.")
            raise
        for (i, path, pixels), instances in zip(images, found, strict=True):
            height, width = pixels.shape[:2]
            if instances is None:
                problem = f"Image {path}, of {width}x{height}, does not fit into the GPU's memory."
                lines[i] = problem_line(i, problem)
                continue
            instances = instances[instances.scores >= self._threshold]
            results = coco_results(instances, i, path, self._category_ids)
            lines[i] = result_line(i, (height, width), results)
        return lines

    def _detect(self, images: list[np.ndarray]) -> list[Instances | None]:
        """Half of them at a time, and so on, where the memory of the GPU is too small for all."""
        if not images:
            return []
        try:
            return list(self._predictor.detect_batch(images))
        except torch.cuda.OutOfMemoryError:
            if len(images) == 1:
                return [None]
        torch.cuda.empty_cache()  # here, because the error held tensors of the attempt
        if not self._has_warned:
            logger.warning(
                f"The GPU's memory is too small for a batch of {len(images)}: such batches are "
                "halved, which takes time; a lower --batch-size does not."
            )
            self._has_warned = True
        half = len(images) // 2
        return self._detect(images[:half]) + self._detect(images[half:])
