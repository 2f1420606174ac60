from fcos.modeling.backbone import (
    TimmBackbone,
    build_fcos_resnet_fpn_backbone,
    build_fcos_timm_fpn_backbone,
)
from fcos.modeling.fcos import FCOS
from fcos.modeling.meta_arch import OneStageDetector
from fcos.modeling.roi_heads import FCOSMaskROIHeads
from fcos.modeling.test_time_augmentation import OneStageDetectorWithTTA

__all__ = [
    "FCOS",
    "FCOSMaskROIHeads",
    "OneStageDetector",
    "OneStageDetectorWithTTA",
    "TimmBackbone",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
]
