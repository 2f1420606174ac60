"""Which objects the locations learn, and why some are not learnt: training's own assignment.

Letters: N images, G objects of all images, L locations of an image over all levels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from fcos.evaluation.dataset.objects import Inputs
from fcos.modeling.fcos import FCOSTargets, feature_sizes
from fcos.modeling.fcos.fcos_assignment import Level, candidate_cells, smallest_boxes

__all__ = ["FATES", "Assigned", "assign"]

# What becomes of an object, and what that means.
FATES = {
    "learnt": "at least one location learns it",
    "too small": "no location lies inside it, or only some of levels for larger objects",
    "off center": "locations of its size lie inside it, but none within POS_RADIUS of its middle",
    "out of range": "locations lie inside it, but only some of levels for smaller objects",
    "hidden": "a smaller object takes every location that could learn it",
}
_LEARNT, _SMALL, _OFF, _RANGE, _HIDDEN = range(len(FATES))
_MOST_PAIRS = 4_000_000  # pairs of a box and a cell that are looked at together
_PADDING = 32  # what the sides of a batch are multiples of


@dataclasses.dataclass(frozen=True)
class Assigned:
    """What becomes of the objects and locations of a data set.

    Attributes:
        positives: (G, levels) int64, the locations that learn each object.
        fates: (G,) int64, index into FATES.
        locations: (levels,) int64, all locations of the images.
        num_positive: locations that learn an object.
        num_ambiguous: those inside of more than one that they could learn.
        num_between: those of them whose objects are of different classes.
    """

    positives: Tensor
    fates: Tensor
    locations: Tensor
    num_positive: int
    num_ambiguous: int
    num_between: int

    @property
    def learnt(self) -> float:
        """Percent of the objects that a location learns: best possible recall (Table 1)."""
        return _percent(int((self.fates == _LEARNT).sum()), len(self.fates))

    @property
    def ambiguous(self) -> float:
        """Percent of the positive locations that could learn several objects (Table 2)."""
        return _percent(self.num_ambiguous, self.num_positive)

    @property
    def between(self) -> float:
        """Percent of the positive locations that could learn objects of several classes."""
        return _percent(self.num_between, self.num_positive)

    @property
    def share_positive(self) -> float:
        """Percent of all locations that learn an object."""
        return _percent(self.num_positive, int(self.locations.sum()))

    def count(self, fate: str) -> int:
        """Return how many objects have a fate of FATES."""
        return int((self.fates == list(FATES).index(fate)).sum())


def assign(inputs: Inputs, targets: FCOSTargets) -> Assigned:
    """Assign the locations of all images, a few images at a time.

    Source: arXiv:1904.01355, Sec. 3.2; Tables 1 and 2.

    Args:
        inputs: the objects.
        targets: the settings of the assignment.
    """
    num_levels = len(targets.strides)
    positives = torch.zeros(len(inputs.boxes), num_levels, dtype=torch.int64)
    fates = torch.zeros(len(inputs.boxes), dtype=torch.int64)
    locations = torch.zeros(num_levels, dtype=torch.int64)
    totals = torch.zeros(3, dtype=torch.int64)
    for size, images, which in _chunks(inputs, targets):
        levels = targets.levels(feature_sizes(size, targets.strides))
        cells = torch.tensor([rows * columns for (rows, columns), *_ in levels])
        locations += cells * len(images)
        if not len(which):
            continue
        index = torch.searchsorted(images, inputs.image_index[which])
        part = _assign(inputs.boxes[which], inputs.classes[which], index, levels, targets)
        positives[which], fates[which], counted = part
        totals += counted
    return Assigned(positives, fates, locations, *totals.tolist())


def _chunks(
    inputs: Inputs, targets: FCOSTargets
) -> Iterator[tuple[tuple[int, int], Tensor, Tensor]]:
    """Yield padded sizes, images of that size in order, and the indices of their objects."""
    padded = (inputs.sizes + _PADDING - 1) // _PADDING * _PADDING
    counts = torch.bincount(inputs.image_index, minlength=len(inputs.sizes))
    ends = counts.cumsum(0).tolist()
    sizes, size_of = padded.unique(dim=0, return_inverse=True)
    order = size_of.argsort(stable=True)
    for number, images in enumerate(order.split(torch.bincount(size_of).tolist())):
        height, width = sizes[number].tolist()
        levels = targets.levels(feature_sizes((height, width), targets.strides))
        pairs = candidate_cells(torch.zeros(1, 4), levels, targets.center_radius)[0].shape[1]
        for group in _split(images, (counts[images] * pairs).tolist()):
            which = [torch.arange(ends[i] - int(counts[i]), ends[i]) for i in group.tolist()]
            yield (height, width), group, torch.cat(which)


def _split(images: Tensor, cost: list[int]) -> Iterator[Tensor]:
    """Part images into runs of a cost of _MOST_PAIRS at most, or of a single image."""
    first, total = 0, 0
    for place, each in enumerate(cost):
        if place > first and total + each > _MOST_PAIRS:
            yield images[first:place]
            first, total = place, 0
        total += each
    yield images[first:]


def _assign(
    boxes: Tensor,
    classes: Tensor,
    image_index: Tensor,
    levels: list[Level],
    targets: FCOSTargets,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return positives, fates and the three numbers of locations of some images."""
    radius, cells = targets.center_radius, [rows * columns for (rows, columns), *_ in levels]
    found, location = candidate_cells(boxes, levels, radius)
    box, place = found.nonzero(as_tuple=True)
    # Of all locations, only those that could learn something: most could not.
    slots, slot = torch.unique(
        location[box, place] + image_index[box] * sum(cells), return_inverse=True
    )
    learnt = smallest_boxes(boxes, slot, box, len(slots), targets.inclusive_pixels)
    ends = torch.tensor(cells).cumsum(0)
    level = torch.bucketize(slots % sum(cells), ends, right=True)
    positives = torch.bincount(learnt * len(cells) + level, minlength=len(boxes) * len(cells))
    positives = positives.reshape(len(boxes), len(cells))

    fates = torch.full_like(image_index, _HIDDEN)
    fates[positives.sum(dim=1) > 0] = _LEARNT
    is_without = torch.bincount(box, minlength=len(boxes)) == 0
    if is_without.any():
        fates[is_without] = _why_no_candidate(boxes[is_without], levels)
    return positives, fates, _count_locations(slot, classes[box], len(slots))


