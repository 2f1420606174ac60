"""Box heads: from the features of a region to a vector that says what is in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.utils.registry import Registry

__all__ = ["ROI_BOX_HEAD_REGISTRY", "FastRCNNConvFCHead", "build_box_head"]

__getattr__ = missing_names(__name__)

ROI_BOX_HEAD_REGISTRY = Registry("ROI_BOX_HEAD")
ROI_BOX_HEAD_REGISTRY.__doc__ = """Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module``."""


def build_box_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The module that ``MODEL.ROI_BOX_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: channels, height and width of the features of one region.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ROI_BOX_HEAD_REGISTRY.get(cfg.MODEL.ROI_BOX_HEAD.NAME)(cfg, input_shape)


@ROI_BOX_HEAD_REGISTRY.register()
class FastRCNNConvFCHead(nn.Sequential):
    """3x3 convolutions, then fully connected layers, each followed by a ReLU.

    In the state dict they are ``conv1``, ``conv2``, ..., ``fc1``, ``fc2``, ...
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        conv_dims: Sequence[int],
        fc_dims: Sequence[int],
        conv_norm: str = "",
    ):
        """
        Args:
            input_shape: channels, height and width of the features of one region.
            conv_dims: channels of each convolution.
            fc_dims: width of each fully connected layer.
            conv_norm: of the convolutions, as :func:`detectron2.layers.get_norm` takes it.

        Raises:
            ValueError: there is no layer at all.
        """
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_msra_fill, c2_xavier_fill

        super().__init__()
        if len(conv_dims) + len(fc_dims) == 0:
            raise ValueError(
                "FastRCNNConvFCHead needs a layer: MODEL.ROI_BOX_HEAD.NUM_CONV and NUM_FC are 0"
            )
        shape = ShapeSpec(input_shape.channels, input_shape.height, input_shape.width)
        layers: list[nn.Module] = []
        for number, width in enumerate(conv_dims, start=1):
            conv = Conv2d(
                shape.channels,
                width,
                3,
                padding=1,
                bias=not conv_norm,
                norm=get_norm(conv_norm, width),
                activation=nn.ReLU(),
            )
            self.add_module(f"conv{number}", conv)
            layers.append(conv)
            shape.channels = width
        if fc_dims:
            self.flatten = nn.Flatten()
        for number, width in enumerate(fc_dims, start=1):
            size = math.prod(each or 1 for each in (shape.channels, shape.height, shape.width))
            linear = nn.Linear(size, width)
            self.add_module(f"fc{number}", linear)
            self.add_module(f"fc_relu{number}", nn.ReLU())
            layers.append(linear)
            shape = ShapeSpec(channels=width)
        # All are made before any is filled: in this order detectron2 draws random numbers.
        for layer in layers:
            (c2_xavier_fill if isinstance(layer, nn.Linear) else c2_msra_fill)(layer)
        self._output_shape = shape

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """The arguments by MODEL.ROI_BOX_HEAD."""
        options = cfg.MODEL.ROI_BOX_HEAD
        return {
            "input_shape": input_shape,
            "conv_dims": [options.CONV_DIM] * options.NUM_CONV,
            "fc_dims": [options.FC_DIM] * options.NUM_FC,
            "conv_norm": options.NORM,
        }

    def forward(self, x: Tensor) -> Tensor:
        """(R, C, H, W) features to (R, width of the last layer), maps if it is a convolution."""
        for layer in self:
            x = layer(x)
        return x

    @property
    @torch.jit.unused
    def output_shape(self) -> ShapeSpec:
        """Of one region."""
        return self._output_shape
