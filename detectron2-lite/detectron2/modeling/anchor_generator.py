"""Anchors: boxes of fixed sizes and shapes around every cell of the feature maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.structures import Boxes
from detectron2.utils.registry import Registry

__all__ = ["ANCHOR_GENERATOR_REGISTRY", "DefaultAnchorGenerator", "build_anchor_generator"]

__getattr__ = missing_names(__name__)

ANCHOR_GENERATOR_REGISTRY = Registry("ANCHOR_GENERATOR")
ANCHOR_GENERATOR_REGISTRY.__doc__ = """\
Callables ``(cfg, input_shape: list[ShapeSpec]) -> nn.Module``."""

_Numbers = Sequence[float] | Sequence[Sequence[float]]


def build_anchor_generator(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The module that ``MODEL.ANCHOR_GENERATOR.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: of each feature map that gets anchors, finest first.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ANCHOR_GENERATOR_REGISTRY.get(cfg.MODEL.ANCHOR_GENERATOR.NAME)(cfg, input_shape)


@ANCHOR_GENERATOR_REGISTRY.register()
class DefaultAnchorGenerator(nn.Module):
    """Upright anchors of some sizes and aspect ratios (arXiv:1506.01497, section 3.1.1)."""

    box_dim = 4
    """Numbers per anchor."""

    @configurable
    def __init__(
        self,
        *,
        sizes: _Numbers,
        aspect_ratios: _Numbers,
        strides: Sequence[int],
        offset: float = 0.5,
    ):
        """
        Args:
            sizes: side in pixels of a square of the anchor's area: a list for each feature map, or
                one list for all of them.
            aspect_ratios: height / width, lists like ``sizes``. Every size is combined with every
                aspect ratio.
            strides: pixels from one cell to the next, of each feature map.
            offset: where in the first cell its anchors have their centre, as a fraction of the
                stride: 0.5 is its middle, 0 its upper left corner.

        Raises:
            ValueError: ``offset`` is not in [0, 1), or there are no numbers for a feature map.
        """
        super().__init__()
        if not 0 <= offset < 1:
            raise ValueError(f"offset (MODEL.ANCHOR_GENERATOR.OFFSET) is {offset}, not in [0, 1)")
        self.strides = strides
        self.num_features = len(strides)
        self.offset = offset
        sizes_of = _per_feature("sizes", sizes, self.num_features)
        ratios_of = _per_feature("aspect_ratios", aspect_ratios, self.num_features)
        for level, pair in enumerate(zip(sizes_of, ratios_of, strict=True)):
            anchors = self.generate_cell_anchors(*pair)
            # Not in the state dict: they follow from the config.
            self.register_buffer(f"anchors{level}", anchors, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """The arguments by MODEL.ANCHOR_GENERATOR and the features' strides."""
        options = cfg.MODEL.ANCHOR_GENERATOR
        return {
            "sizes": options.SIZES,
            "aspect_ratios": options.ASPECT_RATIOS,
            "strides": [shape.stride for shape in input_shape],
            "offset": options.OFFSET,
        }

    @property
    @torch.jit.unused
    def cell_anchors(self) -> list[Tensor]:
        """Of each feature map (A, 4) anchors around (0, 0), x1, y1, x2, y2 in pixels."""
        return [getattr(self, f"anchors{level}") for level in range(self.num_features)]

    @property
    @torch.jit.unused
    def num_anchors(self) -> list[int]:
        """A, the anchors at one cell, of each feature map."""
        return [len(anchors) for anchors in self.cell_anchors]

    num_cell_anchors = num_anchors

    def generate_cell_anchors(
        self,
        sizes: Sequence[float] = (32, 64, 128, 256, 512),
        aspect_ratios: Sequence[float] = (0.5, 1, 2),
    ) -> Tensor:
        """The anchors around (0, 0).

        Args:
            sizes, aspect_ratios: see the class; those of one feature map.

        Returns:
            (A, 4) x1, y1, x2, y2 in pixels; all aspect ratios of the first size come first.
        """
        halves = []
        for size in sizes:
            for ratio in aspect_ratios:
                # width * height = size ** 2 and height = ratio * width
                width = math.sqrt(size**2.0 / ratio)
                halves.append((width / 2, ratio * width / 2))
        return torch.tensor([(-x, -y, x, y) for x, y in halves])

    def forward(self, features: list[Tensor]) -> list[Boxes]:
        """
        Args:
            features: feature maps (..., H, W), of which only height and width count.

        Returns:
            Of each feature map its H * W * A anchors in pixels of the network's input: cell by
            cell, row by row. They may lie outside of the image.
        """
        # In words that TorchScript has, too.
        anchors = [pair[1] for pair in self.named_buffers()]
        boxes: list[Boxes] = []
        for feature, stride, own in zip(features, self.strides, anchors):  # noqa: B905
            height, width = feature.shape[-2], feature.shape[-1]
            x = (torch.arange(width, device=own.device) + self.offset) * stride
            y = (torch.arange(height, device=own.device) + self.offset) * stride
            columns, rows = x.repeat(height), y.repeat_interleave(width)
            centers = torch.stack((columns, rows, columns, rows), dim=1)
            boxes.append(Boxes((centers[:, None] + own).view(-1, 4)))
        return boxes


def _per_feature(name: str, numbers: _Numbers, num_features: int) -> list[Sequence[float]]:
    """A list of numbers for each feature map."""
    key = f"{name} (MODEL.ANCHOR_GENERATOR.{name.upper()})"
    if not isinstance(numbers, Sequence) or len(numbers) == 0:
        raise ValueError(f"{key}: expected a list of numbers or of such lists, got {numbers}")
    lists = list(numbers) if isinstance(numbers[0], Sequence) else [numbers]
    if len(lists) == 1:
        lists *= num_features
    if len(lists) != num_features:
        raise ValueError(f"{key} has {len(lists)} lists, but there are {num_features} feature maps")
    return lists
