"""Proposal generators by name."""

from __future__ import annotations

from torch import nn

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry

__all__ = ["PROPOSAL_GENERATOR_REGISTRY", "build_proposal_generator"]

PROPOSAL_GENERATOR_REGISTRY = Registry("PROPOSAL_GENERATOR")
PROPOSAL_GENERATOR_REGISTRY.__doc__ = """\
Callables ``(cfg, input_shape: dict[str, ShapeSpec]) -> nn.Module``."""


def build_proposal_generator(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module | None:
    """The module that ``MODEL.PROPOSAL_GENERATOR.NAME`` names.

    Args:
        cfg: the whole config.
        input_shape: of the backbone's features, by name.

    Returns:
        None for "PrecomputedProposals": the proposals come with the data.

    Raises:
        KeyError: nothing is registered under that name.
    """
    name = cfg.MODEL.PROPOSAL_GENERATOR.NAME
    if name == "PrecomputedProposals":
        return None
    return PROPOSAL_GENERATOR_REGISTRY.get(name)(cfg, input_shape)
