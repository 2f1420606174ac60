"""ROI heads by name: what is computed for each region of interest."""

from __future__ import annotations

from torch import nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

__all__ = ["ROI_HEADS_REGISTRY", "build_roi_heads"]

ROI_HEADS_REGISTRY = Registry("ROI_HEADS")
ROI_HEADS_REGISTRY.__doc__ = """\
Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module``."""


def build_roi_heads(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """The module that ``MODEL.ROI_HEADS.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: of the backbone's features, by name.

    Raises:
        KeyError: nothing is registered under that name.
    """
    return ROI_HEADS_REGISTRY.get(cfg.MODEL.ROI_HEADS.NAME)(cfg, input_shape)


__getattr__ = missing_names(__name__)
