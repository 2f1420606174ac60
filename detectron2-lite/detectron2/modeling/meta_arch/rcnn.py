"""Two-stage detectors: proposals from the features, then a look at each (arXiv:1506.01497)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.modeling.backbone import Backbone, build_backbone
from detectron2.modeling.meta_arch._detector import Batch, Detector, to_output_sizes
from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY
from detectron2.modeling.proposal_generator import build_proposal_generator
from detectron2.modeling.roi_heads import build_roi_heads
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage
from detectron2.utils.logger import log_first_n

__all__ = ["GeneralizedRCNN", "ProposalNetwork"]

# More boxes would hide the image.
_PROPOSALS_SHOWN = 20


@META_ARCH_REGISTRY.register()
class GeneralizedRCNN(Detector):
    """A backbone, a proposal generator, and heads that look at each proposal."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module | None,
        roi_heads: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str | None = None,
        vis_period: int = 0,
    ):
        """
        Args:
            backbone: gives a dict of feature maps.
            proposal_generator: called with images, features and, in training, ground truth; gives
                proposals and losses. None: proposals come with the images.
            roi_heads: called with images, features, proposals and, in training, ground truth;
                gives detections and losses.
            pixel_mean, pixel_std: taken off the channels of the image, 0..255, and divided by.
            input_format: the order of the channels; needed for ``vis_period``.
            vis_period: put a picture of the proposals into the event storage every so many
                iterations; 0: never.

        Raises:
            ValueError: means and standard deviations of different numbers of channels, or no
                ``input_format`` where one is needed.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        if vis_period > 0 and input_format is None:
            raise ValueError("GeneralizedRCNN: vis_period (VIS_PERIOD) needs an input_format")
        self.proposal_generator = proposal_generator
        self.roi_heads = roi_heads
        self.input_format = input_format
        self.vis_period = vis_period

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments by the builders, MODEL.PIXEL_*, INPUT.FORMAT and VIS_PERIOD."""
        arguments = _common_arguments(cfg)
        arguments["roi_heads"] = build_roi_heads(cfg, arguments["backbone"].output_shape())
        return {**arguments, "input_format": cfg.INPUT.FORMAT, "vis_period": cfg.VIS_PERIOD}

    def forward(self, batched_inputs: Batch) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: of each image, as DatasetMapper gives it: ``image``, (C, H, W) in
                0..255; ``instances``, the ground truth, in training; ``proposals`` if there is no
                proposal generator; ``height`` and ``width`` of the output, by default those of
                ``image``.

        Returns:
            In training the losses of heads and proposal generator, by name; else see
            :meth:`inference`.

        Raises:
            ValueError: there are neither a proposal generator nor ``proposals``.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self.preprocess_image(batched_inputs)
        targets = self._field(batched_inputs, "instances")
        features = self.backbone(images.tensor)
        proposals, proposal_losses = self._proposals(batched_inputs, images, features, targets)
        _, head_losses = self.roi_heads(images, features, proposals, targets)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return {**head_losses, **proposal_losses}

    def inference(
        self,
        batched_inputs: Batch,
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Detections.

        Args:
            batched_inputs: see :meth:`forward`.
            detected_instances: of each image, with ``pred_boxes`` and ``pred_classes`` in pixels of
                the network's input: nothing is detected then, and the heads only add what belongs
                to these boxes, as masks.
            do_postprocess: scale the results to the size of the output.

        Returns:
            Of each image ``{"instances": Instances}``, in pixels of the output; without
            ``do_postprocess`` the Instances themselves, in pixels of the network's input.

        Raises:
            ValueError: see :meth:`forward`.
        """
        assert not self.training, "GeneralizedRCNN.inference: the model is in training mode"
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        if detected_instances is None:
            proposals, _ = self._proposals(batched_inputs, images, features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
        else:
            given = [one.to(self.device) for one in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        return to_output_sizes(results, batched_inputs, "instances") if do_postprocess else results

    def visualize_training(self, batched_inputs: Batch, proposals: list[Instances]) -> None:
        """Put a picture of the batch's first image into the event storage.

        Args:
            batched_inputs: see :meth:`forward`.
            proposals: of each image, best first; 20 are drawn, to the right of the ground truth.
        """
        from detectron2.utils.visualizer import Visualizer  # matplotlib takes a while to load

        entry = batched_inputs[0]
        image = convert_image_to_rgb(entry["image"].permute(1, 2, 0), self.input_format or "")
        found = proposals[0].proposal_boxes.tensor[:_PROPOSALS_SHOWN].detach().cpu()
        pictures = [
            Visualizer(image).overlay_instances(boxes=boxes).get_image()
            for boxes in (entry["instances"].gt_boxes, found)
        ]
        get_event_storage().put_image(
            "Left: GT bounding boxes;  Right: Predicted proposals",
            torch.from_numpy(np.concatenate(pictures, axis=1).transpose(2, 0, 1)),
        )

    def _proposals(
        self,
        batched_inputs: Batch,
        images: ImageList,
        features: dict[str, Tensor],
        targets: list[Instances] | None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        if self.proposal_generator is not None:
            return self.proposal_generator(images, features, targets)
        proposals = self._field(batched_inputs, "proposals")
        if proposals is None:
            raise ValueError(
                "batched_inputs: GeneralizedRCNN without a proposal generator needs 'proposals' "
                "with each image"
            )
        return proposals, {}


@META_ARCH_REGISTRY.register()
class ProposalNetwork(Detector):
    """A backbone and a proposal generator, whose proposals are the result."""

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        proposal_generator: nn.Module,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        """
        Args:
            backbone, proposal_generator, pixel_mean, pixel_std: as of :class:`GeneralizedRCNN`.

        Raises:
            ValueError: means and standard deviations of different numbers of channels.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        self.proposal_generator = proposal_generator

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The arguments by the builders and MODEL.PIXEL_*."""
        return _common_arguments(cfg)

    def forward(self, batched_inputs: Batch) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, proposals otherwise.

        Args:
            batched_inputs: as of :class:`GeneralizedRCNN`; the ground truth may also be called
                ``targets``, its name of old.

        Returns:
            In training the losses by name; else of each image ``{"proposals": Instances}`` with
            ``proposal_boxes`` in pixels of the output.
        """
        images = self.preprocess_image(batched_inputs)
        features = self.backbone(images.tensor)
        targets = self._field(batched_inputs, "instances")
        if targets is None and (targets := self._field(batched_inputs, "targets")) is not None:
            log_first_n(
                logging.WARNING, "The ground truth is called 'instances' now, not 'targets'", n=10
            )
        proposals, losses = self.proposal_generator(images, features, targets)
        if self.training:
            return losses
        return to_output_sizes(proposals, batched_inputs, "proposals")


def _common_arguments(cfg: CfgNode) -> dict[str, Any]:
    backbone = build_backbone(cfg)
    generator = build_proposal_generator(cfg, backbone.output_shape())
    pixels = {"pixel_mean": cfg.MODEL.PIXEL_MEAN, "pixel_std": cfg.MODEL.PIXEL_STD}
    return {"backbone": backbone, "proposal_generator": generator, **pixels}


__getattr__ = missing_names(__name__)
