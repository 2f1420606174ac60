"""The heads of Faster R-CNN and Mask R-CNN, which compute something for each region of interest."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detectron2._missing import missing, missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads._base_heads import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_roi_heads,
    select_foreground_proposals,
)
from detectron2.modeling.roi_heads.box_head import build_box_head
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.modeling.roi_heads.mask_head import build_mask_head
from detectron2.structures import Boxes, ImageList, Instances

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "StandardROIHeads",
    "add_ground_truth_to_proposals",
    "build_roi_heads",
    "select_foreground_proposals",
]

__getattr__ = missing_names(__name__)

_Features = dict[str, Tensor]


@ROI_HEADS_REGISTRY.register()
class StandardROIHeads(ROIHeads):
    """A box head and, if wanted, a mask head; each pools its own features."""

    @configurable
    def __init__(
        self,
        *,
        box_in_features: list[str],
        box_pooler: ROIPooler,
        box_head: nn.Module,
        box_predictor: nn.Module,
        mask_in_features: list[str] | None = None,
        mask_pooler: ROIPooler | None = None,
        mask_head: nn.Module | None = None,
        keypoint_in_features: list[str] | None = None,
        keypoint_pooler: ROIPooler | None = None,
        keypoint_head: nn.Module | None = None,
        train_on_pred_boxes: bool = False,
        **kwargs: Any,
    ):
        """
        Args:
            box_in_features, mask_in_features: names of the feature maps to pool from, finest
                first; without ``mask_in_features`` there are no masks.
            box_pooler, mask_pooler: pool the features of a region; without a ``mask_pooler`` the
                mask head gets the feature maps themselves, by name.
            box_head: from the features of a region to a vector.
            box_predictor: from the vector to class and box; see :class:`FastRCNNOutputLayers`.
            mask_head: see :class:`BaseMaskRCNNHead`.
            keypoint_in_features, keypoint_pooler, keypoint_head: not here.
            train_on_pred_boxes: train the mask head on the boxes that are predicted from the
                proposals, not on these.
            kwargs: of :class:`ROIHeads`.

        Raises:
            NotImplementedError: ``keypoint_in_features``.
        """
        super().__init__(**kwargs)
        if keypoint_in_features is not None:
            raise missing("StandardROIHeads with keypoints (MODEL.KEYPOINT_ON)")
        self.box_in_features = self.in_features = box_in_features
        self.box_pooler, self.box_head, self.box_predictor = box_pooler, box_head, box_predictor
        self.keypoint_on, self.mask_on = False, mask_in_features is not None
        if self.mask_on:
            self.mask_in_features = mask_in_features
            self.mask_pooler = mask_pooler
            self.mask_head = mask_head
        self.train_on_pred_boxes = train_on_pred_boxes

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments by MODEL.ROI_HEADS, ROI_BOX_HEAD, ROI_MASK_HEAD and MASK_ON.

        Raises:
            NotImplementedError: MODEL.KEYPOINT_ON.
        """
        if cfg.MODEL.KEYPOINT_ON:
            raise missing("StandardROIHeads with keypoints (MODEL.KEYPOINT_ON)")
        arguments = {
            **super().from_config(cfg),
            "train_on_pred_boxes": cfg.MODEL.ROI_BOX_HEAD.TRAIN_ON_PRED_BOXES,
            **cls._init_box_head(cfg, input_shape),
        }
        if cfg.MODEL.MASK_ON:
            arguments.update(cls._init_mask_head(cfg, input_shape))
        return arguments

    @classmethod
    def _init_box_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        pooler, shape = _pooler(cfg.MODEL.ROI_BOX_HEAD, names, input_shape)
        box_head = build_box_head(cfg, shape)
        return {
            "box_in_features": names,
            "box_pooler": pooler,
            "box_head": box_head,
            "box_predictor": FastRCNNOutputLayers(cfg, box_head.output_shape),
        }

    @classmethod
    def _init_mask_head(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        names = cfg.MODEL.ROI_HEADS.IN_FEATURES
        pooler, shape = None, {name: input_shape[name] for name in names}
        if cfg.MODEL.ROI_MASK_HEAD.POOLER_TYPE:
            pooler, shape = _pooler(cfg.MODEL.ROI_MASK_HEAD, names, input_shape)
        return {
            "mask_in_features": names,
            "mask_pooler": pooler,
            "mask_head": build_mask_head(cfg, shape),
        }

    def forward(
        self,
        images: ImageList,
        features: _Features,
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """
        Args:
            images: not looked at.
            features: of the backbone, by name.
            proposals: of each image, with ``proposal_boxes`` and ``objectness_logits``.
            targets: the ground truth of each image, in training, with ``gt_boxes``,
                ``gt_classes`` and, for the mask head, ``gt_masks``.

        Returns:
            In training what was sampled (see :meth:`label_and_sample_proposals`) and the losses
            of all heads; in inference detections and nothing.
        """
        if not self.training:
            detections = self._forward_box(features, proposals)
            return self.forward_with_given_boxes(features, detections), {}
        assert targets, "StandardROIHeads needs targets in training"
        sampled = self.label_and_sample_proposals(proposals, targets)
        losses = self._forward_box(features, sampled)
        losses.update(self._forward_mask(features, sampled))
        return sampled, losses

    def forward_with_given_boxes(
        self, features: _Features, instances: list[Instances]
    ) -> list[Instances]:
        """Add to detections what the other heads say about their boxes.

        Args:
            features: of the backbone, by name.
            instances: of each image, with ``pred_boxes`` and ``pred_classes``. Changed.

        Returns:
            The same Instances, with ``pred_masks`` if there is a mask head.
        """
        assert not self.training, "forward_with_given_boxes: the heads are in training mode"
        assert instances[0].has("pred_boxes") and instances[0].has("pred_classes"), (
            "forward_with_given_boxes needs pred_boxes and pred_classes"
        )
        return self._forward_mask(features, instances)

    def _forward_box(self, features: _Features, proposals: list[Instances]) -> Any:
        """Losses in training, detections otherwise."""
        levels = [features[name] for name in self.box_in_features]
        pooled = self.box_pooler(levels, [one.proposal_boxes for one in proposals])
        predictions = self.box_predictor(self.box_head(pooled))
        if not self.training:
            detections, _ = self.box_predictor.inference(predictions, proposals)
            return detections
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
            for one, own in zip(proposals, boxes, strict=True):
                one.proposal_boxes = Boxes(own)
        return losses

    def _forward_mask(self, features: _Features, instances: list[Instances]) -> Any:
        """The loss in training, ``instances`` with masks otherwise."""
        if not self.mask_on:
            return {} if self.training else instances
        if self.training:
            instances, _ = select_foreground_proposals(instances, self.num_classes)
        if self.mask_pooler is None:
            own = {name: features[name] for name in self.mask_in_features}
            return self.mask_head(own, instances)
        boxes = [one.proposal_boxes if self.training else one.pred_boxes for one in instances]
        pooled = self.mask_pooler([features[name] for name in self.mask_in_features], boxes)
        return self.mask_head(pooled, instances)


def _pooler(
    options: CfgNode, names: list[str], input_shape: dict[str, ShapeSpec]
) -> tuple[ROIPooler, ShapeSpec]:
    """A pooler by MODEL.ROI_BOX_HEAD or ROI_MASK_HEAD, and the shape of what it pools."""
    channels = {input_shape[name].channels for name in names}
    if len(channels) != 1:
        raise ValueError(
            f"MODEL.ROI_HEADS.IN_FEATURES: {names} share one head, but have different numbers of "
            f"channels: {sorted(channels)}"
        )
    size = options.POOLER_RESOLUTION
    pooler = ROIPooler(
        output_size=size,
        scales=[1.0 / input_shape[name].stride for name in names],
        sampling_ratio=options.POOLER_SAMPLING_RATIO,
        pooler_type=options.POOLER_TYPE,
    )
    return pooler, ShapeSpec(channels=channels.pop(), height=size, width=size)
