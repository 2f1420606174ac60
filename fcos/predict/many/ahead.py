"""Images are read and decoded in threads, a few batches before they are needed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from fcos.data.images import read_bgr
from fcos.utils.errors import UserError

__all__ = ["read_ahead"]

Image = tuple[int, str, "np.ndarray | str"]


def read_ahead(
    batches: Iterable[Sequence[tuple[int, str]]], threads: int, batch_size: int
) -> Iterator[list[Image]]:
    """Read the images of batches, which keep their order.

    Threads, not processes: decoders run outside Python's lock, and pixels need not be sent.

    Args:
        batches: pairs of an image's number and path; asked for one by one, ahead of use.
        threads: how many read at the same time.
        batch_size: of a full batch. Two batches or two images for each thread, whichever is more,
            wait in memory.

    Yields:
        Per batch and image its number, its path, and its pixels, (H, W, 3) uint8 in blue, green,
        red; or, for one that cannot be read, a sentence instead of pixels.
    """
    depth = max(2, math.ceil(2 * threads / batch_size))
    pool = ThreadPoolExecutor(threads)
    waiting: deque[list[tuple[int, str, Future[np.ndarray | str]]]] = deque()
    try:
        for batch in batches:
            waiting.append([(image, path, pool.submit(_read, path)) for image, path in batch])
            if len(waiting) > depth:
                yield _results(waiting.popleft())
        while waiting:
            yield _results(waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _results(batch: list[tuple[int, str, Future[np.ndarray | str]]]) -> list[Image]:
    return [(image, path, future.result()) for image, path, future in batch]


def _read(path: str) -> np.ndarray | str:
    try:
        return read_bgr(path)
    except UserError as error:
        return str(error)
    except Exception as error:  # one that went wrong and then, asked why, did not
        return f"Image {path} could not be read ({error})."
