from fcos.layers.init import normal_init
from fcos.layers.iou_loss import IOULoss, ltrb_iou_loss
from fcos.layers.nms import class_aware_nms
from fcos.layers.scale import Scale

__all__ = ["IOULoss", "Scale", "class_aware_nms", "ltrb_iou_loss", "normal_init"]
