"""Read and decode images in threads, a few batches before they are needed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fcos.utils.errors import UserError

__all__ = ["ReadImage", "read_ahead"]

# Number and path of an image, and its pixels, (H, W, 3) uint8 in blue, green, red; for an image
# that cannot be read, a sentence instead of pixels.
ReadImage = tuple[int, str, "np.ndarray | str"]


def read_ahead(
    batches: Iterable[Sequence[tuple[int, str]]],
    threads: int,
    batch_size: int,
    read: Callable[[str], np.ndarray],
) -> Iterator[list[ReadImage]]:
    """Read the images of batches, and yield the batches in their order.

    Threads, not processes: decoders release Python's lock, and pixels need not be copied.

    Args:
        batches: number and path of each image; asked for one batch at a time, ahead of use.
        threads: how many images are read at the same time.
        batch_size: images in a full batch. Two batches or two images for each thread, whichever is
            more, wait in memory.
        read: reads the image at a path.
    """
    depth = max(2, math.ceil(2 * threads / batch_size))
    pool = ThreadPoolExecutor(threads)
    waiting: deque[list[tuple[int, str, Future[np.ndarray | str]]]] = deque()
    try:
        for batch in batches:
            waiting.append([(image, path, pool.submit(_read, read, path)) for image, path in batch])
            if len(waiting) > depth:
                yield _results(waiting.popleft())
        while waiting:
            yield _results(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _results(batch: list[tuple[int, str, Future[np.ndarray | str]]]) -> list[ReadImage]:
    return [(image, path, future.result()) for image, path, future in batch]


def _read(read: Callable[[str], np.ndarray], path: str) -> np.ndarray | str:
    try:
        return read(path)
    except UserError as error:
        return str(error)
    except Exception as error:  # reading failed, and reading again to find out why did not
        return f"Image {path} could not be read ({error})."
