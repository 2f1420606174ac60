"""ResNet with FPN and the levels on top of it that FCOS uses (arXiv:1904.01355, Sec. 3.2)."""

from __future__ import annotations

from torch import Tensor, nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN, Backbone
from detectron2.modeling.backbone.fpn import LastLevelP6P7
from fcos.config.checks import check_fpn
from fcos.modeling.backbone.deformable import build_resnet
from fcos.modeling.backbone.frozen_norm import join_frozen_norms
from fcos.modeling.memory_format import backbone_as_configured


class LastLevelP6(nn.Module):
    """P6 alone, by a 3x3 convolution of stride 2.

    Args:
        in_channels: channels of the feature that it is computed from.
        out_channels: channels of P6.
        in_feature: name of that feature, of the backbone or of the FPN.
    """

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "p5") -> None:
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn import weight_init

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
    """Build a ResNet with FPN and as many levels on top as ``MODEL.FCOS.TOP_LEVELS`` says.

    Stages with deformable convolution (``MODEL.RESNETS.DEFORM_ON_PER_STAGE``) need no compiled
    code.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        input_shape: the channels of the image.

    Returns:
        The backbone; its outputs are called p3, p4, ... by the logarithm of their strides.

    Raises:
        UserError: the deformable stages do not fit the ResNet, or see :func:`add_fpn`.
    """
    return add_fpn(cfg, build_resnet(cfg, input_shape))


def add_fpn(cfg, bottom_up: Backbone) -> FPN:
    """Put an FPN with P6 and P7, as ``MODEL.FPN`` and ``MODEL.FCOS`` say, on a backbone.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        bottom_up: gives all of ``MODEL.FPN.IN_FEATURES``.

    Returns:
        The backbone; its outputs are called p3, p4, ... by the logarithm of their strides.

    Raises:
        UserError: see :func:`fcos.config.checks.check_fpn`.
    """
    given = bottom_up.output_shape()
    check_fpn(cfg, {name: shape.stride for name, shape in given.items()})
    fpn = FPN(
        bottom_up=bottom_up,
        in_features=cfg.MODEL.FPN.IN_FEATURES,
        out_channels=cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=_build_top_block(
            cfg.MODEL.FCOS.TOP_LEVELS,
            cfg.MODEL.FCOS.TOP_IN_FEATURE,
            given,
            cfg.MODEL.FPN.OUT_CHANNELS,
        ),
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
    join_frozen_norms(fpn)
    return backbone_as_configured(cfg, fpn)


def _build_top_block(
    top_levels: int, in_feature: str, bottom_up_shape: dict[str, ShapeSpec], out_channels: int
) -> nn.Module | None:
    if top_levels == 0:
        return None
    in_channels = out_channels if in_feature == "p5" else bottom_up_shape["res5"].channels
    block = LastLevelP6P7 if top_levels == 2 else LastLevelP6
    return block(in_channels, out_channels, in_feature)
