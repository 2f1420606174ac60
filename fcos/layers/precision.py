from __future__ import annotations

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Widen ``x`` to float32; float64 stays, so that gradients can be checked in it."""
    return x if x.dtype == torch.float64 else x.float()
