"""Detection at several sizes and mirrored, merged into one result.

The paper (arXiv:1904.01355) reports single-scale results; this is what others call multi-scale
testing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.data.transforms import (
    HFlipTransform,
    ResizeShortestEdge,
    ResizeTransform,
    TransformList,
)
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances
from fcos.config.detector_keys import FCOS_KEYS, detector_keys, most_found_by, setting_of
from fcos.config.evaluation_checks import check_augmentation
from fcos.layers import class_aware_nms
from fcos.modeling.fcos import DetectionRules
from fcos.modeling.fcos.settings import detection_rules

__all__ = ["OneStageDetectorWithTTA"]

# An image of the batch in one size, as it is and perhaps mirrored: what is done to its pixels,
# and the result.
Views = list[tuple[TransformList, Tensor]]


class OneStageDetectorWithTTA(nn.Module):
    """A detector that looks at each image several times; it is called as the detector itself.

    Every view is detected by itself, its boxes are brought back to the image, and class-aware NMS
    over the boxes of all views merges them: of boxes of one object the one with the highest score
    stays, with its score. Boxes are clipped to the image before that, unlike in the detector's own
    NMS, so that even a single view can lose a few boxes that reach past the border.

    Masks are predicted once the boxes are merged: for the same boxes in every view, and averaged.

    Args:
        model: takes and gives what :class:`fcos.modeling.OneStageDetector` does. When it is
            wrapped for several processes, the wrapper is left out.
        mask_on: ``model`` predicts masks too: it has ``roi_heads`` and, as detectron2's
            GeneralizedRCNN, ``inference(inputs, detected_instances, do_postprocess=False)``.
        min_sizes: lengths of the shorter side of the views, in pixels. An image may be smaller; it
            is enlarged then.
        max_size: the longer side of a view has at most this length; the shorter one gets less then.
        flip: add the mirrored view of each size.
        rules: those of the detector; what they say on NMS holds for the boxes of all views too.
    """

    model: Any

    @configurable
    def __init__(
        self,
        *,
        model: nn.Module,
        min_sizes: Sequence[int],
        max_size: int,
        flip: bool,
        rules: DetectionRules,
        mask_on: bool = False,
    ) -> None:
        super().__init__()
        self.model = _unwrapped(model)
        self.min_sizes = tuple(min_sizes)
        self.max_size = max_size
        self.flip = flip
        self.rules = rules
        self.mask_on = mask_on
        self.training = model.training

    @classmethod
    def from_config(cls, cfg, model: nn.Module) -> dict[str, Any]:
        check_augmentation(cfg)
        rules = detection_rules(cfg)[0]
        if detector_keys(cfg) != FCOS_KEYS:
            (nms, _), most = setting_of(cfg, "nms_threshold"), most_found_by(cfg)
            rules = DetectionRules(nms_threshold=nms, post_nms_topk=most)
        return {
            "model": model,
            "min_sizes": cfg.TEST.AUG.MIN_SIZES,
            "max_size": cfg.TEST.AUG.MAX_SIZE,
            "flip": cfg.TEST.AUG.FLIP,
            "rules": rules,
            # A detector without regions ignores the key, with and without augmentation.
            "mask_on": cfg.MODEL.MASK_ON and hasattr(_unwrapped(model), "roi_heads"),
        }

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detect the objects of each image.

        Args:
            batched_inputs: per image a dict with ``image``, (C, H, W) in 0..255, best as it is on
                disk, since the views are made from it; and with ``height`` and ``width`` of the
                output, by default those of ``image``.

        Returns:
            Per image ``{"instances": Instances}`` with ``pred_boxes`` in pixels of the output and
            clipped to it, ``scores`` and ``pred_classes``, highest score first; with masks,
            ``pred_masks`` (K, height, width) bool.

        Raises:
            ValueError: the model is in training.
        """
        if self.training:
            raise ValueError("test-time augmentation is not for training: call eval() before")
        return [{"instances": self._detect(record)} for record in batched_inputs]

    def _detect(self, record: dict[str, Any]) -> Instances:
        image = record["image"]
        height, width = image.shape[-2:]
        with _without_masks(self.model) if self.mask_on else contextlib.nullcontext():
            found = [part for views in self._views(image) for part in self._detect_views(views)]
        boxes, scores, classes = (torch.cat(column) for column in zip(*found, strict=True))
        keep = class_aware_nms(
            boxes,
            scores,
            classes,
            self.rules.nms_threshold,
            self.rules.post_nms_topk,
            self.rules.inclusive_pixels,
        )
        merged = Instances(
            (height, width),
            pred_boxes=Boxes(boxes[keep]),
            scores=scores[keep],
            pred_classes=classes[keep],
        )
        if self.mask_on:
            masks = [m for views in self._views(image) for m in self._masks_of(views, merged)]
            merged.pred_masks = torch.stack(masks).mean(0)
        return detector_postprocess(
            merged, record.get("height", height), record.get("width", width)
        )

    def _views(self, image: Tensor) -> Iterator[Views]:
        """Yield the views of one image, those of one size together."""
        pixels = np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())
        height, width = pixels.shape[:2]
        # max_size can make several sizes one.
        sizes = dict.fromkeys(
            ResizeShortestEdge.get_output_shape(height, width, short, self.max_size)
            for short in self.min_sizes
        )
        for new_height, new_width in sizes:
            # max_size can leave nothing of the shorter side of a very long image.
            new_height, new_width = max(1, new_height), max(1, new_width)
            resize = ResizeTransform(height, width, new_height, new_width)
            transforms = [TransformList([resize])]
            if self.flip:
                transforms.append(TransformList([resize, HFlipTransform(new_width)]))
            yield [
                (transform, _to_tensor(transform.apply_image(pixels))) for transform in transforms
            ]

    def _detect_views(self, views: Views) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Detect boxes (in pixels of the image), scores and classes in each view.

        One size at a time needs little memory, and no view is padded to the size of another.
        """
        found = []
        for (transform, _), output in zip(views, self.model(_inputs(views)), strict=True):
            instances = output["instances"]
            boxes = _moved(instances.pred_boxes.tensor, transform.inverse())
            found.append((boxes, instances.scores, instances.pred_classes))
        return found

    def _masks_of(self, views: Views, merged: Instances) -> list[Tensor]:
        """Predict masks of the merged boxes: per view (K, 1, M, M) in [0, 1], none mirrored."""
        given = [
            Instances(
                tuple(image.shape[1:]),
                pred_boxes=Boxes(_moved(merged.pred_boxes.tensor, transform)),
                pred_classes=merged.pred_classes,
            )
            for transform, image in views
        ]
        outputs = self.model.inference(_inputs(views), given, do_postprocess=False)
        # Resizing a view does not change a mask, whose M x M cells fill its box.
        return [
            output.pred_masks.flip(-1) if _is_mirrored(transform) else output.pred_masks
            for (transform, _), output in zip(views, outputs, strict=True)
        ]


def _unwrapped(model: Any) -> Any:
    is_wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    return model.module if is_wrapped else model


@contextlib.contextmanager
def _without_masks(model: Any) -> Iterator[None]:
    """Predict no masks of boxes that are yet to be merged, where the regions have a switch."""
    before = getattr(model.roi_heads, "mask_on", None)
    if before is None:
        yield
        return
    model.roi_heads.mask_on = False
    try:
        yield
    finally:
        model.roi_heads.mask_on = before


def _inputs(views: Views) -> list[dict[str, Any]]:
    return [
        {"image": image, "height": image.shape[1], "width": image.shape[2]} for _, image in views
    ]


def _is_mirrored(transform: TransformList) -> bool:
    return any(isinstance(step, HFlipTransform) for step in transform.transforms)


def _to_tensor(pixels: np.ndarray) -> Tensor:
    return torch.as_tensor(np.array(pixels.transpose(2, 0, 1), order="C"))


def _moved(boxes: Tensor, transform: Any) -> Tensor:
    """Transform boxes (K, 4), in double precision."""
    moved = transform.apply_box(boxes.double().cpu().numpy())
    return torch.as_tensor(moved).to(boxes.device, torch.float32)
