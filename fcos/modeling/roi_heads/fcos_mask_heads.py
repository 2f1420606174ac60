"""Masks for the boxes of FCOS: Mask R-CNN's mask head (arXiv:1703.06870) without its box head.

FCOS's detections are the final boxes. In training, the mask head sees those that lie on an object,
and the boxes of the objects themselves; at test time, all of them.

Letters: G objects of one image, R regions of one image.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import ROI_HEADS_REGISTRY, ROIHeads, build_mask_head
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes, ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage, has_event_storage
from fcos.config.checks import check_mask_heads
from fcos.layers import at_least_float32, mean_over_processes
from fcos.modeling.memory_format import head_as_configured
from fcos.utils.errors import UserError


@ROI_HEADS_REGISTRY.register()
class FCOSMaskROIHeads(ROIHeads):
    """A mask for every detection of :class:`fcos.modeling.FCOS`.

    Attributes:
        mask_on: :meth:`forward` gives masks. False leaves them to a later call of
            :meth:`forward_with_given_boxes`; detectron2's StandardROIHeads have the same switch.

    Args:
        in_features: names of the features that regions are cut from, finest first.
        mask_pooler: cuts a region out of the feature that fits its size.
        mask_head: gives the loss in training, and otherwise adds ``pred_masks``. Its losses must
            be means over the regions. Without it (MODEL.MASK_ON False) boxes are all there is.
        kwargs: those of detectron2's ``ROIHeads``. Of a region's sampling, two mean something
            else: at most ``batch_size_per_image * positive_fraction`` regions of an image are
            trained on, all of them on an object, because no head here learns from background.
    """

    @configurable
    def __init__(
        self,
        *,
        in_features: Sequence[str] = (),
        mask_pooler: nn.Module | None = None,
        mask_head: nn.Module | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.in_features = tuple(in_features)
        self.mask_pooler = mask_pooler
        self.mask_head = mask_head
        self.mask_on = mask_head is not None
        self.regions_per_image = int(self.batch_size_per_image * self.positive_fraction)
        #: weights the mean over the regions of a call, given their number
        self.weight_of: Callable[[Tensor], Tensor] = share_of_regions

    @classmethod
    def from_config(cls, cfg, input_shape: dict[str, ShapeSpec]) -> dict:
        check_mask_heads(cfg)
        made = super().from_config(cfg)
        if not cfg.MODEL.MASK_ON:
            return made
        names, node = cfg.MODEL.ROI_HEADS.IN_FEATURES, cfg.MODEL.ROI_MASK_HEAD
        shapes = _shapes_of(input_shape, names)
        side = node.POOLER_RESOLUTION
        pooler = ROIPooler(
            output_size=side,
            scales=[1 / shape.stride for shape in shapes],
            sampling_ratio=node.POOLER_SAMPLING_RATIO,
            pooler_type=node.POOLER_TYPE,
        )
        region = ShapeSpec(channels=shapes[0].channels, height=side, width=side)
        head = head_as_configured(cfg, build_mask_head(cfg, region))
        return {**made, "in_features": names, "mask_pooler": pooler, "mask_head": head}

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """Compute losses in training, detections with masks otherwise.

        Args:
            images: not used.
            features: name -> (N, channels, H, W), with all of ``in_features``.
            proposals: of FCOS, per image. In training ``proposal_boxes``; otherwise
                ``pred_boxes``, ``scores`` and ``pred_classes``. Boxes are inside their image.
            targets: per image ``gt_boxes``, ``gt_classes`` and ``gt_masks``; needed in training.

        Returns:
            The detections (none in training) and the dict of losses (empty outside of training).
            ``pred_masks`` is (R, 1, S, S), probabilities on a grid over the box.

        Raises:
            ValueError: in training without ``targets``, or objects have no masks.
        """
        if not self.training:
            found = [_without_proposal_fields(proposal) for proposal in proposals]
            return self.forward_with_given_boxes(features, found) if self.mask_on else found, {}
        if targets is None:
            raise ValueError("targets: training needs the ground truth of each image")
        if self.mask_head is None:
            return [], {}
        return [], self._mask_losses(features, self.label_and_sample_proposals(proposals, targets))

    def forward_with_given_boxes(
        self, features: dict[str, Tensor], instances: list[Instances]
    ) -> list[Instances]:
        """Predict masks for boxes that are known already.

        Args:
            features: as in :meth:`forward`.
            instances: per image ``pred_boxes``, in pixels of the network input, and
                ``pred_classes``.

        Returns:
            ``instances``, with ``pred_masks`` where there is a mask head.
        """
        if self.mask_head is None:
            return instances
        regions = self._pool(features, [result.pred_boxes for result in instances])
        return self.mask_head(regions, instances)

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Choose the regions that the mask head is trained on.

        The base class draws them by chance. These are chosen without: where an image has more than
        ``regions_per_image``, they are taken at equal distances from the list of objects, then
        detections by score. So what is trained on does not depend on which process an image is
        trained in.

        Args:
            proposals: per image ``proposal_boxes``, highest score first.
            targets: as in :meth:`forward`.

        Returns:
            Per image ``proposal_boxes`` (R regions) and the ``gt_`` fields of the object that each
            overlaps with most. Each region is an object's own box or overlaps with the object by
            the IoU that MODEL.ROI_HEADS.IOU_THRESHOLDS asks for.

        Raises:
            ValueError: objects have no masks.
        """
        return [
            self._sample(proposal.proposal_boxes, target)
            for proposal, target in zip(proposals, targets, strict=True)
        ]

    def _sample(self, boxes: Boxes, target: Instances) -> Instances:
        if len(target) and not target.has("gt_masks"):
            raise ValueError(
                "targets: training of masks needs gt_masks; was the input mapped with "
                "MODEL.MASK_ON True, and has the data set segmentations?"
            )
        if self.proposal_append_gt:
            boxes = Boxes.cat([target.gt_boxes, boxes])
        object_of_box, label = self.proposal_matcher(pairwise_iou(target.gt_boxes, boxes))
        on_object = (label == 1).nonzero().squeeze(1)
        chosen = on_object[evenly_spread(len(on_object), self.regions_per_image, label.device)]
        fields = target[object_of_box[chosen]].get_fields()
        fields = {name: value for name, value in fields.items() if name.startswith("gt_")}
        return Instances(target.image_size, proposal_boxes=boxes[chosen], **fields)

    def _mask_losses(
        self, features: dict[str, Tensor], regions: list[Instances]
    ) -> dict[str, Tensor]:
        """Compute the mask losses as means over the regions of all processes together.

        The head averages over the regions of its own process. Averaging these averages, as
        DistributedDataParallel does, would give a region among few more weight than one among
        many; its share of all regions sets that right.
        """
        assert self.mask_head is not None  # or there is nothing to lose
        number = sum(len(region) for region in regions)
        if has_event_storage():
            get_event_storage().put_scalar("roi_heads/regions_per_image", number / len(regions))
        pooled = self._pool(features, [region.proposal_boxes for region in regions])
        # Not by torch.tensor, for whose number on its way to the GPU the program waits.
        share = self.weight_of(pooled.new_full((), number, dtype=torch.float32))
        losses = self.mask_head(pooled, regions)
        return {name: loss * share for name, loss in losses.items()}

    def _pool(self, features: dict[str, Tensor], boxes: list[Boxes]) -> Tensor:
        assert self.mask_pooler is not None  # it belongs to the mask head
        # ROIAlign computes in the features' type, and reads the boxes in it: in mixed precision
        # bfloat16 would move a corner at 1000 pixels by up to 2.
        wide = [at_least_float32(features[name]) for name in self.in_features]
        return self.mask_pooler(wide, boxes)


