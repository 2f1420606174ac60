"""Feature pyramid networks (arXiv:1612.03144)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling.backbone._resnet_blocks import Norm
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import build_resnet_backbone

__all__ = [
    "FPN",
    "LastLevelMaxPool",
    "LastLevelP6P7",
    "build_resnet_fpn_backbone",
    "build_retinanet_resnet_fpn_backbone",
]


class FPN(Backbone):
    """A backbone, and a path back from its coarse to its fine features.

    The level of stride 2**n is called "p<n>". Its parameters are those of ``fpn_lateral<n>``
    (1x1) and ``fpn_output<n>`` (3x3), next to ``top_block`` and ``bottom_up``.

    Args:
        bottom_up: the backbone below.
        in_features: which of its features to use, from fine to coarse; each has twice the
            stride of the one before.
        out_channels: channels of every level.
        norm: as :func:`detectron2.layers.get_norm` takes it; with "" the convolutions have a
            bias instead.
        top_block: makes further, coarser levels. It has ``num_levels``, and ``in_feature``: the
            name of the feature of ``bottom_up``, or else of the level, that it starts from.
        fuse_type: "sum" of the two paths, or "avg", their mean.
        square_pad: side in pixels of the square to pad the input to; 0 for none.

    Raises:
        TypeError: ``bottom_up`` is not a :class:`Backbone`.
        ValueError: any other argument is not as above.
    """

    def __init__(
        self,
        bottom_up: Backbone,
        in_features: Sequence[str],
        out_channels: int,
        norm: Norm = "",
        top_block: nn.Module | None = None,
        fuse_type: str = "sum",
        square_pad: int = 0,
    ):
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_xavier_fill

        super().__init__()
        if fuse_type not in ("sum", "avg"):
            raise ValueError(f"FPN: fuse_type must be 'sum' or 'avg', not {fuse_type!r}")
        shapes = _input_shapes(bottom_up, in_features)
        numbers = [int(math.log2(shape.stride)) for shape in shapes]
        for number, shape in zip(numbers, shapes, strict=True):
            lateral = _conv(shape.channels, out_channels, 1, norm)
            output = _conv(out_channels, out_channels, 3, norm)
            c2_xavier_fill(lateral)
            c2_xavier_fill(output)
            self.add_module(f"fpn_lateral{number}", lateral)
            self.add_module(f"fpn_output{number}", output)
        self.top_block: Any = top_block
        self.bottom_up = bottom_up
        self.in_features = tuple(in_features)
        self._numbers = tuple(numbers)
        self._fuse_type = fuse_type
        self._square_pad = square_pad
        self._size_divisibility = shapes[-1].stride

        extra: int = 0 if top_block is None else self.top_block.num_levels
        levels = range(numbers[0], numbers[-1] + 1 + extra)
        self._out_features = [f"p{level}" for level in levels]
        self._out_feature_strides = {f"p{level}": 2**level for level in levels}
        self._out_feature_channels = dict.fromkeys(self._out_features, out_channels)
        if top_block is not None:
            _check_top_block(top_block, bottom_up.output_shape(), self._out_features[:-extra])

    @property
    def size_divisibility(self) -> int:
        """The stride of the coarsest of ``in_features``."""
        return self._size_divisibility

    @property
    def padding_constraints(self) -> dict[str, int]:
        """``square_size``: the side of the square to pad to, 0 for none."""
        return {"square_size": self._square_pad}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W), H and W multiples of ``size_divisibility``, to the levels.

        Each level is (N, out_channels, H / stride, W / stride); those of the top block are
        rounded up.
        """
        bottom_up = self.bottom_up(x)
        levels: dict[str, Tensor] = {}
        coarser = None
        for number, name in reversed(list(zip(self._numbers, self.in_features, strict=True))):
            merged = getattr(self, f"fpn_lateral{number}")(bottom_up[name])
            if coarser is not None:
                merged = merged + F.interpolate(coarser, scale_factor=2.0, mode="nearest")
                if self._fuse_type == "avg":
                    merged = merged / 2
            levels[f"p{number}"] = getattr(self, f"fpn_output{number}")(merged)
            coarser = merged
        if self.top_block is not None:
            start = self.top_block.in_feature
            top = self.top_block(bottom_up[start] if start in bottom_up else levels[start])
            levels.update(zip(self._out_features[-len(top) :], top, strict=True))
        return {name: levels[name] for name in self._out_features}


