"""What every model does around its features: preprocess images, and scale results to the output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2.modeling.backbone import Backbone
from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import ImageList, Instances

Batch = list[dict[str, Any]]


class Detector(nn.Module):
    """Base of the models with a backbone: preprocess the images for it."""

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(self, backbone: Backbone, pixel_mean: Sequence[float], pixel_std: Sequence[float]):
        super().__init__()
        if len(pixel_mean) != len(pixel_std):
            raise ValueError(
                f"pixel_mean is of {len(pixel_mean)} channels, pixel_std of {len(pixel_std)}"
            )
        self.backbone = backbone
        # Not in the state dict: published checkpoints do not have them either.
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
            self.register_buffer(name, column, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: Batch) -> ImageList:
        """The images, normalised and padded on the right and below to one common size."""
        images = [entry["image"].to(self.device) for entry in batched_inputs]
        return ImageList.from_tensors(
            [(image - self.pixel_mean) / self.pixel_std for image in images],
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )

    def _field(self, batched_inputs: Batch, key: str) -> list[Instances] | None:
        """An entry of each image, on the model's device; None if the first one has none."""
        if key not in batched_inputs[0]:
            return None
        return [entry[key].to(self.device) for entry in batched_inputs]


def to_output_sizes(
    results: list[Instances], batched_inputs: Batch, key: str
) -> list[dict[str, Instances]]:
    """Scale the result of each image to the size of its output; it is under ``key``."""
    outputs = []
    for result, entry in zip(results, batched_inputs, strict=True):
        height = entry.get("height", result.image_size[0])
        width = entry.get("width", result.image_size[1])
        outputs.append({key: detector_postprocess(result, height, width)})
    return outputs
