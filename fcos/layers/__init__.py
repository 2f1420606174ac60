from fcos.layers.conv import Conv3x3
from fcos.layers.deform_conv import DeformConv, DeformConvLayer, as_deformable, split_offsets
from fcos.layers.focal_loss import focal_loss_sum
from fcos.layers.init import normal_init
from fcos.layers.iou_loss import IOULoss, ltrb_iou, ltrb_iou_loss
from fcos.layers.loss_normalizer import LossNormalizer, mean_over_processes, num_processes
from fcos.layers.nms import class_aware_nms
from fcos.layers.per_level_norm import PerLevelNorm
from fcos.layers.precision import at_least_float32
from fcos.layers.scale import Scale

__all__ = [
    "Conv3x3",
    "DeformConv",
    "DeformConvLayer",
    "IOULoss",
    "LossNormalizer",
    "PerLevelNorm",
    "Scale",
    "as_deformable",
    "at_least_float32",
    "class_aware_nms",
    "focal_loss_sum",
    "ltrb_iou",
    "ltrb_iou_loss",
    "mean_over_processes",
    "normal_init",
    "num_processes",
    "split_offsets",
]
