"""RetinaNet (arXiv:1708.02002): anchors at every location, told apart by the focal loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import batched_nms
from detectron2.modeling._box_losses import box_regression_loss
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.modeling.backbone import Backbone, build_backbone
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch._retinanet_head import RetinaNetHead
from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage

__all__ = ["RetinaNet"]

# The mean over the last steps of the positive anchors in a batch divides the losses.
_FIRST_NORMALIZER, _MOMENTUM = 100, 0.9


@META_ARCH_REGISTRY.register()
class RetinaNet(DenseDetector):
    """A class and a box for every anchor; A anchors at each location, R in an image, K classes."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "BGR",
        backbone: Backbone,
        head_in_features: Sequence[str],
        head: nn.Module,
        anchor_generator: nn.Module,
        anchor_matcher: Matcher,
        box2box_transform: Box2BoxTransform,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        focal_loss_gamma: float = 2.0,
        focal_loss_alpha: float = 0.25,
        test_topk_candidates: int = 1000,
        test_score_thresh: float = 0.05,
        max_detections_per_image: int = 100,
        test_nms_thresh: float = 0.5,
        vis_period: int = 0,
    ):
        """
        Args:
            backbone, head_in_features, pixel_mean, pixel_std: as of :class:`DenseDetector`.
            head: gives lists over levels of logits (N, A * K, H, W) and deltas (N, A * 4, H, W).
            anchor_generator: makes the anchors of each feature.
            box2box_transform: between anchors with deltas, and boxes.
            anchor_matcher: labels anchors by their IoU with the ground truth.
            num_classes: K; label K is background.
            focal_loss_alpha, focal_loss_gamma: of the classification loss.
            smooth_l1_beta, box_reg_loss_type: of the box loss.
            test_score_thresh: what scores no more than this is no detection.
            test_topk_candidates, max_detections_per_image: the best so many of each level enter
                NMS, and of an image leave it.
            test_nms_thresh: IoU above which NMS drops the lower-scored box of a class.
            vis_period, input_format: for :meth:`visualize_training`, which nobody calls by itself.
        """
        pixels = {"pixel_mean": pixel_mean, "pixel_std": pixel_std}
        super().__init__(backbone, head, head_in_features, **pixels)
        self.num_classes, self.input_format = num_classes, input_format
        self.vis_period = vis_period
        self.anchor_generator, self.anchor_matcher = anchor_generator, anchor_matcher
        self.box2box_transform, self.box_reg_loss_type = box2box_transform, box_reg_loss_type
        self.smooth_l1_beta = smooth_l1_beta
        self.focal_loss_alpha, self.focal_loss_gamma = focal_loss_alpha, focal_loss_gamma
        # Of detections, in the order in which they count.
        self.test_score_thresh, self.test_topk_candidates = test_score_thresh, test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        # Neither a parameter nor in the state dict: a resumed training starts it anew.
        self.loss_normalizer: float = _FIRST_NORMALIZER

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments by the builders, MODEL.RETINANET and TEST.DETECTIONS_PER_IMAGE."""
        node = cfg.MODEL.RETINANET
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        inputs = [shapes[name] for name in node.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": RetinaNetHead(cfg, inputs),
            "head_in_features": node.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, inputs),
            "box2box_transform": Box2BoxTransform(weights=node.BBOX_REG_WEIGHTS),
            "anchor_matcher": Matcher(
                node.IOU_THRESHOLDS, node.IOU_LABELS, allow_low_quality_matches=True
            ),
            "num_classes": node.NUM_CLASSES,
            "focal_loss_alpha": node.FOCAL_LOSS_ALPHA,
            "focal_loss_gamma": node.FOCAL_LOSS_GAMMA,
            "smooth_l1_beta": node.SMOOTH_L1_LOSS_BETA,
            "box_reg_loss_type": node.BBOX_REG_LOSS_TYPE,
            "test_score_thresh": node.SCORE_THRESH_TEST,
            "test_topk_candidates": node.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": node.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "vis_period": cfg.VIS_PERIOD,
            "input_format": cfg.INPUT.FORMAT,
        }

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: list[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses, see :meth:`losses`."""
        logits, deltas = self._per_anchor(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        labels, boxes = self.label_anchors(anchors, gt_instances)
        return self.losses(anchors, logits, labels, deltas, boxes)

    def losses(
        self,
        anchors: list[Boxes],
        pred_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """Compare predictions with what :meth:`label_anchors` gives.

        Args:
            anchors: of each level.
            pred_logits, pred_anchor_deltas: of each level, (N, anchors, K) and (N, anchors, 4).
            gt_labels, gt_boxes: of each image, (R,) and (R, 4).

        Returns:
            ``loss_cls`` and ``loss_box_reg``: sums, divided by the moving mean of the number of
            positive anchors in a batch.
        """
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn import sigmoid_focal_loss_jit

        labels = torch.stack(gt_labels)
        counts = labels >= 0
        is_positive = counts & (labels != self.num_classes)
        number = is_positive.sum().item()
        get_event_storage().put_scalar("num_pos_anchors", number / len(gt_labels))
        self.loss_normalizer = self.loss_normalizer * _MOMENTUM + max(number, 1) * (1 - _MOMENTUM)

        logits = torch.cat(pred_logits, dim=1)[counts]
        one_hot = F.one_hot(labels[counts], self.num_classes + 1)[:, :-1]  # background: all 0
        alpha, gamma = self.focal_loss_alpha, self.focal_loss_gamma
        loss_cls = sigmoid_focal_loss_jit(
            logits, one_hot.to(logits.dtype), alpha=alpha, gamma=gamma, reduction="sum"
        )
        loss_box_reg = box_regression_loss(
            torch.cat(pred_anchor_deltas, dim=1)[is_positive],
            Boxes.cat(anchors).tensor.expand(len(labels), -1, -1)[is_positive],
            torch.stack(gt_boxes)[is_positive],
            self.box2box_transform,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        losses = {"loss_cls": loss_cls, "loss_box_reg": loss_box_reg}
        return {name: loss / self.loss_normalizer for name, loss in losses.items()}

    @torch.no_grad()
    def label_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Say what each anchor has to predict.

        Args:
            anchors: of each level.
            gt_instances: of each image, ``gt_boxes`` and ``gt_classes``.

        Returns:
            Of each image, labels (R,) int64: a class, K for background or -1 for neither; and the
            boxes (R, 4) to predict, which mean something only where the label is a class.
        """
        joined = Boxes.cat(anchors)
        labels, boxes = [], []
        for truth in gt_instances:
            matches, match_labels = self.anchor_matcher(pairwise_iou(truth.gt_boxes, joined))
            label, box = torch.full_like(matches, self.num_classes), torch.zeros_like(joined.tensor)
            if len(truth) > 0:
                label = truth.gt_classes[matches]
                label[match_labels == 0] = self.num_classes
                label[match_labels == -1] = -1
                box = truth.gt_boxes.tensor[matches]
            labels.append(label)
            boxes.append(box)
        return labels, boxes

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: list[list[Tensor]]
    ) -> list[Instances]:
        """Detect, see :meth:`inference_single_image`."""
        logits, deltas = self._per_anchor(predictions, [self.num_classes, 4])
        anchors = self.anchor_generator(features)
        return [
            self.inference_single_image(
                anchors, [x[i].sigmoid() for x in logits], [x[i] for x in deltas], size
            )
            for i, size in enumerate(images.image_sizes)
        ]

    def inference_single_image(
        self,
        anchors: list[Boxes],
        box_cls: list[Tensor],
        box_delta: list[Tensor],
        image_size: tuple[int, int],
    ) -> Instances:
        """Detect in one image, of ``image_size`` in pixels of the network's input.

        Args:
            anchors, box_cls, box_delta: of each level, with probabilities (anchors, K) and deltas
                (anchors, 4).

        Returns:
            ``pred_boxes`` (not clipped), ``scores`` and ``pred_classes``, best first.
        """
        levels = zip(anchors, box_cls, box_delta, strict=True)
        found = Instances.cat([self._candidates(*level, image_size) for level in levels])
        keep = batched_nms(
            found.pred_boxes.tensor, found.scores, found.pred_classes, self.test_nms_thresh
        )
        return found[keep[: self.max_detections_per_image]]


__getattr__ = missing_names(__name__)
