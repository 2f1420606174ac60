from fcos.modeling.backbone.fpn import build_fcos_resnet_fpn_backbone
from fcos.modeling.backbone.timm_backbone import (
    TimmBackbone,
    build_fcos_timm_fpn_backbone,
    starts_from_timm,
)

__all__ = [
    "TimmBackbone",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
    "starts_from_timm",
]
