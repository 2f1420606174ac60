"""What one process does with its batches: claim, detect, make lines; and the progress of all."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.distributed as dist

from detectron2.structures import Instances
from detectron2.utils import comm
from fcos.predict.detector import Detector
from fcos.predict.many.ahead import ReadImage
from fcos.predict.many.batches import size_of
from fcos.predict.many.shards import problem_line, result_line
from fcos.utils.errors import UserError
from fcos.utils.lifelines import main_host
from fcos.utils.terminal import progress_bar

__all__ = ["LineMaker", "Progress", "claims", "read_sizes"]

logger = logging.getLogger(__name__)

_BLOCK = 4096  # images whose sizes are asked for at once


def claims(total: int, store: dist.Store) -> Iterator[int]:
    """Yield numbers below ``total``, each in only one of the processes that share ``store``.

    With fixed shares, fast GPUs would wait for slow ones.

    Raises:
        UserError: the main process, which keeps ``store``, has ended.
    """
    while True:
        with _lost_connection():
            number = store.add("claimed", 1) - 1
        if number >= total:
            return
        yield number


@contextlib.contextmanager
def _lost_connection() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.distributed lost a connection
        raise UserError(
            "Another process ended before its time. The same command goes on from here."
        ) from error


class Progress:
    """Counters that all processes share, and the progress bar of the main process.

    Attributes:
        store: the counters.
    """

    def __init__(self, is_finished: np.ndarray) -> None:
        """Connect to the counters; every process must call this.

        Args:
            is_finished: (N,) bool, the images that earlier starts have finished.
        """
        self.store = _shared_store()
        self._before = int(is_finished.sum())
        self._bar = progress_bar(
            len(is_finished), initial=self._before, disable=not comm.is_main_process()
        )

    def add(self, images: int) -> None:
        """Count images as finished.

        Raises:
            UserError: the main process has ended.
        """
        with _lost_connection():
            self._show(self.store.add("finished", images))

    def _show(self, finished: int) -> None:
        self._bar.update(self._before + finished - self._bar.n)

    def close(self) -> None:
        """Wait for all processes; every process must call this.

        Raises:
            UserError: one of them has ended.
        """
        with _lost_connection():
            comm.all_gather(None)
        if comm.is_main_process():  # for the others, its counters may be gone by now
            self._show(self.store.add("finished", 0))
        self._bar.close()


def _shared_store() -> dist.Store:
    """Make counters that all processes share; the main process keeps them."""
    if comm.get_world_size() == 1:
        return dist.HashStore()
    host, store = main_host(), None
    if comm.is_main_process():
        store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
    port = comm.all_gather(store.port if store else None)[0]
    return store or dist.TCPStore(host, port, is_master=False, wait_for_workers=False)


def read_sizes(paths: Sequence[str], threads: int) -> np.ndarray:
    """Read the sizes of all images; every process must call this, and reads a share of them.

    Args:
        paths: of all images, the same in every process.
        threads: how many headers are read at the same time.

    Returns:
        (N, 2) int32, height and width; (0, 0) where they cannot be read.
    """
    rank, number = comm.get_rank(), comm.get_world_size()
    mine = range(rank, len(paths), number)
    sizes = np.zeros((len(mine), 2), np.int32)
    is_quiet = rank > 0 or len(mine) <= _BLOCK
    with (
        ThreadPoolExecutor(threads) as pool,
        progress_bar(len(mine), desc="Sizes", disable=is_quiet) as bar,
    ):
        for begin in range(0, len(mine), _BLOCK):
            block = mine[begin : begin + _BLOCK]
            found = list(pool.map(size_of, [paths[image] for image in block]))
            sizes[begin : begin + len(found)] = found
            bar.update(len(found))
    whole = np.zeros((len(paths), 2), np.int32)
    for other, share in enumerate(comm.all_gather(sizes)):
        whole[other::number] = share
    return whole


class LineMaker:
    """Detects in a batch of images and makes the lines for the shards."""

    def __init__(self, detector: Detector) -> None:
        """Take the detector, which has the category ids to write."""
        self._detector = detector
        self._has_warned = False

    def __call__(self, batch: Sequence[ReadImage]) -> dict[int, bytes]:
        """Make the line of each image.

        Args:
            batch: as :func:`fcos.predict.many.ahead.read_ahead` yields it.

        Returns:
            Number of the image -> its line.
        """
        lines = {i: problem_line(i, pixels) for i, _, pixels in batch if isinstance(pixels, str)}
        images = [(i, path, pixels) for i, path, pixels in batch if not isinstance(pixels, str)]
        try:
            found = self._detect([pixels for _, _, pixels in images])
        except Exception:  # it would fail again at every start: say with which images
            names = ", ".join(path for _, path, _ in images)
            logger.error(f"This went wrong with {names}. An image that is taken away is left out.")
            raise
        for (i, path, pixels), instances in zip(images, found, strict=True):
            height, width = pixels.shape[:2]
            if instances is None:
                problem = f"Image {path}, of {width}x{height}, does not fit into the GPU's memory."
                lines[i] = problem_line(i, problem)
            else:
                results = self._detector.results(instances, i, path)
                lines[i] = result_line(i, (height, width), results)
        return lines

    def _detect(self, images: list[np.ndarray]) -> list[Instances | None]:
        """Detect in a batch. Where the GPU's memory is too small, halve it, and so on.

        Returns:
            The detections of each image; ``None`` where not even that image fits alone.
        """
        if not images:
            return []
        try:
            return list(self._detector(images))
        except torch.cuda.OutOfMemoryError:
            if len(images) == 1:
                return [None]
        torch.cuda.empty_cache()  # here, because the error kept tensors of the attempt alive
        if not self._has_warned:
            logger.warning(
                f"The GPU's memory is too small for a batch of {len(images)}: such batches are "
                "halved, which takes time; a lower --batch-size does not."
            )
            self._has_warned = True
        half = len(images) // 2
        return self._detect(images[:half]) + self._detect(images[half:])
