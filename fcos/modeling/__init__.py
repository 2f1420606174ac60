from fcos.modeling.backbone import (
    TimmBackbone,
    build_fcos_resnet_fpn_backbone,
    build_fcos_timm_fpn_backbone,
)
from fcos.modeling.fcos import FCOS
from fcos.modeling.meta_arch import OneStageDetector

__all__ = [
    "FCOS",
    "OneStageDetector",
    "TimmBackbone",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
]
