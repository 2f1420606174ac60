"""The base class of backbones: from images to named feature maps."""

from __future__ import annotations

from abc import ABCMeta, abstractmethod

from torch import Tensor, nn

from detectron2.layers import ShapeSpec

__all__ = ["Backbone"]


class Backbone(nn.Module, metaclass=ABCMeta):
    """Base class of backbones.

    A subclass either overrides :meth:`output_shape` or sets three attributes: ``_out_features``
    (list of names) and the dicts ``_out_feature_channels`` and ``_out_feature_strides``.
    """

    _out_features: list[str]
    _out_feature_channels: dict[str, int]
    _out_feature_strides: dict[str, int]

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps by name, such as "res4", of images (N, C, H, W)."""

    @property
    def size_divisibility(self) -> int:
        """Height and width of the input must be multiples of this; 0 if anything will do."""
        return 0

    @property
    def padding_constraints(self) -> dict[str, int]:
        """What else the input must be padded to.

        The optional keys are ``size_divisibility``, and ``square_size``: the side in pixels of
        the square that every input has to fill (0: no square).
        """
        return {}

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels, and stride in pixels of the input image, of each output by name."""
        channels, strides = self._out_feature_channels, self._out_feature_strides
        return {
            name: ShapeSpec(channels=channels[name], stride=strides[name])
            for name in self._out_features
        }
