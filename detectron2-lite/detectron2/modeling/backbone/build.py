"""Backbones by name."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.utils.registry import Registry

__all__ = ["BACKBONE_REGISTRY", "build_backbone"]

BACKBONE_REGISTRY = Registry("BACKBONE")
BACKBONE_REGISTRY.__doc__ = """Callables ``(cfg, input_shape: ShapeSpec) -> Backbone``."""


def build_backbone(cfg: CfgNode, input_shape: ShapeSpec | None = None) -> Backbone:
    """The backbone that ``MODEL.BACKBONE.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the images; by default as many as
            ``MODEL.PIXEL_MEAN`` has values.

    Raises:
        KeyError: nothing is registered under that name.
        TypeError: what is registered there does not build a :class:`Backbone`.
    """
    if input_shape is None:
        input_shape = ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN))
    name = cfg.MODEL.BACKBONE.NAME
    backbone = BACKBONE_REGISTRY.get(name)(cfg, input_shape)
    if not isinstance(backbone, Backbone):
        raise TypeError(
            f"MODEL.BACKBONE.NAME: {name!r} must build a detectron2.modeling.Backbone, "
            f"it built a {type(backbone).__name__}"
        )
    return backbone
