"""A detector as a function of tensors: pixels in, detections or the outputs of its head out.

The modules and their weights are those of the detector. What they leave out is what only Python
can run: lists of images, Instances, and loops over the images of a batch.

Letters: N images, L locations over all levels (finest level first), C classes, M detections of all
images together, S rows and columns of a mask.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import ROIAlign
from detectron2.modeling import BaseMaskRCNNHead
from fcos.export import dense, masks
from fcos.modeling import FCOS, FCOSMaskROIHeads
from fcos.utils.errors import UserError

__all__ = ["DetectionGraph", "RawGraph", "build_graph"]


class HeadOutputs(nn.Module):
    """From pixels to the outputs of the head, level by level; the part that all graphs share.

    Args:
        model: a detector of this package, in evaluation mode.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, model: Any) -> None:
        super().__init__()
        generator = model.proposal_generator
        self.backbone = model.backbone
        self.fcos_head = generator.fcos_head
        self._targets = generator.targets
        self._in_features = generator.in_features
        # What turns the distances of each level into pixels.
        self._units = [s if generator.normalize_reg_targets else 1 for s in generator.strides]
        self._divisibility = max(1, model.backbone.size_divisibility)
        self.register_buffer("pixel_mean", model.pixel_mean.clone(), persistent=False)
        self.register_buffer("pixel_std", model.pixel_std.clone(), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[dict[str, Tensor], dense.Levels]:
        """Compute the features and head outputs of a batch.

        Args:
            images: (N, 3, H, W), pixels in 0..255.
            sizes: (N, 2) int64, height and width of each image without padding, in pixels.

        Returns:
            features: name -> (N, channels, rows, columns).
            levels: the head's outputs and locations, with distances in pixels.
        """
        features = self.backbone(self._normalised(images, sizes))
        cls_logits, ltrb, centerness_logits = self.fcos_head(
            [features[n] for n in self._in_features]
        )
        grids = [tuple(level.shape[-2:]) for level in cls_logits]
        return features, dense.Levels(
            self._targets.get_points(grids, device=images.device),
            [_by_location(level) for level in cls_logits],
            [_by_location(x) * unit for x, unit in zip(ltrb, self._units, strict=True)],
            [_by_location(level)[..., 0] for level in centerness_logits],
        )

    def _normalised(self, images: Tensor, sizes: Tensor) -> Tensor:
        """Normalise and pad; padding, of the caller and for the strides, is 0 after that."""
        pixels = (images.float() - self.pixel_mean) / self.pixel_std
        rows, columns = _count(images[0, 0, :, 0]), _count(images[0, 0, 0])
        is_inside = (rows < sizes[:, :1])[:, :, None] & (columns < sizes[:, 1:])[:, None]
        pixels = torch.where(is_inside[:, None], pixels, 0.0)
        (height, width), step = images.shape[-2:], self._divisibility
        below = (height + step - 1) // step * step - height
        right = (width + step - 1) // step * step - width
        return F.pad(pixels, (0, right, 0, below))


class DetectionGraph(nn.Module):
    """The whole detector, with non-maximum suppression and, if it has one, the mask head.

    Args:
        model: a detector of this package, in evaluation mode.
        suppress: see :func:`fcos.export.dense.suppress`, which it does the work of.

    Attributes:
        output_names: of what :meth:`forward` returns.
    """

    def __init__(self, model: Any, suppress: dense.Suppress = dense.suppress) -> None:
        super().__init__()
        self.outputs = HeadOutputs(model)
        self._suppress = suppress
        self._rules = model.proposal_generator.rules
        self._keep_empty = getattr(model, "keep_empty", False)
        roi_heads = getattr(model, "roi_heads", None)
        has_masks = roi_heads is not None and roi_heads.mask_on
        self.masks = masks.MasksOfBoxes(roi_heads) if has_masks else None
        names = ("boxes", "scores", "classes", "image_index")
        self.output_names = (*names, "masks") if has_masks else names

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """Detect in a batch; detections of an image come together, highest score first.

        Args:
            images: (N, 3, H, W) uint8 or float, pixels in 0..255, channels in the order of
                INPUT.FORMAT.
            sizes: (N, 2) int64, height and width of each image, the rest of its H and W being
                padding on the right and below. By default there is none.

        Returns:
            boxes: (M, 4) float32, x1, y1, x2, y2 in pixels, inside the image.
            scores: (M,) float32 in [0, 1].
            classes: (M,) int64 in [0, C).
            image_index: (M,) int64 in [0, N), rising.
            masks: with a mask head, (M, S, S) float32, probabilities on a grid over the box.
        """
        sizes = _whole(images) if sizes is None else sizes
        features, levels = self.outputs(images, sizes)
        found = dense.candidates(levels, sizes, self._rules)
        num_classes = self.outputs.fcos_head.num_classes
        found = dense.best_apart(found, self._suppress, num_classes, self._rules)
        boxes = dense.clip(found.boxes, sizes)
        is_found = found.scores >= 0
        if not self._keep_empty:
            is_found = is_found & dense.has_area(boxes)
        image, rank = is_found.nonzero(as_tuple=True)
        boxes, classes = boxes[image, rank], found.classes[image, rank]
        result = (boxes, found.scores[image, rank], classes, image)
        if self.masks is None:
            return result
        return (*result, self.masks(features, boxes, classes, image))


class RawGraph(nn.Module):
    """Backbone and head alone, for programs that decode and suppress by themselves.

    Args:
        model: a detector of this package, in evaluation mode.
    """

    output_names = ("class_logits", "distances", "centerness_logits", "locations", "levels")

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.outputs = HeadOutputs(model)

    def forward(self, images: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        """Compute the outputs of the head at every location.

        Args:
            images: as of :class:`DetectionGraph`.
            sizes: as of :class:`DetectionGraph`.

        Returns:
            class_logits: (N, L, C) float32, before the sigmoid.
            distances: (N, L, 4) float32, from the location to the left, top, right and bottom side
                of its box, in pixels.
            centerness_logits: (N, L) float32, before the sigmoid.
            locations: (L, 2) float32, x and y in pixels.
            levels: (L,) int64, the level of each location, 0 for the finest.
        """
        _, levels = self.outputs(images, _whole(images) if sizes is None else sizes)
        numbers = [
            torch.zeros_like(xy[:, 0], dtype=torch.int64) + index
            for index, xy in enumerate(levels.points)
        ]
        return (
            torch.cat(levels.cls_logits, dim=1),
            torch.cat(levels.ltrb_px, dim=1),
            torch.cat(levels.centerness_logits, dim=1),
            torch.cat(levels.points),
            torch.cat(numbers),
        )


def build_graph(
    model: Any, raw: bool = False, suppress: dense.Suppress = dense.suppress
) -> DetectionGraph | RawGraph:
    """Make the graph of a detector.

    Args:
        model: as ``build_model`` returns it, in evaluation mode.
        raw: leave decoding and suppression out.
        suppress: see :class:`DetectionGraph`.

    Raises:
        UserError: this detector, or what is asked of it, cannot be written as one.
    """
    generator = getattr(model, "proposal_generator", None)
    if not isinstance(generator, FCOS):
        raise UserError(
            f"{type(model).__name__} cannot be exported: it is no detector whose "
            "MODEL.PROPOSAL_GENERATOR.NAME is FCOS."
        )
    if getattr(model.backbone, "padding_constraints", {}).get("square_size", 0):
        raise UserError("This backbone wants square images, which an exported file does not make.")
    _check_regions(getattr(model, "roi_heads", None), raw)
    graph = RawGraph(model) if raw else DetectionGraph(model, suppress)
    return graph.eval()


def _check_regions(roi_heads: Any, raw: bool) -> None:
    """Refuse regions that :mod:`fcos.export.masks` does not compute as the model does."""
    if roi_heads is None:
        return
    if not isinstance(roi_heads, FCOSMaskROIHeads):
        raise UserError(
            f"MODEL.ROI_HEADS.NAME {type(roi_heads).__name__} cannot be exported, only "
            "FCOSMaskROIHeads."
        )
    if not roi_heads.mask_on:
        return
    if raw:
        raise UserError(
            "--raw leaves the boxes to another program, but masks are computed from them: set "
            "MODEL.MASK_ON False, or leave --raw out."
        )
    head = roi_heads.mask_head
    if getattr(type(head), "forward", None) is not BaseMaskRCNNHead.forward:
        raise UserError(
            f"MODEL.ROI_MASK_HEAD.NAME {type(head).__name__} cannot be exported: it does more than "
            "its layers."
        )
    if not all(isinstance(level, ROIAlign) for level in roi_heads.mask_pooler.level_poolers):
        raise UserError(
            "MODEL.ROI_MASK_HEAD.POOLER_TYPE cannot be exported unless it is ROIAlign or "
            "ROIAlignV2."
        )


def _by_location(level: Tensor) -> Tensor:
    """(N, X, rows, columns) to (N, rows * columns, X), row by row."""
    return level.flatten(2).transpose(1, 2)


def _count(line: Tensor) -> Tensor:
    """0, 1, ... for each entry of (n,). Not by arange, which would fix the device in a trace."""
    return torch.ones_like(line, dtype=torch.int64).cumsum(0) - 1


def _whole(images: Tensor) -> Tensor:
    """(N, 2) int64: H and W for every image of (N, 3, H, W)."""
    height = torch.ones_like(images[:, 0, :, 0], dtype=torch.int64).sum(1)
    width = torch.ones_like(images[:, 0, 0], dtype=torch.int64).sum(1)
    return torch.stack((height, width), dim=1)
