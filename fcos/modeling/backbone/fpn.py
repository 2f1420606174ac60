"""ResNet with FPN and the levels on top of it that FCOS uses (arXiv:1904.01355, Sec. 3.2)."""

from __future__ import annotations

import fvcore.nn.weight_init as weight_init
from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone, build_resnet_backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7


class LastLevelP6(nn.Module):
    """P6 alone, by a 3x3 convolution of stride 2.

    Args:
        in_channels: channels of the feature that it is computed from.
        out_channels: channels of P6.
        in_feature: name of that feature, of the backbone or of the FPN.
    """

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "p5") -> None:
        super().__init__()
        self.num_levels = 1
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        weight_init.c2_xavier_fill(self.p6)

    def forward(self, feature: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to a list of one (N, out_channels, ceil(H/2), ceil(W/2))."""
        return [self.p6(feature)]


@BACKBONE_REGISTRY.register()
def build_fcos_resnet_fpn_backbone(cfg, input_shape: ShapeSpec) -> FPN:
    """A ResNet with FPN and, on top, as many levels as ``MODEL.FCOS.TOP_LEVELS`` says.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        input_shape: the channels of the image.

    Returns:
        The backbone; its outputs are called p3, p4, ... by the logarithm of their strides.

    Raises:
        ValueError: ``TOP_LEVELS`` is not 0, 1 or 2, or ``TOP_IN_FEATURE`` is not "p5" or "res5".
    """
    return add_fpn(cfg, build_resnet_backbone(cfg, input_shape))


def add_fpn(cfg, bottom_up: Backbone) -> FPN:
    """FPN with P6 and P7, as ``MODEL.FPN`` and ``MODEL.FCOS`` say, on top of a backbone.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        bottom_up: gives all of ``MODEL.FPN.IN_FEATURES``, and "res5" if P6 comes from there.

    Returns:
        The backbone; its outputs are called p3, p4, ... by the logarithm of their strides.

    Raises:
        ValueError: ``TOP_LEVELS`` is not 0, 1 or 2, or ``TOP_IN_FEATURE`` is not "p5" or "res5".
    """
    return FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=_build_top_block(
            cfg.MODEL.FCOS.TOP_LEVELS,
            cfg.MODEL.FCOS.TOP_IN_FEATURE,
            bottom_up.output_shape(),
            cfg.MODEL.FPN.OUT_CHANNELS,
        ),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )


def _build_top_block(
    top_levels: int, in_feature: str, bottom_up_shape: dict[str, ShapeSpec], out_channels: int
) -> nn.Module | None:
    if top_levels not in (0, 1, 2):
        raise ValueError(f"MODEL.FCOS.TOP_LEVELS: expected 0, 1 or 2, got {top_levels}")
    if in_feature not in ("p5", "res5"):
        raise ValueError(f"MODEL.FCOS.TOP_IN_FEATURE: expected 'p5' or 'res5', got {in_feature!r}")
    if top_levels == 0:
        return None
    in_channels = out_channels if in_feature == "p5" else bottom_up_shape["res5"].channels
    block = LastLevelP6P7 if top_levels == 2 else LastLevelP6
    return block(in_channels, out_channels, in_feature)
