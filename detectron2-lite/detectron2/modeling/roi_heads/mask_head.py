"""Mask heads by name: from the features of a region to the mask of the object in it."""

from __future__ import annotations

from torch import nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

__all__ = ["ROI_MASK_HEAD_REGISTRY", "build_mask_head"]

ROI_MASK_HEAD_REGISTRY = Registry("ROI_MASK_HEAD")
ROI_MASK_HEAD_REGISTRY.__doc__ = """Callables ``(cfg, input_shape: ShapeSpec) -> nn.Module``."""


def build_mask_head(cfg: CfgNode, input_shape: ShapeSpec) -> nn.Module:
    """The module that ``MODEL.ROI_MASK_HEAD.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: channels, height and width of the features of one region.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ROI_MASK_HEAD_REGISTRY.get(cfg.MODEL.ROI_MASK_HEAD.NAME)(cfg, input_shape)


__getattr__ = missing_names(__name__)
