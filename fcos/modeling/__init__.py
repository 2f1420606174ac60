from fcos.modeling.backbone import build_fcos_resnet_fpn_backbone
from fcos.modeling.fcos import FCOS
from fcos.modeling.meta_arch import OneStageDetector
from fcos.modeling.roi_heads import FCOSMaskROIHeads

__all__ = ["FCOS", "FCOSMaskROIHeads", "OneStageDetector", "build_fcos_resnet_fpn_backbone"]
