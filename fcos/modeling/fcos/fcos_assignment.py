"""Which location learns which box (arXiv:1904.01355, Sec. 3.1 and 3.2).

Letters: N images, L locations over all levels (finest level first, each row by row), G boxes of
all images of the batch, K cells of one level that are looked at for each box.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

LOCATIONS = ("middle", "corner")


class Grid(NamedTuple):
    """Where the locations of one level lie, in pixels of the network input."""

    first: int
    """x and y of the first one."""
    steps: tuple[int, int]
    """Pixels between two of them, in y and in x."""


def location_grids(
    feature_sizes: Sequence[tuple[int, int]], strides: Sequence[int], location: str = "middle"
) -> list[Grid]:
    """Place the grid of locations of every level.

    Args:
        feature_sizes: rows and columns of each feature map, finest level first.
        strides: pixels between two cells of each level.
        location: "middle": floor(s/2) + k*s, as in the paper (Sec. 3.1). "corner": k*step, as in
            torchvision, where the step is the side of the padded image divided by the number of
            cells and rounded down. On coarse levels that is less than the stride.

    Returns:
        One grid per level.

    Raises:
        ValueError: ``location`` is unknown, or a stride is below 1, or there are no strides.
    """
    if location not in LOCATIONS:
        raise ValueError(f"location: expected one of {LOCATIONS}, got {location!r}")
    if min(strides, default=0) < 1:
        raise ValueError(f"strides: expected one or more of at least 1, got {list(strides)}")
    if location == "middle":
        return [Grid(stride // 2, (stride, stride)) for stride in strides]
    # The image is padded to a multiple of the finest stride, so the first level tells its size.
    height, width = (cells * strides[0] for cells in feature_sizes[0])
    return [Grid(0, (height // rows, width // columns)) for rows, columns in feature_sizes]


class Level(NamedTuple):
    """One level of the pyramid, as assignment sees it."""

    feature_size: tuple[int, int]
    """Rows and columns of the feature map."""
    stride: int
    """Pixels of the network input between two of its locations."""
    min_distance: float
    """Smallest max(l, t, r, b) that the level takes, in pixels; belongs to the level."""
    max_distance: float
    """Largest one, in pixels; belongs to the level too. Infinity for the last level."""
    grid: Grid
    """Where its locations lie."""


def level_limits(strides: Sequence[int], sizes_of_interest: Sequence[float] = ()) -> list[float]:
    """List the ends of the ranges of max(l, t, r, b) that the levels take.

    Args:
        strides: pixels between two locations of each level, finest level first.
        sizes_of_interest: limits between the levels, in pixels of the network input; one fewer
            than there are levels, increasing. Empty: 8 strides of the finer level, which is 64,
            128, 256, 512 for the strides 8..128 of the paper, and 32..256 for 4..64.

    Returns:
        One more than there are levels: 0, the limits, infinity.

    Raises:
        ValueError: the number or the order of ``sizes_of_interest`` does not fit.
    """
    limits = [float(limit) for limit in sizes_of_interest or [8 * s for s in strides[:-1]]]
    if len(limits) != len(strides) - 1:
        raise ValueError(
            "sizes_of_interest: expected one limit fewer than there are strides, got "
            f"{len(limits)} limits for {len(strides)} strides"
        )
    ends = [0.0, *limits, math.inf]
    if ends != sorted(set(ends)):
        raise ValueError(
            f"sizes_of_interest: expected increasing limits, got {list(sizes_of_interest)}"
        )
    return ends


def assign_boxes(
    boxes: Tensor,
    image_index: Tensor,
    num_images: int,
    levels: Sequence[Level],
    center_radius: float | None = None,
    inclusive_pixels: bool = False,
) -> Tensor:
    """Find the box that every location learns, for all images and levels at once.

    A location is a candidate for a box when it lies strictly inside it, and the largest of its
    distances l, t, r, b lies within the limits of its level, both ends included (arXiv:1904.01355,
    Sec. 3.2; the public implementations differ on these ends). With ``center_radius``, it must
    also lie strictly within ``center_radius`` strides of the middle of the box, in x and in y. Of
    several boxes the one with the smallest area wins; of equal areas the first.

    Only the cells near a box are looked at: a location that is a candidate lies within
    ``max_distance`` of all four sides, so it is one of a fixed number K of cells. Memory is
    O(G * sum of K), which is about 400 cells per box for the levels of the paper whatever the size
    of the image, and nothing here waits for the GPU.

    Args:
        boxes: (G, 4) float, x1, y1, x2, y2 in pixels of the network input, of all images. A box
            without width or height, or with a coordinate that is not finite, is never assigned.
        image_index: (G,) int64 in [0, N), the image that each box lies in.
        num_images: N.
        levels: the pyramid, finest level first.
        center_radius: half the side of the sampling region, in strides; ``None`` for no limit.
        inclusive_pixels: compare areas of (w + 1) * (h + 1), as the original implementation does.

    Returns:
        (N, L) int64, index into ``boxes``; G where a location learns no box.

    Raises:
        ValueError: the shapes do not fit together.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4 or image_index.shape != boxes.shape[:1]:
        raise ValueError(
            "boxes and image_index: expected (G, 4) and (G,), "
            f"got {tuple(boxes.shape)} and {tuple(image_index.shape)}"
        )
    # A box of no size matches nothing. Infinity or NaN, made an index below, could be any.
    boxes = torch.where(boxes.isfinite().all(dim=1, keepdim=True), boxes, 0.0)
    num_locations = sum(rows * columns for (rows, columns), *_ in levels)
    found, location = candidate_cells(boxes, levels, center_radius)
    # One slot past the last location takes the pairs that do not match.
    slot = location + image_index[:, None] * num_locations
    slot = torch.where(found, slot, num_images * num_locations).reshape(-1)
    box = torch.arange(len(boxes), device=boxes.device)[:, None].expand_as(found).reshape(-1)
    winner = smallest_boxes(boxes, slot, box, num_images * num_locations, inclusive_pixels)
    return winner.reshape(num_images, num_locations)


