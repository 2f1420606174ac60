from fcos.modeling.roi_heads.fcos_mask_heads import FCOSMaskROIHeads

__all__ = ["FCOSMaskROIHeads"]
