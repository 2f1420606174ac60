from fcos.modeling.backbone import (
    TimmBackbone,
    build_fcos_resnet_fpn_backbone,
    build_fcos_timm_fpn_backbone,
)
from fcos.modeling.fcos import FCOS
from fcos.modeling.meta_arch import OneStageDetector
from fcos.modeling.roi_heads import FCOSMaskROIHeads
from fcos.modeling.test_time_augmentation import OneStageDetectorWithTTA
from fcos.modeling.torchvision_style import FromTorchvision, ToTorchvision

__all__ = [
    "FCOS",
    "FCOSMaskROIHeads",
    "FromTorchvision",
    "OneStageDetector",
    "OneStageDetectorWithTTA",
    "TimmBackbone",
    "ToTorchvision",
    "build_fcos_resnet_fpn_backbone",
    "build_fcos_timm_fpn_backbone",
]
