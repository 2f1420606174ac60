"""Targets and scores of one level as maps: one number for each cell.

Letters: L locations of one image over all levels (finest first, each row by row), H rows and W
columns of one level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor

from fcos.evaluation.teaching.detecting import RawOutputs
from fcos.modeling.fcos import DetectionRules, FCOSTargets

__all__ = ["Map", "score_maps", "target_maps"]


class Map(NamedTuple):
    """One number for each cell of a level."""

    title: str
    values: Tensor
    """(H, W) float; NaN where there is nothing to show."""
    highest: float
    """End of the colour scale, which begins at 0."""


def target_maps(
    targets: FCOSTargets, feature_sizes: Sequence[tuple[int, int]], truth: Any, level: int
) -> list[Map]:
    """Show what the locations of one level have to predict.

    Source: arXiv:1904.01355, Eq. (1) and (3).

    Args:
        targets: the settings of the assignment.
        feature_sizes: rows and columns of each feature map, finest level first.
        truth: of the image, with ``gt_boxes`` and ``gt_classes``, as for
            :meth:`fcos.modeling.fcos.FCOSTargets.fcos_target_single_image`.
        level: index of the level, 0 is the finest.

    Returns:
        l, t, r and b in pixels of the network input, on one scale, and centerness in [0, 1].
        NaN at background.
    """
    labels, ltrb_px = targets.fcos_target_single_image(feature_sizes, truth)
    centerness = targets.compute_centerness_targets(ltrb_px)
    is_positive = _of_level(labels, feature_sizes, level) < targets.num_classes
    distances = _of_level(ltrb_px, feature_sizes, level)
    farthest = max(1.0, float(distances.max()))
    names = ("l: to the left side", "t: to the top", "r: to the right side", "b: to the bottom")
    shown = [
        (f"{name} (px)", distances[..., side], farthest) for side, name in enumerate(names)
    ] + [("centerness", _of_level(centerness, feature_sizes, level), 1.0)]
    return [
        Map(title, values.where(is_positive, math.nan), highest) for title, values, highest in shown
    ]


def score_maps(
    outputs: RawOutputs, rules: DetectionRules, level: int, class_: int | None = None
) -> list[Map]:
    """Show the scores of one level before and after centerness.

    Source: arXiv:1904.01355, Sec. 3.3.

    Args:
        outputs: of the head.
        rules: of the detector; only ``square_root`` counts.
        level: index of the level, 0 is the finest.
        class_: index of a class; None takes the best class of each location.

    Returns:
        The class score, the centerness and the score of a detection, each in [0, 1]. Before and
        after are as the rules say: both square roots, or both products.
    """
    probability = outputs.cls_logits.float().sigmoid()
    before = probability.amax(dim=1) if class_ is None else probability[:, class_]
    centerness = outputs.centerness_logits.float().sigmoid()
    after, root = before * centerness, ""
    if rules.square_root:
        before, after, root = before.sqrt(), after.sqrt(), "square root of "
    shown = [
        (f"before: {root}class score", before),
        ("centerness", centerness),
        (f"after: {root}class score \N{MULTIPLICATION SIGN} centerness", after),
    ]
    sizes = outputs.feature_sizes
    return [Map(title, _of_level(values, sizes, level), 1.0) for title, values in shown]


def _of_level(values: Tensor, feature_sizes: Sequence[tuple[int, int]], level: int) -> Tensor:
    """Cut (L, ...) down to the cells of one level, (H, W, ...)."""
    parts = values.split([rows * columns for rows, columns in feature_sizes])
    return parts[level].unflatten(0, feature_sizes[level])
