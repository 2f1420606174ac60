"""Meta-architectures: whole models, from a list of dicts to losses or detections."""

from detectron2._missing import missing_names
from detectron2.modeling.meta_arch.build import META_ARCH_REGISTRY, build_model
from detectron2.modeling.meta_arch.rcnn import GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.meta_arch.retinanet import RetinaNet

__all__ = ["META_ARCH_REGISTRY", "GeneralizedRCNN", "ProposalNetwork", "RetinaNet", "build_model"]
__getattr__ = missing_names(__name__)
