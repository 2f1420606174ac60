"""Which location learns which box, and which locations could have learnt another one.

Letters: L locations of one image over all levels (finest first, each row by row), G boxes.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detectron2.structures import Boxes, Instances
from fcos.modeling.fcos import FCOSTargets

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
    of_box = copy.copy(targets)
    of_box.num_classes = len(boxes)  # the class of a box is its index, so labels are boxes
    each = torch.arange(len(boxes))
    box, _ = of_box.fcos_target_single_image(feature_sizes, _truth(boxes, each))
    candidates = torch.zeros_like(box)
    for index in each:  # what each box would have alone
        alone = _truth(boxes[index, None], index[None])
        candidates += of_box.fcos_target_single_image(feature_sizes, alone)[0] < len(boxes)
    return Learnt(box, candidates)


def _truth(boxes: Tensor, classes: Tensor) -> Instances:
    return Instances((0, 0), gt_boxes=Boxes(boxes.float()), gt_classes=classes)
