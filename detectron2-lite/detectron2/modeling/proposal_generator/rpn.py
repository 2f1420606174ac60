"""The region proposal network: boxes that may hold an object, from anchors (arXiv:1506.01497)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec, cat
from detectron2.modeling._box_losses import box_regression_loss
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator._rpn_head import (
    RPN_HEAD_REGISTRY,
    StandardRPNHead,
    build_rpn_head,
)
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage

__all__ = ["RPN", "RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]

__getattr__ = missing_names(__name__)


@PROPOSAL_GENERATOR_REGISTRY.register()
class RPN(nn.Module):
    """Anchors, the head that scores and moves them, and the choice of the best of them.

    Letters: N images, A anchors of one level, R anchors of all levels.
    """

    @configurable
    def __init__(
        self,
        *,
        head: nn.Module,
        in_features: list[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        anchor_boundary_thresh: float = -1.0,
        positive_fraction: float,
        batch_size_per_image: int,
        box_reg_loss_type: str = "smooth_l1",
        smooth_l1_beta: float = 0.0,
        loss_weight: float | dict[str, float] = 1.0,
        min_box_size: float = 0.0,
        nms_thresh: float = 0.7,
        pre_nms_topk: tuple[int, int],
        post_nms_topk: tuple[int, int],
    ):
        """
        Args:
            in_features: names of the feature maps, finest first.
            head: gives logits and deltas of each level; see :class:`StandardRPNHead`.
            anchor_generator: gives the anchors of each level.
            anchor_matcher: says which object an anchor belongs to, by their IoU.
            box2box_transform: what deltas mean.
            batch_size_per_image: anchors to learn from, of each image, at most.
            positive_fraction: at most this fraction of them belongs to an object.
            pre_nms_topk, post_nms_topk, nms_thresh, min_box_size: see
                :func:`find_top_rpn_proposals`; two numbers, of training and of inference.
            anchor_boundary_thresh: anchors that reach further than this out of the image, in
                pixels, are not learnt from; negative: all are.
            loss_weight: of both losses, or of each by its name.
            box_reg_loss_type: "smooth_l1", "giou", "diou" or "ciou".
            smooth_l1_beta: below this difference of deltas the loss is quadratic; 0: L1.
        """
        super().__init__()
        self.rpn_head, self.in_features = head, in_features
        self.anchor_generator, self.box2box_transform = anchor_generator, box2box_transform
        # Which anchors are learnt from, and how.
        self.anchor_matcher, self.anchor_boundary_thresh = anchor_matcher, anchor_boundary_thresh
        self.positive_fraction, self.batch_size_per_image = positive_fraction, batch_size_per_image
        self.box_reg_loss_type, self.smooth_l1_beta = box_reg_loss_type, smooth_l1_beta
        is_one = not isinstance(loss_weight, dict)
        names = "loss_rpn_cls", "loss_rpn_loc"
        self.loss_weight = dict.fromkeys(names, loss_weight) if is_one else loss_weight
        # Which boxes are proposed: numbers by whether the module is in training mode.
        self.min_box_size, self.nms_thresh = float(min_box_size), nms_thresh
        self.pre_nms_topk = dict(zip((True, False), pre_nms_topk, strict=True))
        self.post_nms_topk = dict(zip((True, False), post_nms_topk, strict=True))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """The arguments by MODEL.RPN, MODEL.ANCHOR_GENERATOR and MODEL.PROPOSAL_GENERATOR."""
        options = cfg.MODEL.RPN
        shapes = [input_shape[name] for name in options.IN_FEATURES]
        weight, loc_weight = options.LOSS_WEIGHT, options.LOSS_WEIGHT * options.BBOX_REG_LOSS_WEIGHT
        return {
            "in_features": options.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, shapes),
            "anchor_matcher": Matcher(
                options.IOU_THRESHOLDS, options.IOU_LABELS, allow_low_quality_matches=True
            ),
            "head": build_rpn_head(cfg, shapes),
            "box2box_transform": Box2BoxTransform(weights=options.BBOX_REG_WEIGHTS),
            "batch_size_per_image": options.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": options.POSITIVE_FRACTION,
            "pre_nms_topk": (options.PRE_NMS_TOPK_TRAIN, options.PRE_NMS_TOPK_TEST),
            "post_nms_topk": (options.POST_NMS_TOPK_TRAIN, options.POST_NMS_TOPK_TEST),
            "nms_thresh": options.NMS_THRESH,
            "min_box_size": cfg.MODEL.PROPOSAL_GENERATOR.MIN_SIZE,
            "anchor_boundary_thresh": options.BOUNDARY_THRESH,
            "loss_weight": {"loss_rpn_cls": weight, "loss_rpn_loc": loc_weight},
            "box_reg_loss_type": options.BBOX_REG_LOSS_TYPE,
            "smooth_l1_beta": options.SMOOTH_L1_BETA,
        }

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Which anchors to learn from, and which object each belongs to.

        Args:
            anchors: of each level.
            gt_instances: of each image, with ``gt_boxes``.

        Returns:
            Of each image (R,) int8 labels: 1 for an object, 0 for background, -1 for what was not
            drawn or counts as neither; and (R, 4) boxes of the objects, which mean something
            where the label is 1.
        """
        all_anchors, threshold = Boxes.cat(anchors), self.anchor_boundary_thresh
        labels_of, boxes_of = [], []
        for truth in gt_instances:
            matches, labels = self.anchor_matcher(pairwise_iou(truth.gt_boxes, all_anchors))
            if threshold >= 0:
                labels[~all_anchors.inside_box(truth.image_size, threshold)] = -1
            positive, negative = subsample_labels(
                labels, self.batch_size_per_image, self.positive_fraction, 0
            )
            labels = torch.full_like(labels, -1)
            labels[positive], labels[negative] = 1, 0
            labels_of.append(labels)
            # Without objects nothing is positive, and any boxes will do.
            some = truth.gt_boxes[matches] if len(truth.gt_boxes) > 0 else all_anchors
            boxes_of.append(some.tensor)
        return labels_of, boxes_of

    def losses(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        gt_labels: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        gt_boxes: list[Tensor],
    ) -> dict[str, Tensor]:
        """The losses; also puts numbers of anchors per image into the event storage.

        Args:
            anchors: of each level (A, 4).
            pred_objectness_logits: of each level (N, A).
            gt_labels, gt_boxes: see :meth:`label_and_sample_anchors`.
            pred_anchor_deltas: of each level (N, A, 4).

        Returns:
            ``loss_rpn_cls``, binary cross-entropy, and ``loss_rpn_loc``, of the boxes of objects:
            sums, divided by the anchors that are drawn of all images at most.
        """
        labels = torch.stack(gt_labels)
        is_positive, is_drawn, num_images = labels == 1, labels >= 0, len(gt_labels)
        storage = get_event_storage()
        storage.put_scalar("rpn/num_pos_anchors", is_positive.sum().item() / num_images)
        storage.put_scalar("rpn/num_neg_anchors", (labels == 0).sum().item() / num_images)

        source = Boxes.cat(anchors).tensor.expand(num_images, -1, -1)
        loc = box_regression_loss(
            cat(pred_anchor_deltas, dim=1)[is_positive],
            source[is_positive],
            torch.stack(gt_boxes)[is_positive],
            self.box2box_transform,
            self.box_reg_loss_type,
            self.smooth_l1_beta,
        )
        logits = cat(pred_objectness_logits, dim=1)[is_drawn]
        cls = F.binary_cross_entropy_with_logits(logits, labels[is_drawn].float(), reduction="sum")
        normalizer = self.batch_size_per_image * num_images
        losses = {"loss_rpn_cls": cls / normalizer, "loss_rpn_loc": loc / normalizer}
        return {name: loss * self.loss_weight.get(name, 1.0) for name, loss in losses.items()}

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """
        Args:
            images: N of them; only their sizes count.
            features: (N, C, H, W) by name.
            gt_instances: the objects of each image, in training.

        Returns:
            Of each image its proposals (see :func:`find_top_rpn_proposals`), which pass on no
            gradient; and in training the losses.
        """
        levels = [features[name] for name in self.in_features]
        anchors = self.anchor_generator(levels)
        logits, deltas = self.rpn_head(levels)
        # A cell's anchors side by side, as in `anchors`.
        logits = [each.permute(0, 2, 3, 1).flatten(1) for each in logits]
        apart = (-1, self.anchor_generator.box_dim)
        deltas = [each.permute(0, 2, 3, 1).unflatten(3, apart).flatten(1, 3) for each in deltas]
        losses = {}
        if self.training:
            assert gt_instances is not None, "RPN needs gt_instances in training"
            gt_labels, gt_boxes = self.label_and_sample_anchors(anchors, gt_instances)
            losses = self.losses(anchors, logits, gt_labels, deltas, gt_boxes)
        return self.predict_proposals(anchors, logits, deltas, images.image_sizes), losses

    @torch.no_grad()
    def predict_proposals(
        self,
        anchors: list[Boxes],
        pred_objectness_logits: list[Tensor],
        pred_anchor_deltas: list[Tensor],
        image_sizes: list[tuple[int, int]],
    ) -> list[Instances]:
        """The best of the moved anchors; see :meth:`losses` for the arguments."""
        proposals = []
        for own, deltas in zip(anchors, pred_anchor_deltas, strict=True):
            source = own.tensor.expand(deltas.shape).reshape(-1, deltas.shape[2])
            moved = self.box2box_transform.apply_deltas(deltas.flatten(0, 1), source)
            proposals.append(moved.view(deltas.shape))
        return find_top_rpn_proposals(
            proposals,
            pred_objectness_logits,
            image_sizes,
            training=self.training,
            min_box_size=self.min_box_size,
            nms_thresh=self.nms_thresh,
            pre_nms_topk=self.pre_nms_topk[self.training],
            post_nms_topk=self.post_nms_topk[self.training],
        )
