"""Step 2: what every location has to predict (arXiv:1904.01355, Sec. 3.1 and 3.2; Eq. 1 and 3).

Locations are the points that the cells of the feature maps stand for. A cell (column x, row y) of
a level with stride s stands for (floor(s/2) + x*s, floor(s/2) + y*s), in pixels of the network
input, whose origin is the upper left corner of the upper left pixel.

Letters: N images, L locations over all levels (finest level first, each row by row), C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fcos.layers import at_least_float32
from fcos.modeling.fcos.fcos_assignment import (
    Grid,
    Level,
    assign_boxes,
    level_limits,
    location_grids,
)


def level_points(
    feature_size: tuple[int, int],
    stride: int,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
    grid: Grid | None = None,
) -> Tensor:
    """Place the location of every cell of one level.

    Source: arXiv:1904.01355, Sec. 3.1.

    Args:
        feature_size: rows H and columns W of the feature map.
        stride: pixels between neighbouring locations, at least 1.
        dtype: of the result.
        device: of the result.
        grid: where they lie, if not at floor(s/2) + k*s.

    Returns:
        (H*W, 2), x then y, in pixels of the network input, row by row.

    Raises:
        ValueError: ``stride`` is below 1.
    """
    if stride < 1:
        raise ValueError(f"stride: expected at least 1, got {stride}")
    (rows, columns), (first, steps) = feature_size, grid or Grid(stride // 2, (stride, stride))
    y = torch.arange(rows, dtype=dtype, device=device) * steps[0] + first
    x = torch.arange(columns, dtype=dtype, device=device) * steps[1] + first
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x.reshape(-1), y.reshape(-1)), dim=-1)


def ltrb_distances(points: Tensor, boxes: Tensor) -> Tensor:
    """Measure from points to the left, top, right and bottom sides of boxes.

    Source: arXiv:1904.01355, Eq. (1).

    Args:
        points: (..., 2) float, x and y.
        boxes: (..., 4) float, x1, y1, x2, y2, same unit, broadcast against ``points``.

    Returns:
        (..., 4) in the unit of the inputs; negative where a point lies outside that side.

    Raises:
        ValueError: the last dimensions are not 2 and 4.
    """
    if points.shape[-1] != 2 or boxes.shape[-1] != 4:
        raise ValueError(
            "points and boxes: expected (..., 2) and (..., 4), "
            f"got {tuple(points.shape)} and {tuple(boxes.shape)}"
        )
    return torch.cat((points - boxes[..., :2], boxes[..., 2:] - points), dim=-1)


def centerness(ltrb: Tensor) -> Tensor:
    """Measure how close a location lies to the middle of its box.

    Source: arXiv:1904.01355, Eq. (3).

    Args:
        ltrb: (..., 4) float, distances to the left, top, right and bottom
            sides. Any one length unit (pixels or strides): only ratios count.

    Returns:
        (...,) float in [0, 1], no unit. 1 at the middle; 0 on a side and
        everywhere outside the box. Never NaN. ``ltrb`` is not changed.

    Raises:
        ValueError: the last dimension of ``ltrb`` is not 4.
    """
    if ltrb.shape[-1] != 4:
        raise ValueError(f"ltrb: expected (..., 4), got {tuple(ltrb.shape)}")
    near = torch.minimum(ltrb[..., :2], ltrb[..., 2:]).clamp(min=0)
    far = torch.maximum(ltrb[..., :2], ltrb[..., 2:])
    tiny = torch.finfo(ltrb.dtype).tiny  # 0 / tiny is 0, so a zero-size box scores 0
    return (near / far.clamp(min=tiny)).prod(dim=-1).sqrt()


class FCOSTargets:
    """The settings of target assignment, and the assignment of a batch.

    Args:
        strides: pixels between two locations of each level, finest level first.
        sizes_of_interest: limits between the levels for max(l, t, r, b), in pixels of the network
            input; one fewer than there are levels, increasing. Both ends belong to a level.
            Empty: see :func:`fcos.modeling.fcos.fcos_assignment.level_limits`.
        num_classes: number of object classes; background is labelled with this number.
        center_radius: half the side of the region of positive locations around the middle of a
            box, in strides; ``None`` takes all of the box.
        inclusive_pixels: compare areas of (w + 1) * (h + 1), as the original implementation does.
        location: see :func:`fcos.modeling.fcos.fcos_assignment.location_grids`.

    Raises:
        ValueError: ``sizes_of_interest`` does not fit, or another number is not positive.
    """

    def __init__(
        self,
        *,
        strides: Sequence[int] = (8, 16, 32, 64, 128),
        sizes_of_interest: Sequence[float] = (64, 128, 256, 512),
        num_classes: int = 80,
        center_radius: float | None = None,
        inclusive_pixels: bool = False,
        location: str = "middle",
    ) -> None:
        location_grids([(1, 1)] * len(strides), strides, location)  # refuses what it cannot use
        for name, number in (("num_classes", num_classes), ("center_radius", center_radius)):
            if number is not None and not number > 0:  # NaN neither
                raise ValueError(f"{name}: expected more than 0, got {number}")
        self.strides = tuple(strides)
        self.limits = level_limits(strides, sizes_of_interest)
        self.num_classes = num_classes
        self.center_radius = center_radius
        self.inclusive_pixels = inclusive_pixels
        self.location = location

    def get_points(
        self,
        feature_sizes: Sequence[tuple[int, int]],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> list[Tensor]:
        """Place the locations of every level.

        Args:
            feature_sizes: rows and columns of each feature map, finest level first.
            dtype: of the result.
            device: of the result.

        Returns:
            Per level (Hi*Wi, 2), x then y, in pixels of the network input, row by row.

        Raises:
            ValueError: there are not as many feature maps as strides.
        """
        if len(feature_sizes) != len(self.strides):
            raise ValueError(
                f"feature_sizes: expected {len(self.strides)} levels, got {len(feature_sizes)}"
            )
        return [
            level_points(level.feature_size, level.stride, dtype, device, level.grid)
            for level in self.levels(feature_sizes)
        ]

    def levels(self, feature_sizes: Sequence[tuple[int, int]]) -> list[Level]:
        """Describe the pyramid to :func:`fcos.modeling.fcos.fcos_assignment.assign_boxes`."""
        grids = location_grids(feature_sizes, self.strides, self.location)
        sizes = [(rows, columns) for rows, columns in feature_sizes]
        parts = (sizes, self.strides, self.limits[:-1], self.limits[1:], grids)
        return [Level(*part) for part in zip(*parts, strict=True)]

    def get_points_single(
        self,
        feature_size: tuple[int, int],
        stride: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """Place the locations of one level, (H*W, 2), in the middle; see :func:`level_points`."""
        return level_points(feature_size, stride, dtype, device)

    def fcos_target(
        self, feature_sizes: Sequence[tuple[int, int]], gt_instances: Sequence[Any]
    ) -> tuple[Tensor, Tensor]:
        """Find what every location of a batch has to predict.

        Args:
            feature_sizes: rows and columns of each feature map, finest level first.
            gt_instances: per image an object with ``gt_boxes.tensor``, (Gi, 4) float, x1, y1, x2,
                y2 in pixels of the network input, and ``gt_classes``, (Gi,) int64. Gi may be 0.

        Returns:
            labels: (N, L) int64 in [0, C], C for background.
            ltrb_px: (N, L, 4) float32 or wider, distances in pixels of the network input; 0 at
                background locations.

        Raises:
            ValueError: there are not as many feature maps as strides, or no image.
        """
        if not gt_instances:
            raise ValueError("gt_instances: expected at least one image, got none")
        points = torch.cat(self.get_points(feature_sizes, device=gt_instances[0].gt_classes.device))
        boxes = at_least_float32(
            torch.cat([instances.gt_boxes.tensor for instances in gt_instances])
        )
        classes = torch.cat([instances.gt_classes for instances in gt_instances])
        # The counts are known on the CPU: nothing is read from the GPU, and nothing copied to it.
        counts = [len(instances.gt_classes) for instances in gt_instances]
        image_index = torch.cat([classes.new_full((n,), i) for i, n in enumerate(counts)]).long()
        box_index = assign_boxes(
            boxes,
            image_index,
            len(gt_instances),
            self.levels(feature_sizes),
            self.center_radius,
            self.inclusive_pixels,
        )
        return self._gather(points, boxes, classes, box_index)

    def fcos_target_single_image(
        self, feature_sizes: Sequence[tuple[int, int]], gt_instances: Any
    ) -> tuple[Tensor, Tensor]:
        """Do :meth:`fcos_target` for one image: labels (L,) and distances (L, 4)."""
        labels, ltrb_px = self.fcos_target(feature_sizes, [gt_instances])
        return labels[0], ltrb_px[0]

    def compute_centerness_targets(self, ltrb: Tensor) -> Tensor:
        """Apply Eq. (3) of the paper to (..., 4) distances; see :func:`centerness`."""
        return centerness(ltrb)

    def _gather(
        self, points: Tensor, boxes: Tensor, classes: Tensor, box_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Look up labels and distances of the assigned boxes; one past the last is background."""
        label_of = torch.cat((classes, classes.new_full((1,), self.num_classes)))
        box_of = torch.cat((boxes, boxes.new_zeros(1, 4)))
        labels = label_of[box_index]
        ltrb_px = ltrb_distances(points, box_of[box_index])
        is_positive = (labels < self.num_classes)[..., None]
        return labels, torch.where(is_positive, ltrb_px, torch.zeros_like(ltrb_px))