class LastLevelMaxPool(nn.Module):
    """Makes p6 out of p5: every second row and column."""

    num_levels = 1
    in_feature = "p5"

    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) to one feature (N, C, H / 2, W / 2), rounded up."""
        return [F.max_pool2d(x, kernel_size=1, stride=2)]


class LastLevelP6P7(nn.Module):
    """Makes p6 and p7 by two 3x3 convolutions of stride 2, as in RetinaNet (arXiv:1708.02002).

    Args:
        in_channels: channels of ``in_feature``.
        out_channels: channels of p6 and p7.
        in_feature: "res5" (RetinaNet), or "p5".
    """

    num_levels = 2

    def __init__(self, in_channels: int, out_channels: int, in_feature: str = "res5"):
        # Imported here, because fvcore.nn compiles losses when it is imported.
        from fvcore.nn.weight_init import c2_xavier_fill

        super().__init__()
        self.in_feature = in_feature
        self.p6 = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(out_channels, out_channels, 3, stride=2, padding=1)
        for conv in (self.p6, self.p7):
            c2_xavier_fill(conv)

    def forward(self, c5: Tensor) -> list[Tensor]:
        """(N, in_channels, H, W) to p6, half its size, and p7, a quarter, rounded up."""
        p6 = self.p6(c5)
        return [p6, self.p7(F.relu(p6))]


@BACKBONE_REGISTRY.register()
def build_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet and FPN of ``MODEL.RESNETS`` and ``MODEL.FPN``, p6 taken from p5 (Mask R-CNN)."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    return _fpn(cfg, bottom_up, LastLevelMaxPool())


@BACKBONE_REGISTRY.register()
def build_retinanet_resnet_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> FPN:
    """ResNet and FPN of ``MODEL.RESNETS`` and ``MODEL.FPN``, p6 and p7 made from res5."""
    bottom_up = build_resnet_backbone(cfg, input_shape)
    shapes = bottom_up.output_shape()
    if "res5" not in shapes:
        raise ValueError(
            "MODEL.RESNETS.OUT_FEATURES: p6 and p7 are made from res5, add it to "
            f"{list(cfg.MODEL.RESNETS.OUT_FEATURES)}"
        )
    top_block = LastLevelP6P7(shapes["res5"].channels, cfg.MODEL.FPN.OUT_CHANNELS)
    return _fpn(cfg, bottom_up, top_block)


def _fpn(cfg: CfgNode, bottom_up: Backbone, top_block: nn.Module) -> FPN:
    options = cfg.MODEL.FPN
    return FPN(
        bottom_up,
        options.IN_FEATURES,
        options.OUT_CHANNELS,
        norm=options.NORM,
        top_block=top_block,
        fuse_type=options.FUSE_TYPE,
    )


def _conv(in_channels: int, out_channels: int, size: int, norm: Norm) -> Conv2d:
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=size,
        padding=size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
    )


def _input_shapes(bottom_up: Backbone, in_features: Sequence[str]) -> list[Any]:
    if not isinstance(bottom_up, Backbone):
        raise TypeError(f"FPN: bottom_up must be a Backbone, not a {type(bottom_up).__name__}")
    available: dict[str, Any] = bottom_up.output_shape()
    absent = [name for name in in_features if name not in available]
    if absent or not in_features:
        raise ValueError(
            f"FPN: in_features (MODEL.FPN.IN_FEATURES) must be some of {list(available)}, "
            f"not {list(in_features)}"
        )
    shapes = [available[name] for name in in_features]
    for finer, coarser in pairwise(shapes):
        if coarser.stride != 2 * finer.stride:
            raise ValueError(
                f"FPN: each of in_features {list(in_features)} must have twice the stride of "
                f"the one before, the strides are {[shape.stride for shape in shapes]}"
            )
    return shapes


def _check_top_block(
    top_block: nn.Module, bottom_up: dict[str, ShapeSpec], levels: Sequence[str]
) -> None:
    known = [*bottom_up, *levels]
    if top_block.in_feature not in known:
        raise ValueError(
            f"FPN: the top block starts from {top_block.in_feature!r}, there are only {known}"
        )
