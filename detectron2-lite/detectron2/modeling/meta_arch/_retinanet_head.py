"""The head of RetinaNet (arXiv:1708.02002, section 4)."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from detectron2.config import CfgNode, configurable
from detectron2.layers import CycleBatchNormList, ShapeSpec, get_norm
from detectron2.modeling.anchor_generator import build_anchor_generator

logger = logging.getLogger(__name__)

_Norm = str | Callable[[int], nn.Module] | None


class RetinaNetHead(nn.Module):
    """Two towers of convolutions, for classes and for boxes, shared by all levels."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: list[ShapeSpec],
        num_classes: int,
        num_anchors: int,
        conv_dims: list[int],
        norm: _Norm = "",
        prior_prob: float = 0.01,
    ):
        """
        Args:
            input_shape: of the levels; all have the same channels.
            num_classes: K.
            num_anchors: A, at each location.
            conv_dims: channels of the convolutions of a tower.
            norm: after each of them, as :func:`detectron2.layers.get_norm` takes it; "BN" and
                "SyncBN" keep the statistics of each level apart.
            prior_prob: what an untrained head gives as the probability of every class.
        """
        super().__init__()
        self._num_levels = len(input_shape)
        norm = _norm_of_levels(norm, self._num_levels)
        cls_subnet: list[nn.Module] = []
        bbox_subnet: list[nn.Module] = []
        channels = input_shape[0].channels
        for width in conv_dims:
            for tower in (cls_subnet, bbox_subnet):
                tower.append(nn.Conv2d(channels, width, 3, padding=1))
                tower += [
                    layer for layer in (get_norm(norm, width), nn.ReLU()) if layer is not None
                ]
            channels = width
        self.cls_subnet = nn.Sequential(*cls_subnet)
        self.bbox_subnet = nn.Sequential(*bbox_subnet)
        self.cls_score = nn.Conv2d(channels, num_anchors * num_classes, 3, padding=1)
        self.bbox_pred = nn.Conv2d(channels, num_anchors * 4, 3, padding=1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)
        nn.init.constant_(self.cls_score.bias, -math.log((1 - prior_prob) / prior_prob))

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: list[ShapeSpec]) -> dict[str, Any]:
        """The arguments by MODEL.RETINANET, and the number of anchors by MODEL.ANCHOR_GENERATOR."""
        node = cfg.MODEL.RETINANET
        numbers = build_anchor_generator(cfg, input_shape).num_anchors
        if len(set(numbers)) != 1:
            raise ValueError(
                "MODEL.ANCHOR_GENERATOR: RetinaNet needs as many anchors on every level, "
                f"these are {numbers}"
            )
        return {
            "input_shape": input_shape,
            "num_classes": node.NUM_CLASSES,
            "num_anchors": numbers[0],
            "conv_dims": [input_shape[0].channels] * node.NUM_CONVS,
            "norm": node.NORM,
            "prior_prob": node.PRIOR_PROB,
        }

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Features of each level to class logits (N, A * K, H, W) and deltas (N, A * 4, H, W)."""
        assert len(features) == self._num_levels, f"features: expected {self._num_levels} levels"
        logits, deltas = [], []
        for feature in features:
            logits.append(self.cls_score(self.cls_subnet(feature)))
            deltas.append(self.bbox_pred(self.bbox_subnet(feature)))
        return logits, deltas


def _norm_of_levels(norm: _Norm, num_levels: int) -> _Norm:
    """A norm whose statistics, where it takes them of a batch, are those of one level."""
    if norm in ("BN", "SyncBN"):
        batch_norm = nn.BatchNorm2d if norm == "BN" else nn.SyncBatchNorm
        logger.info(
            f"RetinaNetHead: {norm} keeps its own statistics for each of {num_levels} levels"
        )
        return lambda channels: CycleBatchNormList(
            num_levels, bn_class=batch_norm, num_features=channels
        )
    return norm
