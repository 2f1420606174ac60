"""Normalisation layers by name, and batch normalisation that does not train."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detectron2._missing import missing, missing_names

__all__ = ["CycleBatchNormList", "FrozenBatchNorm2d", "get_norm"]

__getattr__ = missing_names(__name__)


class FrozenBatchNorm2d(nn.Module):
    """Batch normalisation whose statistics and affine terms are constants (buffers).

    What pretrained backbones use when a batch is too small for statistics.  A checkpoint may give
    only ``weight`` and ``bias``, in which the statistics have been absorbed, as Caffe2's models
    do: the statistics that are left as they were built change nothing.
    """

    # Of the state dict: below 2, files may lack the running statistics.
    _version = 3

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5):
        super().__init__()
        self.num_features, self.eps = num_features, eps
        for name, value in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            self.register_buffer(name, torch.full((num_features,), value))
        # The square root of this plus eps is exactly one.
        self.register_buffer("running_var", torch.ones(num_features) - eps)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_features, H, W) to the same shape and dtype."""
        mean, var = self.running_mean, self.running_var
        if not x.requires_grad:
            return F.batch_norm(x, mean, var, self.weight, self.bias, training=False, eps=self.eps)
        # Not by batch_norm, which would keep its input for the backward pass.
        scale = self.weight * (var + self.eps).rsqrt()
        shift = self.bias - mean * scale
        shape = (1, -1, 1, 1)
        return x * scale.to(x.dtype).view(shape) + shift.to(x.dtype).view(shape)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, local_metadata: dict[str, Any], *args: Any
    ) -> None:
        version = local_metadata.get("version")
        if version is None or version < 2:
            for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
                like = getattr(self, name)
                state_dict.setdefault(prefix + name, torch.full_like(like, value))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)

    def extra_repr(self) -> str:
        return f"num_features={self.num_features}, eps={self.eps}"

    @classmethod
    def convert_frozen_batchnorm(cls, module: nn.Module) -> nn.Module:
        """``module`` with every BatchNorm2d and SyncBatchNorm in it replaced, in place.

        Returns it, or its replacement if it is such a layer itself.
        """
        return _replace(module, (nn.BatchNorm2d, nn.SyncBatchNorm), cls)

    @classmethod
    def convert_frozenbatchnorm2d_to_batchnorm2d(cls, module: nn.Module) -> nn.Module:
        """``module`` with every frozen layer in it replaced by a BatchNorm2d, in place.

        Returns it, or its replacement if it is such a layer itself.
        """
        return _replace(module, (cls,), nn.BatchNorm2d)


def _replace(
    module: nn.Module, old: tuple[type[nn.Module], ...], new: Callable[..., nn.Module]
) -> nn.Module:
    """``module`` with its batch norm layers of a type in ``old`` rebuilt by ``new``."""
    if isinstance(module, old):
        return _rebuild(module, new)
    for name, child in module.named_children():
        replacement = _replace(child, old, new)
        if replacement is not child:
            setattr(module, name, replacement)
    return module


def _rebuild(source: Any, new: Callable[..., nn.Module]) -> nn.Module:
    layer = new(source.num_features, eps=source.eps).train(source.training)
    with torch.no_grad():
        for name in ("weight", "bias", "running_mean", "running_var"):
            value = getattr(source, name)
            if value is not None:  # a BatchNorm2d without affine terms
                getattr(layer, name).copy_(value)
    # Not used by a frozen layer, but part of its state dict, as in detectron2's checkpoints.
    if getattr(source, "num_batches_tracked", None) is not None:
        layer.register_buffer("num_batches_tracked", source.num_batches_tracked)
    return layer.to(source.running_mean.device)


class CycleBatchNormList(nn.ModuleList):
    """Batch normalisation with statistics for each of several inputs, and common affine terms.

    Call it with the inputs in turn, and with all of them equally often (arXiv:2105.07576, section
    5.2): the first call takes the first statistics, and so on.
    """

    def __init__(self, length: int, bn_class: Callable[..., Any] = nn.BatchNorm2d, **kwargs: Any):
        """
        Args:
            length: number of inputs.
            bn_class: the layer.
            kwargs: arguments of the layer; with ``affine=False`` there are no affine terms.
        """
        self._affine = kwargs.pop("affine", True)
        super().__init__([bn_class(**kwargs, affine=False) for _ in range(length)])
        if self._affine:
            channels = self[0].num_features
            self.weight = nn.Parameter(torch.ones(channels))
            self.bias = nn.Parameter(torch.zeros(channels))
        self._next = 0

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_features, H, W) to the same shape."""
        normalised = self[self._next](x)
        self._next = (self._next + 1) % len(self)
        if not self._affine:
            return normalised
        return normalised * self.weight.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)

    def extra_repr(self) -> str:
        return f"affine={self._affine}"


class _LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (N, C, H, W), at each position."""

    def __init__(self, channels: int):
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


_NORMS: dict[str, Callable[[int], nn.Module]] = {
    "BN": nn.BatchNorm2d,
    "SyncBN": nn.SyncBatchNorm,
    "nnSyncBN": nn.SyncBatchNorm,
    "FrozenBN": FrozenBatchNorm2d,
    "GN": _group_norm,
    "LN": _LayerNorm2d,
}


def get_norm(norm: str | Callable[[int], nn.Module] | None, out_channels: int) -> nn.Module | None:
    """A normalisation layer for a feature map of ``out_channels`` channels.

    Args:
        norm: "BN", "SyncBN" (or "nnSyncBN"), "FrozenBN", "GN" (32 groups) or "LN"; a function
            from the number of channels to a layer; "" or None for no layer.
        out_channels: number of channels.

    Raises:
        KeyError: no norm of that name.
        NotImplementedError: one that only the full detectron2 has.
    """
    if norm is None or norm == "":
        return None
    if not isinstance(norm, str):
        return norm(out_channels)
    if norm in ("naiveSyncBN", "naiveSyncBN_N"):
        raise missing(f"The norm '{norm}'")
    if norm not in _NORMS:
        raise KeyError(f"No norm is called '{norm}'; there are '', {', '.join(map(repr, _NORMS))}")
    return _NORMS[norm](out_channels)
