"""ROI heads, which compute something for each region of interest: by name, and their base."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.sampling import subsample_labels
from detectron2.structures import ImageList, Instances, pairwise_iou
from detectron2.utils.events import get_event_storage
from detectron2.utils.registry import Registry

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROIHeads",
    "build_roi_heads",
    "select_foreground_proposals",
]

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = """\
Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module``."""


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The module that ``MODEL.ROI_HEADS.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: of the backbone's features, by name.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)


def select_foreground_proposals(
    proposals: list[Instances], bg_label: int
) -> tuple[list[Instances], list[Tensor]]:
    """Of each image, the proposals that belong to an object.

    Args:
        proposals: with ``gt_classes``.
        bg_label: the class of the background. -1, of what is ignored, is no foreground either.

    Returns:
        The Instances that are left of each image, and (R,) bool of each: which ones they are.
    """
    assert isinstance(proposals, (list, tuple)), "proposals: expected a list of Instances"
    assert all(isinstance(one, Instances) and one.has("gt_classes") for one in proposals), (
        "proposals: expected Instances with gt_classes"
    )
    masks = [(one.gt_classes != -1) & (one.gt_classes != bg_label) for one in proposals]
    return [one[mask] for one, mask in zip(proposals, masks, strict=True)], masks


class ROIHeads(nn.Module):
    """Base class of ROI heads: in training, label proposals and sample some of them.

    A subclass adds a ``forward``.
    """

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        batch_size_per_image: int,
        positive_fraction: float,
        proposal_matcher: Matcher,
        proposal_append_gt: bool = True,
    ):
        """
        Args:
            num_classes: without background, whose class is this number.
            batch_size_per_image: proposals to sample of each image, at most.
            positive_fraction: at most this fraction of them belongs to an object.
            proposal_matcher: says which object a proposal belongs to, by their IoU.
            proposal_append_gt: whether the ground truth counts as proposals.
        """
        super().__init__()
        self.num_classes = num_classes
        self.batch_size_per_image = batch_size_per_image
        self.positive_fraction = positive_fraction
        self.proposal_matcher = proposal_matcher
        self.proposal_append_gt = proposal_append_gt

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments by MODEL.ROI_HEADS."""
        options = cfg.MODEL.ROI_HEADS
        matcher = Matcher(
            options.IOU_THRESHOLDS, options.IOU_LABELS, allow_low_quality_matches=False
        )
        return {
            "num_classes": options.NUM_CLASSES,
            "batch_size_per_image": options.BATCH_SIZE_PER_IMAGE,
            "positive_fraction": options.POSITIVE_FRACTION,
            "proposal_matcher": matcher,
            "proposal_append_gt": options.PROPOSAL_APPEND_GT,
        }

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Give proposals the ground truth that they belong to, and draw some of each image.

        The mean numbers per image of those of objects and of background go into the event storage,
        as ``roi_head/num_fg_samples`` and ``roi_head/num_bg_samples``.

        Args:
            proposals: of each image, with ``proposal_boxes`` and ``objectness_logits``.
            targets: of each image, with ``gt_boxes``, ``gt_classes`` and perhaps more.

        Returns:
            Of each image at most ``batch_size_per_image`` Instances, objects first, with
            ``gt_classes`` (``num_classes`` for background, -1 for what is ignored) and, if there
            is ground truth, every further field of it whose name begins with ``gt_``: that of the
            object with the largest IoU, which for background means nothing.
        """
        if self.proposal_append_gt:
            proposals = add_ground_truth_to_proposals(targets, proposals)
        sampled, numbers = [], []
        for candidates, truth in zip(proposals, targets, strict=True):
            overlap = pairwise_iou(truth.gt_boxes, candidates.proposal_boxes)
            matches, labels = self.proposal_matcher(overlap)
            classes = self._classes(truth.gt_classes, matches, labels)
            foreground, background = subsample_labels(
                classes, self.batch_size_per_image, self.positive_fraction, self.num_classes
            )
            which = torch.cat([foreground, background])
            chosen = candidates[which]
            chosen.gt_classes = classes[which]
            if len(truth) > 0:
                for name, value in truth.get_fields().items():
                    if name.startswith("gt_") and not chosen.has(name):
                        chosen.set(name, value[matches[which]])
            sampled.append(chosen)
            numbers.append((foreground.numel(), background.numel()))
        storage = get_event_storage()
        for name, column in zip(("fg", "bg"), zip(*numbers, strict=True), strict=True):
            storage.put_scalar(f"roi_head/num_{name}_samples", sum(column) / len(column))
        return sampled

    def _classes(self, gt_classes: Tensor, matches: Tensor, labels: Tensor) -> Tensor:
        """(R,) int64: the class of each proposal, ``num_classes`` for background, -1 to ignore."""
        if gt_classes.numel() == 0:
            return torch.full_like(matches, self.num_classes)
        classes = gt_classes[matches]
        classes[labels == 0] = self.num_classes
        classes[labels == -1] = -1
        return classes

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """What a subclass does.

        Args:
            images: of the batch.
            features: of the backbone, by name.
            proposals: of each image.
            targets: the ground truth of each image, in training.

        Returns:
            In training what was sampled and the losses; in inference detections and nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} has no forward")
