"""``ShapeSpec``: the shape of a feature map before it is computed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ShapeSpec"]


@dataclass
class ShapeSpec:
    """The shape of a feature map (N, channels, height, width), as far as it is known."""

    channels: int | None = None
    height: int | None = None
    width: int | None = None
    stride: int | None = None
    """Pixels of the network's input from one cell to the next."""
