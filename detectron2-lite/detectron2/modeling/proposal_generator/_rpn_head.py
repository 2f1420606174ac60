"""The layers of the region proposal network (arXiv:1506.01497, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.anchor_generator import build_anchor_generator
from detectron2.utils.registry import Registry

__all__ = ["RPN_HEAD_REGISTRY", "StandardRPNHead", "build_rpn_head"]

RPN_HEAD_REGISTRY = Registry("RPN_HEAD")
RPN_HEAD_REGISTRY.__doc__ = """Callables ``(cfg, input_shape: list[ShapeSpec]) -> nn.Module``."""


def build_rpn_head(cfg: CfgNode, input_shape: list[ShapeSpec]) -> nn.Module:
    """The module that ``MODEL.RPN.HEAD_NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: of each feature map.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return RPN_HEAD_REGISTRY.get(cfg.MODEL.RPN.HEAD_NAME)(cfg, input_shape)


@RPN_HEAD_REGISTRY.register()
class StandardRPNHead(nn.Module):
    """3x3 convolutions, then a 1x1 convolution for logits and one for deltas, for all levels.

    In the state dict they are ``conv`` (``conv.conv0``, ``conv.conv1``, ... if there are several),
    ``objectness_logits`` and ``anchor_deltas``.
    """

    @configurable
    def __init__(
        self,
        *,
        in_channels: int,
        num_anchors: int,
        box_dim: int = 4,
        conv_dims: Sequence[int] = (-1,),
    ):
        """
        Args:
            in_channels: of every feature map.
            num_anchors: anchors at each cell.
            box_dim: numbers per box.
            conv_dims: channels of each 3x3 convolution; -1: as many as it gets.

        Raises:
            ValueError: a number of channels is 0 or below -1.
        """
        super().__init__()
        convs, channels = [], in_channels
        for width in conv_dims:
            if width == 0 or width < -1:
                raise ValueError(
                    "conv_dims (MODEL.RPN.CONV_DIMS): expected numbers of channels, or -1 for as "
                    f"many as before, got {list(conv_dims)}"
                )
            width = channels if width == -1 else width
            convs.append(Conv2d(channels, width, 3, padding=1, activation=nn.ReLU()))
            channels = width
        if len(convs) == 1:
            self.conv: nn.Module = convs[0]
        else:
            self.conv = nn.Sequential()
            for number, conv in enumerate(convs):
                self.conv.add_module(f"conv{number}", conv)
        self.objectness_logits = nn.Conv2d(channels, num_anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, num_anchors * box_dim, 1)
        for layer in (*convs, self.objectness_logits, self.anchor_deltas):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """The arguments by MODEL.RPN.CONV_DIMS, the anchors and the shapes of the features.

        Raises:
            ValueError: feature maps with different numbers of channels or of anchors at a cell.
        """
        anchors = build_anchor_generator(cfg, input_shape)
        channels = {shape.channels for shape in input_shape}
        numbers = set(anchors.num_anchors)
        for what, several in (("channels", channels), ("anchors at a cell", numbers)):
            if len(several) != 1:
                raise ValueError(
                    f"RPN: the feature maps {cfg.MODEL.RPN.IN_FEATURES} share one head, but have "
                    f"different numbers of {what}: {sorted(several)}"
                )
        return {
            "in_channels": channels.pop(),
            "num_anchors": numbers.pop(),
            "box_dim": anchors.box_dim,
            "conv_dims": cfg.MODEL.RPN.CONV_DIMS,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """
        Args:
            features: of each level (N, in_channels, H, W).

        Returns:
            Of each level logits (N, A, H, W) that an anchor holds an object, and deltas
            (N, A * box_dim, H, W), anchor by anchor.
        """
        hidden = [self.conv(feature) for feature in features]
        logits = [self.objectness_logits(each) for each in hidden]
        return logits, [self.anchor_deltas(each) for each in hidden]