def _count_locations(slot: Tensor, classes: Tensor, num_slots: int) -> Tensor:
    """Count positive and ambiguous locations, and those between classes, of pairs with boxes."""
    is_ambiguous = torch.bincount(slot, minlength=num_slots) > 1
    empty = classes.new_zeros(num_slots)
    lowest = empty.scatter_reduce(0, slot, classes, "amin", include_self=False)
    highest = empty.scatter_reduce(0, slot, classes, "amax", include_self=False)
    between = is_ambiguous & (lowest != highest)
    return torch.tensor([num_slots, int(is_ambiguous.sum()), int(between.sum())])


def _why_no_candidate(boxes: Tensor, levels: list[Level]) -> Tensor:
    """Say of boxes without a candidate which condition none of the locations meets."""
    num_cells = sum(rows * columns for (rows, columns), *_ in levels)
    fates = []
    for part in boxes.split(max(1, _MOST_PAIRS // num_cells)):
        # No location inside is farther from a side than the other side is.
        reach = float((part[:, 2:] - part[:, :2]).max())
        without_limit = [level._replace(max_distance=reach) for level in levels]
        fate = torch.full((len(part),), _SMALL)
        fate[candidate_cells(part, without_limit)[0].any(dim=1)] = _RANGE
        fate[candidate_cells(part, levels)[0].any(dim=1)] = _OFF
        fates.append(fate)
    return torch.cat(fates)


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else math.nan
