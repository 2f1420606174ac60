from fcos.modeling.fcos.fcos import FCOS, feature_sizes
from fcos.modeling.fcos.fcos_head import FCOSHead
from fcos.modeling.fcos.fcos_inference import DetectionRules
from fcos.modeling.fcos.fcos_losses import FCOSLosses
from fcos.modeling.fcos.fcos_targets import FCOSTargets

__all__ = ["FCOS", "DetectionRules", "FCOSHead", "FCOSLosses", "FCOSTargets", "feature_sizes"]
