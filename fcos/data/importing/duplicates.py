"""Images that show nearly the same, found by their thumbnails."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import PIL.Image

from fcos.data.images import opened

__all__ = ["group_near_duplicates"]

SIDE = 16  # pixels of a thumbnail
BANDS = 4  # of 16 bits of a hash; hashes of near-duplicates agree in one of them at least
NEXT = 50  # images that one with the same band is compared with


def group_near_duplicates(paths: list[str]) -> list[int]:
    """Return a number for each image that near-duplicates share.

    Two images are near-duplicates if their 16x16 gray thumbnails differ by half a gray level and a
    twentieth of their contrast (standard deviation) at most, or if Roboflow made them from one
    image, which their names say.

    Args:
        paths: of the images.
    """
    groups = _Groups(len(paths))
    for members in _by_source(paths):
        groups.join(members)
    with ThreadPoolExecutor() as pool:
        thumbnails = list(pool.map(_thumbnail, paths))
    seen = {i: thumbnail for i, thumbnail in enumerate(thumbnails) if thumbnail is not None}
    if seen:
        numbers = np.array(list(seen))
        pixels = np.stack(list(seen.values())).astype(np.float32)
        contrast = pixels.std(axis=(1, 2))
        for first, second in _candidates(pixels):
            # Of a thousand copies of one image, most pairs are in one group already.
            roots = groups.roots()
            apart = roots[numbers[first]] != roots[numbers[second]]
            first, second = first[apart], second[apart]
            difference = np.abs(pixels[first] - pixels[second]).mean(axis=(1, 2))
            limit = 0.5 + 0.05 * np.minimum(contrast[first], contrast[second])
            alike = difference <= limit
            pairs = numbers[np.stack([first[alike], second[alike]], axis=1)]
            for pair in pairs.tolist():
                groups.join(pair)
    return groups.roots().tolist()


class _Groups:
    """Numbers from 0 that are joined to groups."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def roots(self) -> np.ndarray:
        """Return the number that stands for the group of each: the same for all members."""
        roots = np.array(self._parents, dtype=np.int64)
        while not np.array_equal(above := roots[roots], roots):
            roots = above
        return roots

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def join(self, numbers: Iterable[int]) -> None:
        """Make one group of the groups of ``numbers``."""
        roots = [self._root(number) for number in numbers]
        for root in roots:
            self._parents[root] = min(roots)


def _by_source(paths: list[str]) -> Iterable[list[int]]:
    """Roboflow calls what it makes of street.jpg street_jpg.rf.0123abcd.jpg."""
    sources: dict[str, list[int]] = {}
    for index, path in enumerate(paths):
        match = re.match(r"(.+)\.rf\.[0-9A-Za-z]+\.\w+$", os.path.basename(path))
        if match:
            sources.setdefault(match[1], []).append(index)
    return sources.values()


def _thumbnail(path: str) -> np.ndarray | None:
    try:
        with opened(path) as image:
            image.draft("L", (2 * SIDE, 2 * SIDE))  # JPEG: decode an eighth of the pixels only
            small = image.convert("L").resize((SIDE, SIDE), PIL.Image.Resampling.BOX)
    except Exception:  # not to be decoded: training names it
        return None
    return np.asarray(small)


def _candidates(pixels: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield indices of pairs of images that agree in one band of bits.

    A bit says whether one of 8x8 cells is brighter than the one on its left. Of many images with
    the same band, such as blank pages, each is paired with the next ones only.
    """
    cells = pixels.reshape(-1, SIDE // 2, 2, SIDE // 2, 2).mean(axis=(2, 4))
    bits = (cells > np.roll(cells, 1, axis=2)).reshape(len(cells), BANDS, -1)
    for band in np.packbits(bits, axis=2).view(np.uint16)[:, :, 0].T:
        order = np.argsort(band, kind="stable")
        for step in range(1, min(NEXT, len(order))):
            is_same = band[order[:-step]] == band[order[step:]]
            if not is_same.any():
                break
            yield order[:-step][is_same], order[step:][is_same]
