"""Augmentations decide (often at random) which transform to apply; transforms apply it.

The transforms that fvcore has are fvcore's own, under detectron2's import path.
"""

from fvcore.transforms.transform import (
    BlendTransform,
    CropTransform,
    GridSampleTransform,
    HFlipTransform,
    NoOpTransform,
    PadTransform,
    ScaleTransform,
    Transform,
    TransformList,
    VFlipTransform,
)

from detectron2._missing import missing_names
from detectron2.data.transforms.augmentation import (
    AugInput,
    Augmentation,
    AugmentationList,
    apply_augmentations,
)
from detectron2.data.transforms.augmentation_impl import (
    RandomApply,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomSaturation,
    Resize,
    ResizeShortestEdge,
)
from detectron2.data.transforms.transform import (
    ColorTransform,
    PILColorTransform,
    ResizeTransform,
)

__all__ = [
    "AugInput",
    "Augmentation",
    "AugmentationList",
    "BlendTransform",
    "ColorTransform",
    "CropTransform",
    "GridSampleTransform",
    "HFlipTransform",
    "NoOpTransform",
    "PILColorTransform",
    "PadTransform",
    "RandomApply",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomFlip",
    "RandomSaturation",
    "Resize",
    "ResizeShortestEdge",
    "ResizeTransform",
    "ScaleTransform",
    "Transform",
    "TransformList",
    "VFlipTransform",
    "apply_augmentations",
]

__getattr__ = missing_names(__name__)
