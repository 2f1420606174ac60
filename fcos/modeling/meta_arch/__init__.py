from fcos.modeling.meta_arch.one_stage_detector import OneStageDetector

__all__ = ["OneStageDetector"]