def evenly_spread(number: int, most: int, device: torch.device | None = None) -> Tensor:
    """Choose places in a list of ``number`` things: all if there are ``most`` or fewer.

    Args:
        number: length of the list, at least 0.
        most: places to choose, at least 1.
        device: of the result.

    Returns:
        (min(number, most),) int64, rising, at equal distances and beginning with 0.
    """
    chosen = min(number, most)
    return torch.arange(chosen, device=device) * number // max(chosen, 1)


def share_of_regions(number: Tensor) -> Tensor:
    """Weight this process's mean over its regions, so that averaged gradients are right.

    Args:
        number: scalar, float, the regions of this process. Every process makes this call in every
            step, regions or none.

    Returns:
        A scalar: the number divided by its mean over all processes; 0 where there are no regions
        at all.
    """
    return number / mean_over_processes(number).clamp(min=1e-6)


def _without_proposal_fields(proposal: Instances) -> Instances:
    """Leave out the fields that would not be brought to the size of the output."""
    fields = dict(proposal.get_fields())
    for name in ("proposal_boxes", "objectness_logits"):
        fields.pop(name, None)
    return Instances(proposal.image_size, **fields)


def _shapes_of(input_shape: dict[str, ShapeSpec], names: Sequence[str]) -> list[ShapeSpec]:
    """Choose the features that regions are cut from; check them against the backbone."""
    missing = [name for name in names if name not in input_shape]
    if missing or not names:
        raise UserError(
            f"MODEL.ROI_HEADS.IN_FEATURES is {list(names)}, but the backbone gives "
            f"{', '.join(input_shape)}: name some of these, finest first, such as ['p3', 'p4', "
            "'p5']."
        )
    shapes = [input_shape[name] for name in names]
    strides = [shape.stride for shape in shapes]
    if any(2 * fine != coarse for fine, coarse in itertools.pairwise(strides)):
        raise UserError(
            f"MODEL.ROI_HEADS.IN_FEATURES is {list(names)}, with strides {strides}: each must be "
            "twice the one before it, finest first."
        )
    return shapes
