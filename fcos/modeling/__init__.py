from fcos.modeling.backbone import build_fcos_resnet_fpn_backbone
from fcos.modeling.fcos import FCOS
from fcos.modeling.meta_arch import OneStageDetector

__all__ = ["FCOS", "OneStageDetector", "build_fcos_resnet_fpn_backbone"]
