"""ResNet (arXiv:1512.03385) and ResNeXt (arXiv:1611.05431)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from detectron2._missing import missing_names
from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling.backbone._resnet_blocks import (
    BasicBlock,
    BasicStem,
    BottleneckBlock,
    DeformBottleneckBlock,
)
from detectron2.modeling.backbone.backbone import Backbone
from detectron2.modeling.backbone.build import BACKBONE_REGISTRY

__all__ = [
    "BasicBlock",
    "BasicStem",
    "BottleneckBlock",
    "DeformBottleneckBlock",
    "ResNet",
    "ResNetBlockBase",
    "build_resnet_backbone",
    "make_stage",
]

ResNetBlockBase = CNNBlockBase

BLOCKS_PER_STAGE = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class ResNet(Backbone):
    """A stem and stages "res2", "res3", ... of blocks.

    Args:
        stem: a :class:`CNNBlockBase`.
        stages: lists of blocks, as :meth:`make_stage` returns them. Those after the last one
            that ``out_features`` needs are left out.
        num_classes: if given, a linear layer on the mean over all pixels gives class logits.
        out_features: of "stem", "res2", "res3", ... and "linear", those to return; by default
            the last.
        freeze_at: see :meth:`freeze`.

    Raises:
        ValueError: ``out_features`` names what this ResNet does not have, or a stage is empty.
    """

    def __init__(
        self,
        stem: CNNBlockBase,
        stages: Sequence[Sequence[CNNBlockBase]],
        num_classes: int | None = None,
        out_features: Sequence[str] | None = None,
        freeze_at: int = 0,
    ):
        super().__init__()
        names = [f"res{number}" for number in range(2, 2 + len(stages))]
        _check_stages(names, stages)
        known = ["stem", *names] + ([] if num_classes is None else ["linear"])
        self._out_features = known[-1:] if out_features is None else list(out_features)
        _check_out_features(self._out_features, known)
        if "linear" not in self._out_features:
            last = max(known.index(name) for name in self._out_features)
            names = names[:last]

        self.num_classes = num_classes
        self.stem = stem
        self.stage_names = tuple(names)
        self._out_feature_strides = {"stem": stem.stride}
        self._out_feature_channels = {"stem": stem.out_channels}
        stride, channels = stem.stride, stem.out_channels
        for name, blocks in zip(names, stages, strict=False):
            self.add_module(name, nn.Sequential(*blocks))
            for block in blocks:
                stride *= block.stride
            channels = blocks[-1].out_channels
            self._out_feature_strides[name] = stride
            self._out_feature_channels[name] = channels
        if num_classes is not None:
            self.avgpool = nn.AdaptiveAvgPool2d(1)
            self.linear = nn.Linear(channels, num_classes)
            # Small, so that training starts from nearly equal class scores.
            nn.init.normal_(self.linear.weight, std=0.01)
        self.freeze(freeze_at)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images (N, C, H, W) to the features ``out_features``, from fine to coarse.

        "linear" is (N, num_classes); any other feature is (N, channels, H / stride, W / stride),
        rounded up.
        """
        if x.dim() != 4:
            raise ValueError(f"ResNet: expected images (N, C, H, W), got {tuple(x.shape)}")
        outputs = {}
        for name in ("stem", *self.stage_names):
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        if "linear" in self._out_features:
            outputs["linear"] = self.linear(self.avgpool(x).flatten(1))
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of each feature that is returned; "linear" has no stride."""
        channels = {**self._out_feature_channels, "linear": self.num_classes}
        return {
            name: ShapeSpec(channels=channels[name], stride=self._out_feature_strides.get(name))
            for name in self._out_features
        }

    def freeze(self, freeze_at: int = 0) -> ResNet:
        """Stop training of the first ``freeze_at`` parts: 1 is the stem, 2 adds "res2", ...

        Their parameters lose ``requires_grad`` and their BatchNorm becomes FrozenBatchNorm2d.

        Returns:
            This network.
        """
        if freeze_at >= 1:
            self.stem.freeze()
        for name in self.stage_names[: max(freeze_at - 1, 0)]:
            for block in getattr(self, name):
                block.freeze()
        return self

    @staticmethod
    def make_stage(
        block_class: type[CNNBlockBase],
        num_blocks: int,
        *,
        in_channels: int,
        out_channels: int,
        **kwargs: Any,
    ) -> list[CNNBlockBase]:
        """The blocks of one stage.

        Args:
            block_class: class of every block.
            num_blocks: how many.
            in_channels: channels into the first block.
            out_channels: channels out of each block.
            kwargs: further arguments of each block. That of the name ``<argument>_per_block`` is
                a list of one value for each block, for example ``stride_per_block=[2, 1, 1]``.

        Raises:
            ValueError: a list of another length, or an argument given in both ways.
        """
        suffix = "_per_block"
        listed = {key: kwargs.pop(key) for key in list(kwargs) if key.endswith(suffix)}
        for key, values in listed.items():
            if key.removesuffix(suffix) in kwargs:
                raise ValueError(f"make_stage: give {key.removesuffix(suffix)} or {key}, not both")
            if len(values) != num_blocks:
                raise ValueError(
                    f"make_stage: {key} must have {num_blocks} values, one for each block, "
                    f"it has {len(values)}"
                )
        blocks = []
        for index in range(num_blocks):
            own = {key.removesuffix(suffix): values[index] for key, values in listed.items()}
            blocks.append(block_class(in_channels, out_channels, **own, **kwargs))
            in_channels = out_channels
        return blocks

    @staticmethod
    def make_default_stages(
        depth: int, block_class: type[CNNBlockBase] | None = None, **kwargs: Any
    ) -> list[list[CNNBlockBase]]:
        """The four stages of a ResNet of 18, 34, 50, 101 or 152 layers.

        Args:
            depth: the number of layers.
            block_class: by default :class:`BasicBlock` up to 34 layers, then
                :class:`BottleneckBlock`. From 50 layers on it must take ``bottleneck_channels``.
            kwargs: further arguments of :meth:`make_stage`, apart from strides and channels.
        """
        blocks = _blocks_per_stage(depth)
        is_deep = depth >= 50
        block_class = block_class or (BottleneckBlock if is_deep else BasicBlock)
        channels, in_channels = (256 if is_deep else 64), 64
        stages = []
        for index, num_blocks in enumerate(blocks):
            stride = 1 if index == 0 else 2
            width = {"bottleneck_channels": channels // 4} if is_deep else {}
            stage = ResNet.make_stage(
                block_class,
                num_blocks,
                in_channels=in_channels,
                out_channels=channels,
                stride_per_block=[stride] + [1] * (num_blocks - 1),
                **width,
                **kwargs,
            )
            stages.append(stage)
            in_channels, channels = channels, channels * 2
        return stages


def make_stage(*args: Any, **kwargs: Any) -> list[CNNBlockBase]:
    """Older name of :meth:`ResNet.make_stage`."""
    return ResNet.make_stage(*args, **kwargs)


@BACKBONE_REGISTRY.register()
def build_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """The ResNet that ``MODEL.RESNETS`` and ``MODEL.BACKBONE.FREEZE_AT`` describe.

    Args:
        cfg: the whole config.
        input_shape: its ``channels`` are those of the images.

    Raises:
        ValueError: a key has a value that this depth cannot have.
    """
    options = cfg.MODEL.RESNETS
    _check_options(options)
    stem = BasicStem(input_shape.channels, options.STEM_OUT_CHANNELS, options.NORM)
    return ResNet(
        stem,
        _stages_from_config(options),
        out_features=options.OUT_FEATURES,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
    )


def _stages_from_config(options: CfgNode) -> list[list[CNNBlockBase]]:
    """The stages up to the last one in ``OUT_FEATURES``; ``options`` is ``MODEL.RESNETS``."""
    in_channels, channels = options.STEM_OUT_CHANNELS, options.RES2_OUT_CHANNELS
    width = options.NUM_GROUPS * options.WIDTH_PER_GROUP
    stages = []
    for number, num_blocks in enumerate(_blocks_per_stage(options.DEPTH), start=2):
        dilation = options.RES5_DILATION if number == 5 else 1
        stride = 1 if number == 2 or dilation == 2 else 2
        block: type[CNNBlockBase] = BasicBlock
        extra: dict[str, Any] = {}
        if options.DEPTH >= 50:
            block = BottleneckBlock
            extra = {
                "bottleneck_channels": width,
                "num_groups": options.NUM_GROUPS,
                "stride_in_1x1": options.STRIDE_IN_1X1,
                "dilation": dilation,
            }
        if options.DEFORM_ON_PER_STAGE[number - 2]:
            block = DeformBottleneckBlock
            extra["deform_modulated"] = options.DEFORM_MODULATED
            extra["deform_num_groups"] = options.DEFORM_NUM_GROUPS
        stage = ResNet.make_stage(
            block,
            num_blocks,
            in_channels=in_channels,
            out_channels=channels,
            stride_per_block=[stride] + [1] * (num_blocks - 1),
            norm=options.NORM,
            **extra,
        )
        stages.append(stage)
        in_channels, channels, width = channels, channels * 2, width * 2
    return stages


def _check_options(options: CfgNode) -> None:
    is_deformable = options.DEFORM_ON_PER_STAGE
    if len(is_deformable) != 4:
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: must have 4 values, for res2 to res5, not "
            f"{len(is_deformable)}"
        )
    if options.RES5_DILATION not in (1, 2):
        raise ValueError(
            f"MODEL.RESNETS.RES5_DILATION: must be 1 or 2, not {options.RES5_DILATION}"
        )
    _blocks_per_stage(options.DEPTH)
    if options.DEPTH >= 50:
        return
    if any(is_deformable):
        raise ValueError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE: must be False for all stages of a "
            f"ResNet-{options.DEPTH}, which has no bottlenecks"
        )
    # The basic block has neither groups nor dilation, and makes as many channels as it takes.
    for key, value in (("RES2_OUT_CHANNELS", 64), ("RES5_DILATION", 1), ("NUM_GROUPS", 1)):
        if options[key] != value:
            raise ValueError(
                f"MODEL.RESNETS.{key}: must be {value} for a ResNet-{options.DEPTH}, "
                f"not {options[key]}"
            )


def _blocks_per_stage(depth: int) -> tuple[int, int, int, int]:
    if depth not in BLOCKS_PER_STAGE:
        raise ValueError(f"ResNet: depth must be one of {sorted(BLOCKS_PER_STAGE)}, not {depth}")
    return BLOCKS_PER_STAGE[depth]


def _check_stages(names: Sequence[str], stages: Sequence[Sequence[CNNBlockBase]]) -> None:
    for name, blocks in zip(names, stages, strict=True):
        if not blocks:
            raise ValueError(f"ResNet: stage {name} has no blocks")
        for block in blocks:
            if not isinstance(block, CNNBlockBase):
                raise TypeError(
                    f"ResNet: blocks must be CNNBlockBase, {name} has a {type(block).__name__}"
                )


def _check_out_features(wanted: Sequence[str], known: Sequence[str]) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        raise ValueError(
            f"ResNet: out_features (MODEL.RESNETS.OUT_FEATURES) must be some of {known}, "
            f"not {list(wanted)}"
        )


__getattr__ = missing_names(__name__)
