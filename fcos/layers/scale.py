from __future__ import annotations

import torch
from torch import Tensor, nn


class Scale(nn.Module):
    """Multiply by one learnable number.

    FCOS shares its head between levels whose boxes differ in size; one such factor per level lets
    ``exp(s_i x)`` fit each of them (arXiv:1904.01355, Sec. 3.2).

    Args:
        init_value: the factor before training, no unit.
    """

    def __init__(self, init_value: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([init_value], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` times the factor, in the shape of ``x`` (any)."""
        return x * self.scale
