"""Whole models by name."""

from __future__ import annotations

import torch
from torch import nn

from detectron2.config import CfgNode
from detectron2.utils.registry import Registry

__all__ = ["META_ARCH_REGISTRY", "build_model"]

META_ARCH_REGISTRY = Registry("META_ARCH")
META_ARCH_REGISTRY.__doc__ = """Callables ``(cfg) -> nn.Module``: the whole model."""


def build_model(cfg: CfgNode) -> nn.Module:
    """The model that ``MODEL.META_ARCHITECTURE`` names, on ``MODEL.DEVICE``.

    No weights are loaded: it is initialised at random.

    Raises:
        KeyError: nothing is registered under that name.
        RuntimeError: ``MODEL.DEVICE`` is a GPU and there is none.
    """
    device = torch.device(cfg.MODEL.DEVICE)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(
            f"MODEL.DEVICE is {cfg.MODEL.DEVICE!r}, but torch {torch.__version__} finds no GPU "
            "here; set MODEL.DEVICE to cpu to run without one"
        )
    model = META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE)(cfg)
    return model.to(device)
