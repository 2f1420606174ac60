from __future__ import annotations

from torch import nn


def normal_init(
    module: nn.Module,
    mean: float = 0.0,
    std: float = 1.0,
    bias: float = 0.0,
) -> None:
    """Fill the weight of ``module`` from a normal distribution and its bias with one value.

    Args:
        module: a layer with a ``weight`` (any shape) and, optionally, a ``bias``.
        mean: mean of the weight.
        std: standard deviation of the weight; not negative.
        bias: value of every entry of the bias.

    Raises:
        ValueError: ``std`` is negative.
    """
    if std < 0:
        raise ValueError(f"std: expected a value of at least 0, got {std}")
    nn.init.normal_(module.get_parameter("weight"), mean, std)
    if getattr(module, "bias", None) is not None:
        nn.init.constant_(module.get_parameter("bias"), bias)
