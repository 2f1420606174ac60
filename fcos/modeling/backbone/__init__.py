from fcos.modeling.backbone.fpn import build_fcos_resnet_fpn_backbone
from fcos.modeling.backbone.timm_backbone import (
    TimmBackbone,
    build_fcos_timm_fpn_backbone,
    check_timm_backbone,
    starts_from_timm,
)
from fcos.modeling.backbone.weight_decay import parameters_without_decay

__all__ = [
    "TimmBackbone",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
    "check_timm_backbone",
    "parameters_without_decay",
    "starts_from_timm",
]
