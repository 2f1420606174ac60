"""Detectors that predict at every location of their features, without proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detectron2._missing import missing_names
from detectron2.data.detection_utils import convert_image_to_rgb
from detectron2.modeling.backbone import Backbone
from detectron2.modeling.meta_arch._detector import Batch, Detector, to_output_sizes
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.events import get_event_storage

__all__ = ["DenseDetector"]

# More boxes would hide the image.
_RESULTS_SHOWN = 20


def permute_to_N_HWA_K(tensor: Tensor, K: int) -> Tensor:
    """(N, A * K, H, W), each of A anchors with its K values, to (N, H * W * A, K)."""
    assert tensor.dim() == 4, f"expected (N, A * K, H, W), got {tuple(tensor.shape)}"
    per_anchor = tensor.unflatten(1, (-1, K))
    return per_anchor.permute(0, 3, 4, 1, 2).flatten(1, 3)


class DenseDetector(Detector):
    """Base of the models with a backbone and a head that is convolved over its features.

    A subclass has ``forward_training(images, features, predictions, gt_instances)``, which gives
    the losses by name, and ``forward_inference(images, features, predictions)``, which gives the
    detections of each image in pixels of the network's input.
    """

    # What the subclass sets.
    input_format: str | None
    box2box_transform: Any
    test_score_thresh: float
    test_topk_candidates: int

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str] | None = None,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ):
        """
        Args:
            backbone: gives a dict of feature maps.
            head: called with a list of features; gives what the subclass makes of it.
            head_in_features: names of these features; None: all of the backbone's, finest first.
            pixel_mean, pixel_std: taken off the channels of the image, 0..255, and divided by.

        Raises:
            ValueError: means and standard deviations of different numbers of channels.
        """
        super().__init__(backbone, pixel_mean, pixel_std)
        self.head = head
        if head_in_features is None:
            shapes = backbone.output_shape()
            head_in_features = sorted(shapes, key=lambda name: shapes[name].stride)
        self.head_in_features = list(head_in_features)

    def forward(self, batched_inputs: Batch) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Losses in training, detections otherwise.

        Args:
            batched_inputs: of each image, as DatasetMapper gives it: ``image``, (C, H, W) in
                0..255; ``instances``, the ground truth, in training; ``height`` and ``width`` of
                the output, by default those of ``image``.

        Returns:
            In training the losses by name; else of each image ``{"instances": Instances}``, in
            pixels of the output.
        """
        images = self.preprocess_image(batched_inputs)
        by_name = self.backbone(images.tensor)
        features = [by_name[name] for name in self.head_in_features]
        predictions = self.head(features)
        if not self.training:
            results = self.forward_inference(images, features, predictions)
            return to_output_sizes(results, batched_inputs, "instances")
        truth = self._field(batched_inputs, "instances")
        assert truth is not None, "batched_inputs: training needs 'instances' with each image"
        return self.forward_training(images, features, predictions, truth)

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: list[list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Compute the losses, see the class."""
        raise NotImplementedError

    def forward_inference(
        self, images: ImageList, features: list[Tensor], predictions: list[list[Tensor]]
    ) -> list[Instances]:
        """Detect, see the class."""
        raise NotImplementedError

    def _candidates(
        self, anchors: Boxes, scores: Tensor, deltas: Tensor, image_size: tuple[int, int]
    ) -> Instances:
        """The best pairs of anchor and class of a level, with their boxes."""
        passes = scores > self.test_score_thresh
        pairs = passes.nonzero()
        number = min(len(pairs), self.test_topk_candidates)
        best, order = scores[passes].topk(number)
        rows, classes = pairs[order].unbind(dim=1)
        boxes = self.box2box_transform.apply_deltas(deltas[rows], anchors.tensor[rows])
        return Instances(image_size, pred_boxes=Boxes(boxes), scores=best, pred_classes=classes)

    def _per_anchor(
        self, predictions: list[list[Tensor]], dims_per_anchor: list[int]
    ) -> list[list[Tensor]]:
        """Lists over levels of (N, A * K, H, W), each with its K, to (N, H * W * A, K)."""
        return [
            [permute_to_N_HWA_K(level, dim) for level in levels]
            for levels, dim in zip(predictions, dims_per_anchor, strict=True)
        ]

    def visualize_training(self, batched_inputs: Batch, results: list[Instances]) -> None:
        """Put a picture of the batch's first image into the event storage.

        Args:
            batched_inputs: see :meth:`forward`.
            results: of each image, best first, in pixels of the network's input; 20 are drawn,
                below the ground truth.
        """
        from detectron2.utils.visualizer import Visualizer  # matplotlib takes a while to load

        assert len(batched_inputs) == len(results), "results: expected those of each image"
        entry = batched_inputs[0]
        image = convert_image_to_rgb(entry["image"].permute(1, 2, 0), self.input_format or "")
        scaled = detector_postprocess(results[0], *image.shape[:2])
        found = scaled.pred_boxes.tensor[:_RESULTS_SHOWN].detach().cpu()
        pictures = [
            Visualizer(image).overlay_instances(boxes=boxes).get_image()
            for boxes in (entry["instances"].gt_boxes, found)
        ]
        get_event_storage().put_image(
            f"Top: GT bounding boxes; Bottom: {_RESULTS_SHOWN} Highest Scoring Results",
            torch.from_numpy(np.concatenate(pictures, axis=0).transpose(2, 0, 1)),
        )


__getattr__ = missing_names(__name__)