def smallest_boxes(
    boxes: Tensor, slot: Tensor, box: Tensor, num_slots: int, inclusive_pixels: bool = False
) -> Tensor:
    """Choose for every location the smallest of the boxes that it could learn.

    Args:
        boxes: (G, 4) float.
        slot: (P,) int64, the location of each pair with a box; ``num_slots`` for no pair.
        box: (P,) int64 in [0, G), the box of each pair.
        num_slots: number of locations.
        inclusive_pixels: see :func:`assign_boxes`.

    Returns:
        (num_slots,) int64, the box with the smallest area, of equal areas the first; G for none.
    """
    area = (boxes[:, 2:] - boxes[:, :2] + (1.0 if inclusive_pixels else 0.0)).prod(dim=1)
    area_of_pair = area[box]
    # The smallest area of each slot, then the first box that has it. Areas are compared as they
    # are: 1e8 - area, as elsewhere, moves in steps of 8 in float32 and ties what is no tie.
    smallest = area.new_full((num_slots + 1,), math.inf)
    smallest = smallest.scatter_reduce(0, slot, area_of_pair, "amin")
    is_smallest = area_of_pair == smallest[slot]
    winner = torch.full_like(smallest, len(boxes), dtype=torch.int64)
    winner = winner.scatter_reduce(0, slot, torch.where(is_smallest, box, len(boxes)), "amin")
    return winner[:-1]


def candidate_cells(
    boxes: Tensor, levels: Sequence[Level], center_radius: float | None = None
) -> tuple[Tensor, Tensor]:
    """Look at the cells near each box: is each a candidate, and which location is it?

    A location with more than one candidate is what the paper calls ambiguous (Sec. 3.2, Table 2).

    Args:
        boxes: (G, 4) float, finite; x1, y1, x2, y2 in pixels of the network input.
        levels: the pyramid, finest level first.
        center_radius: see :func:`assign_boxes`.

    Returns:
        Two (G, sum of K) tensors: bool, and int64 in [0, L), only meaningful where the first is
        true. A box meets each of its candidates once.
    """
    found, location, start = [], [], 0
    for level in levels:
        region = _candidate_region(boxes, level, center_radius)
        column, x = _window(region[:, 0], level, 1, center_radius)
        row, y = _window(region[:, 1], level, 0, center_radius)
        left_right = torch.stack((x - boxes[:, 0:1], boxes[:, 2:3] - x), dim=-1)
        top_bottom = torch.stack((y - boxes[:, 1:2], boxes[:, 3:4] - y), dim=-1)
        in_columns = (left_right > 0).all(dim=-1)
        in_rows = (top_bottom > 0).all(dim=-1)
        if center_radius is not None:
            in_columns &= (x > region[:, 0:1]) & (x < region[:, 2:3])
            in_rows &= (y > region[:, 1:2]) & (y < region[:, 3:4])
        farthest = torch.maximum(
            left_right.amax(dim=-1)[:, None, :], top_bottom.amax(dim=-1)[:, :, None]
        )
        is_candidate = (farthest >= level.min_distance) & (farthest <= level.max_distance)
        is_candidate &= in_rows[:, :, None] & in_columns[:, None, :]
        cell = row[:, :, None] * level.feature_size[1] + column[:, None, :] + start
        found.append(is_candidate.flatten(1))
        location.append(cell.flatten(1))
        start += level.feature_size[0] * level.feature_size[1]
    return torch.cat(found, dim=1), torch.cat(location, dim=1)


def _candidate_region(boxes: Tensor, level: Level, center_radius: float | None) -> Tensor:
    """Bound the part of each box, (G, 4), that holds all candidates of the level."""
    if center_radius is None:
        reach = level.max_distance
        # A location here is at most ``reach`` from the far side too.
        near, far = boxes[:, 2:] - reach, boxes[:, :2] + reach
    else:
        middle = (boxes[:, :2] + boxes[:, 2:]) / 2
        reach = center_radius * level.stride
        near, far = middle - reach, middle + reach
    return torch.cat((boxes[:, :2].maximum(near), boxes[:, 2:].minimum(far)), dim=1)


def _window(
    low: Tensor, level: Level, axis: int, center_radius: float | None
) -> tuple[Tensor, Tensor]:
    """Find the cells along one axis (0 rows, 1 columns) that can lie in a region from ``low`` on.

    Returns their indices, (G, n) int64, all of them on the feature map, and their coordinates in
    pixels, (G, n). The number n depends on the level alone.
    """
    cells, step, offset = level.feature_size[axis], level.grid.steps[axis], level.grid.first
    # An interval of this length has at most length / step + 1 cells. One more on
    # either side allows for rounding; the caller compares the exact coordinates.
    length = level.max_distance if center_radius is None else 2 * center_radius * level.stride
    count = cells if math.isinf(length) else min(cells, math.floor(length / step) + 3)
    first = ((low - offset) / step).floor() - 1
    first = first.clamp(min=0, max=cells - count).to(torch.int64)
    index = first[:, None] + torch.arange(count, device=low.device)
    return index, index.to(low.dtype) * step + offset
