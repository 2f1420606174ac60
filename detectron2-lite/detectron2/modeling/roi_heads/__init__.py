"""ROI heads: per-region classification, boxes and masks."""

from detectron2._missing import missing_names
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    BaseMaskRCNNHead,
    MaskRCNNConvUpsampleHead,
    build_mask_head,
)
from detectron2.modeling.roi_heads.roi_heads import (
    ROI_HEADS_REGISTRY,
    ROIHeads,
    build_roi_heads,
    select_foreground_proposals,
)

__all__ = [
    "ROI_HEADS_REGISTRY",
    "ROI_MASK_HEAD_REGISTRY",
    "BaseMaskRCNNHead",
    "MaskRCNNConvUpsampleHead",
    "ROIHeads",
    "build_mask_head",
    "build_roi_heads",
    "select_foreground_proposals",
]
__getattr__ = missing_names(__name__)
