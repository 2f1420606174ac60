"""FCOS as a proposal generator: joins the four steps and holds no arithmetic of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import PROPOSAL_GENERATOR_REGISTRY
from detectron2.structures import Boxes, ImageList, Instances
from fcos.config.checks import check_fcos, check_levels
from fcos.config.model_classes import are_regions_classified
from fcos.modeling.fcos.fcos_head import FCOSHead
from fcos.modeling.fcos.fcos_inference import DetectionRules, Detections, detect_batch
from fcos.modeling.fcos.fcos_losses import FCOSLosses
from fcos.modeling.fcos.fcos_targets import FCOSTargets
from fcos.modeling.fcos.region_proposals import as_one_class, for_roi_heads
from fcos.modeling.fcos.settings import detection_rules, targets_of
from fcos.modeling.memory_format import head_as_configured
from fcos.utils.errors import UserError


@PROPOSAL_GENERATOR_REGISTRY.register()
class FCOS(nn.Module):
    """Fully convolutional one-stage detection (arXiv:1904.01355) on the features of a backbone.

    Args:
        head: gives three lists over levels: class logits, distances and centerness logits.
        targets: says what each location has to predict.
        losses: compares the two.
        in_features: names of the features to run on, finest first.
        strides: pixels of the network input between two locations of each feature.
        normalize_reg_targets: the distances of ``head`` are in strides, not in pixels.
        rules: what counts as a detection.
        feeds_roi_heads: detections are the regions of ROI heads, in training too, and have the
            fields that detectron2's ROI heads read (see :meth:`forward`).
        rules_in_training: what counts as a detection that ROI heads are trained on.
        proposes_only: detections are proposals and nothing else (see :meth:`forward`).
        is_class_agnostic: all objects are of class 0, "object", whatever the ground truth says.
    """

    @configurable
    def __init__(
        self,
        *,
        head: nn.Module,
        targets: FCOSTargets,
        losses: FCOSLosses,
        in_features: Sequence[str],
        strides: Sequence[int],
        normalize_reg_targets: bool = False,
        rules: DetectionRules = DetectionRules(),  # noqa: B008, it is frozen
        feeds_roi_heads: bool = False,
        rules_in_training: DetectionRules = DetectionRules(),  # noqa: B008
        proposes_only: bool = False,
        is_class_agnostic: bool = False,
    ) -> None:
        super().__init__()
        self.fcos_head = head
        self.targets = targets
        self.losses = losses
        self.in_features = tuple(in_features)
        self.strides = tuple(strides)
        self.normalize_reg_targets = normalize_reg_targets
        self.rules = rules
        self.feeds_roi_heads = feeds_roi_heads
        self.rules_in_training = rules_in_training
        self.proposes_only = proposes_only
        self.is_class_agnostic = is_class_agnostic

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        node = cfg.MODEL.FCOS
        check_levels(cfg, {name: shape.stride for name, shape in input_shape.items()})
        check_fcos(cfg)
        shapes = [input_shape[name] for name in node.IN_FEATURES]
        rules, rules_in_training = detection_rules(cfg)
        return {
            "head": head_as_configured(cfg, FCOSHead(cfg, shapes)),
            "targets": targets_of(cfg),
            "losses": FCOSLosses(
                focal_alpha=node.LOSS_ALPHA,
                focal_gamma=node.LOSS_GAMMA,
                loc_loss_type=node.LOC_LOSS_TYPE,
                box_quality=node.BOX_QUALITY,
                normalizer=node.LOSS_NORMALIZER,
            ),
            "in_features": node.IN_FEATURES,
            "strides": node.FPN_STRIDES,
            "normalize_reg_targets": node.NORMALIZE_REG_TARGETS,
            "rules": rules,
            "feeds_roi_heads": cfg.MODEL.META_ARCHITECTURE == "GeneralizedRCNN",
            "rules_in_training": rules_in_training,
            "proposes_only": cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork",
            "is_class_agnostic": are_regions_classified(cfg) and node.NUM_CLASSES == 1,
        }

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        gt_instances: Sequence[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Compute losses in training, and detections otherwise or for ROI heads.

        For ROI heads, boxes are clipped to the image and those without an area left out. In
        training, and always with ``proposes_only``, they get ``proposal_boxes`` and
        ``objectness_logits`` (the logit of the score) and nothing else, since detectron2's ROI
        heads refuse fields that the ground truth lacks when they add it to the proposals, and its
        ProposalNetwork scales one field. Otherwise these two are there beside the detections' own.

        Args:
            images: the batch; only its sizes are used.
            features: name -> (N, channels, H, W), with all of ``in_features``.
            gt_instances: per image, ``gt_boxes`` in pixels of the network input and
                ``gt_classes``; needed in training.

        Returns:
            Detections per image (see :meth:`predict_proposals`; none in training without
            ``feeds_roi_heads``) and the dict of losses (empty outside of training).

        Raises:
            ValueError: in training without ``gt_instances``.
        """
        outputs = self.fcos_head([features[name] for name in self.in_features])
        feature_sizes = [tuple(scores.shape[-2:]) for scores in outputs[0]]
        cls_logits, ltrb, centerness_logits = (_flatten(levels) for levels in outputs)
        centerness_logits = centerness_logits.squeeze(-1)
        proposals = []
        if self.feeds_roi_heads or not self.training:
            proposals = self.predict_proposals(
                cls_logits, ltrb, centerness_logits, feature_sizes, images.image_sizes
            )
        if not self.training:
            return proposals, {}
        if gt_instances is None:
            raise ValueError("gt_instances: training needs the ground truth of each image")
        if self.is_class_agnostic:
            gt_instances = [as_one_class(truth) for truth in gt_instances]
        labels, ltrb_targets = self.targets.fcos_target(feature_sizes, gt_instances)
        if self.normalize_reg_targets:
            ltrb_targets = ltrb_targets / self._stride_of_location(feature_sizes, ltrb)
        return proposals, self.losses(cls_logits, ltrb, centerness_logits, labels, ltrb_targets)

    @torch.no_grad()
    def predict_proposals(
        self,
        cls_logits: Tensor,
        ltrb: Tensor,
        centerness_logits: Tensor,
        feature_sizes: Sequence[tuple[int, int]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Detect the objects of a batch.

        Args:
            cls_logits: (N, L, C) float, before the sigmoid.
            ltrb: (N, L, 4) float, distances as the head gives them.
            centerness_logits: (N, L) float, before the sigmoid.
            feature_sizes: rows and columns of each level.
            image_sizes: height and width of each image, without padding, in pixels.

        Returns:
            Per image, ``pred_boxes`` (pixels of the network input, not clipped), ``scores``,
            ``pred_classes`` and ``locations`` (M, 2), highest score first. For ROI heads see
            :meth:`forward`.

        Raises:
            UserError: outside of training, the outputs are beyond the range of float16.
        """
        points = torch.cat(self.targets.get_points(feature_sizes, device=cls_logits.device))
        if self.normalize_reg_targets:
            ltrb = ltrb * self._stride_of_location(feature_sizes, ltrb)
        locations_per_level = [rows * columns for rows, columns in feature_sizes]
        return self._detect(
            points, cls_logits, ltrb, centerness_logits, locations_per_level, image_sizes
        )

    def predict_proposals_single_image(
        self,
        points: Tensor,
        cls_logits: Tensor,
        ltrb_px: Tensor,
        centerness_logits: Tensor,
        locations_per_level: Sequence[int],
        image_size: tuple[int, int],
    ) -> Instances:
        """Detect in one image, as :meth:`predict_proposals`, from (L, ...) outputs in pixels."""
        outputs = points, cls_logits[None], ltrb_px[None], centerness_logits[None]
        return self._detect(*outputs, locations_per_level, [image_size])[0]

    def _detect(
        self,
        points: Tensor,
        cls_logits: Tensor,
        ltrb_px: Tensor,
        centerness_logits: Tensor,
        locations_per_level: Sequence[int],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[Instances]:
        """Detect in a batch, with the rules of training in training; see :meth:`predict_proposals`.

        Args:
            points: (L, 2) float, locations in pixels of the network input.
            cls_logits: (N, L, C) float.
            ltrb_px: (N, L, 4) float, in pixels.
            centerness_logits: (N, L) float.
            locations_per_level: how many of the L locations belong to each level, in order.
            image_sizes: N times height and width, in pixels.
        """
        is_finite = (
            None if self.training else _is_finite_float16(cls_logits, ltrb_px, centerness_logits)
        )
        detections = detect_batch(
            points,
            cls_logits,
            ltrb_px,
            centerness_logits,
            locations_per_level,
            image_sizes,
            self.rules_in_training if self.training else self.rules,
        )
        # Read only now: detection has waited for the GPU anyway.
        if is_finite is not None and not is_finite:
            raise UserError(
                "The detector's outputs for these images are not finite in float16, which ends at "
                "65504: compute in bfloat16 or float32, for instance by --optimize bfloat16."
            )
        return [
            self._to_instances(found, size)
            for found, size in zip(detections, image_sizes, strict=True)
        ]

    def _to_instances(self, detections: Detections, image_size: tuple[int, int]) -> Instances:
        result = Instances(
            image_size,
            pred_boxes=Boxes(detections.boxes),
            scores=detections.scores,
            pred_classes=detections.classes,
            locations=detections.locations,
        )
        if not (self.feeds_roi_heads or self.proposes_only):
            return result
        return for_roi_heads(result, self.training or self.proposes_only)

    def _stride_of_location(self, feature_sizes: Sequence[tuple[int, int]], like: Tensor) -> Tensor:
        """Return (L, 1): the stride, in pixels, of the level that each location belongs to."""
        return torch.cat(
            [
                like.new_full((rows * columns, 1), stride)
                for (rows, columns), stride in zip(feature_sizes, self.strides, strict=True)
            ]
        )


def _flatten(levels: Sequence[Tensor]) -> Tensor:
    """Join levels of (N, X, H, W) as (N, L, X): in order, each row by row."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def _is_finite_float16(
    cls_logits: Tensor, ltrb: Tensor, centerness_logits: Tensor
) -> Tensor | None:
    """Say whether outputs in float16 are within its range, () bool; None for other types.

    Overflow would silently give no detections.
    """
    if cls_logits.dtype != torch.float16:
        return None
    are_finite = [outputs.isfinite().all() for outputs in (cls_logits, ltrb, centerness_logits)]
    return torch.stack(are_finite).all()


def feature_sizes(size: tuple[int, int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Return height and width of every level; convolutions of stride 2 round up.

    Args:
        size: height and width of the network input in pixels, padded.
        strides: of the levels, in the same pixels.
    """
    return [(math.ceil(size[0] / stride), math.ceil(size[1] / stride)) for stride in strides]
