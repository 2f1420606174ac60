"""Which location learns which box, and which locations could have learnt another one.

Letters: L locations of one image over all levels (finest first, each row by row), G boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from fcos.modeling.fcos import FCOSTargets
from fcos.modeling.fcos.fcos_assignment import assign_boxes, candidate_cells

__all__ = ["Learnt", "learnt_boxes"]


class Learnt(NamedTuple):
    """What the locations of one image learn."""

    box: Tensor
    """(L,) int64 in [0, G], the box that each location learns; G for none (background)."""
    candidates: Tensor
    """(L,) int64, how many boxes each location could learn; more than one is ambiguous."""


def learnt_boxes(
    boxes: Tensor, targets: FCOSTargets, feature_sizes: Sequence[tuple[int, int]]
) -> Learnt:
    """Find the box that each location learns, by the assignment that training uses.

    Source: arXiv:1904.01355, Sec. 3.2.

    Args:
        boxes: (G, 4) float, finite; x1, y1, x2, y2 in pixels of the network input.
        targets: the settings of the assignment.
        feature_sizes: rows and columns of each feature map, finest level first.
    """
    boxes = boxes.float()
    levels = targets.levels(feature_sizes)
    settings = targets.center_radius, targets.inclusive_pixels
    image_index = torch.zeros(len(boxes), dtype=torch.int64)
    box = assign_boxes(boxes, image_index, 1, levels, *settings)[0]
    found, location = candidate_cells(boxes, levels, targets.center_radius)
    return Learnt(box, torch.bincount(location[found], minlength=len(box)))
