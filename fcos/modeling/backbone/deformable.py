"""Stages of a ResNet with deformable 3x3 convolutions (arXiv:1703.06211, arXiv:1811.11168)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.layers import CNNBlockBase, ShapeSpec
from detectron2.modeling import ResNet, build_resnet_backbone
from detectron2.modeling.backbone.resnet import BottleneckBlock
from fcos.config.checks import check_resnet
from fcos.layers import as_deformable, split_offsets

STAGES = ("res2", "res3", "res4", "res5")


class DeformableBottleneck(CNNBlockBase):
    """A bottleneck block whose 3x3 convolution is deformable.

    Its parameters have the names of detectron2's block of this kind. That one needs a compiled
    operator, which has no CPU version for v2; this one runs wherever torchvision does.

    Args:
        block: gives its convolutions; the 3x3 one becomes deformable.
        modulated: v2 instead of v1.
        num_groups: groups of channels that have offsets of their own.
    """

    def __init__(self, block: BottleneckBlock, modulated: bool, num_groups: int) -> None:
        super().__init__(block.in_channels, block.out_channels, block.stride)
        self.modulated = modulated
        self.shortcut = block.shortcut
        self.conv1 = block.conv1
        self.conv2_offset, self.conv2 = as_deformable(block.conv2, modulated, num_groups)
        self.conv3 = block.conv3

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        narrow = F.relu_(self.conv1(x))
        offset, mask = split_offsets(self.conv2_offset(narrow), self.modulated)
        residual = self.conv3(F.relu_(self.conv2(narrow, offset, mask)))
        return F.relu(residual + (x if self.shortcut is None else self.shortcut(x)))


def build_resnet(cfg, input_shape: ShapeSpec) -> ResNet:
    """Build detectron2's ResNet, with deformable stages as ``MODEL.RESNETS`` says.

    Args:
        cfg: a config with the keys of detectron2.
        input_shape: the channels of the image.

    Returns:
        The network; its first ``MODEL.BACKBONE.FREEZE_AT`` parts are frozen.

    Raises:
        UserError: see :func:`fcos.config.checks.check_resnet`.
        ValueError: ``DEFORM_NUM_GROUPS`` does not divide the channels.
    """
    check_resnet(cfg)
    options = cfg.MODEL.RESNETS
    is_deformable = options.DEFORM_ON_PER_STAGE
    if not any(is_deformable):
        return build_resnet_backbone(cfg, input_shape)
    plain = cfg.clone()
    plain.defrost()
    plain.MODEL.RESNETS.DEFORM_ON_PER_STAGE = [False] * len(STAGES)
    network = build_resnet_backbone(plain, input_shape)
    wanted = [name for name, is_on in zip(STAGES, is_deformable, strict=True) if is_on]
    _make_deformable(network, wanted, options.DEFORM_MODULATED, options.DEFORM_NUM_GROUPS)
    return network.freeze(cfg.MODEL.BACKBONE.FREEZE_AT)  # the new layers as well


def _make_deformable(
    network: nn.Module, names: Sequence[str], modulated: bool, num_groups: int
) -> None:
    for name in names:
        # A stage beyond the last of OUT_FEATURES is not built.
        stage = getattr(network, name, nn.Sequential())
        for index, block in enumerate(stage):
            try:
                stage[index] = DeformableBottleneck(block, modulated, num_groups)
            except ValueError as error:
                raise ValueError(f"MODEL.RESNETS.DEFORM_NUM_GROUPS: {error}") from None
