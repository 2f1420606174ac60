"""The order in which the numbers of images and features lie in memory."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

__all__ = ["backbone_as_configured", "head_as_configured"]

M = TypeVar("M", bound=nn.Module)


def backbone_as_configured(cfg, backbone: M) -> M:
    """Let ``backbone`` compute in the order that ``MODEL.CHANNELS_LAST`` says.

    Names, shapes and values of its weights stay as they are. Features have the
    order of the images, so this decides for all that follows.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        backbone: takes (N, channels, H, W); changed in place.

    Returns:
        ``backbone``.
    """
    if cfg.MODEL.CHANNELS_LAST:
        backbone.register_forward_pre_hook(_channels_last_input)
    return head_as_configured(cfg, backbone)


def head_as_configured(cfg, head: M) -> M:
    """Bring the weights of ``head`` to the order of the features that it is given.

    Args:
        cfg: a config with the keys of detectron2 and FCOS.
        head: changed in place.

    Returns:
        ``head``.
    """
    if cfg.MODEL.CHANNELS_LAST:
        head.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return head


def _channels_last_input(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    images: Tensor = inputs[0]
    return images.contiguous(memory_format=torch.channels_last), *inputs[1:]
