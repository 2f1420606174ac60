"""Changes to a config: which ones could be tried, and how they are written down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fcos.config import CfgNode

__all__ = [
    "Changes",
    "as_options",
    "as_yaml",
    "center_variants",
    "changed",
    "level_variants",
    "size_variants",
]

Changes = dict[str, Any]  # key of the config -> value

_FCOS_BACKBONES = ("build_fcos_resnet_fpn_backbone", "build_fcos_timm_fpn_backbone")
_FACTORS = (8, 6, 12, 4, 16, 3, 2)  # strides that a level's largest distance has; 8 is the paper's
_ENLARGED = (1.25, 1.5, 2)
_RADII = (1.5, 1.0, 2.0)


def changed(cfg: CfgNode, changes: Changes) -> CfgNode:
    """Return a copy of a config with other values."""
    copy = cfg.clone()
    copy.defrost()
    copy.merge_from_list([word for pair in changes.items() for word in pair])
    return copy


def as_yaml(changes: Changes, base: str = "") -> str:
    """Write changes as a config file, on top of the file ``base`` if it is given."""
    tree: dict[str, Any] = {"_BASE_": base} if base else {}
    for key, value in changes.items():
        *path, last = key.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    text: str = CfgNode(tree).dump(sort_keys=False, default_flow_style=None, width=95)
    return text.rstrip()


def as_options(changes: Changes) -> str:
    """Write changes as KEY VALUE ... of a command line."""
    words = []
    for key, value in changes.items():
        text = str(list(value) if isinstance(value, (list, tuple)) else value)
        words.append(f'{key} "{text}"' if " " in text else f"{key} {text}")
    return " ".join(words)


def level_variants(cfg: CfgNode) -> list[Changes]:
    """Other limits between the levels; the same on levels that begin at P2."""
    variants = [_limits(list(cfg.MODEL.FCOS.FPN_STRIDES), factor) for factor in _FACTORS]
    finer = _finer_levels(cfg)
    if finer:
        strides = finer["MODEL.FCOS.FPN_STRIDES"]
        variants += [{**finer, **_limits(strides, factor)} for factor in _FACTORS]
    return variants


def _limits(strides: list[int], factor: int) -> Changes:
    return {"MODEL.FCOS.SIZES_OF_INTEREST": [factor * stride for stride in strides[:-1]]}


def _finer_levels(cfg: CfgNode) -> Changes:
    """Return the keys for levels from P2 on, as many as now; none where it cannot be done."""
    node = cfg.MODEL.FCOS
    features, top = list(node.IN_FEATURES), node.TOP_LEVELS
    if cfg.MODEL.BACKBONE.NAME not in _FCOS_BACKBONES or features[0] != "p3":
        return {}
    kept, strides = (features[:-1], node.FPN_STRIDES[:-1]) if top else (features, node.FPN_STRIDES)
    stages = ["res2", *cfg.MODEL.FPN.IN_FEATURES]
    changes: Changes = {"MODEL.FPN.IN_FEATURES": stages}
    if _FCOS_BACKBONES[0] == cfg.MODEL.BACKBONE.NAME:
        changes["MODEL.RESNETS.OUT_FEATURES"] = ["res2", *cfg.MODEL.RESNETS.OUT_FEATURES]
    return changes | {
        "MODEL.FCOS.TOP_LEVELS": max(top - 1, 0),
        "MODEL.FCOS.IN_FEATURES": ["p2", *kept],
        "MODEL.FCOS.FPN_STRIDES": [4, *strides],
    }


def size_variants(cfg: CfgNode) -> list[Changes]:
    """Larger images, in training and evaluation alike."""
    node, keys = cfg.INPUT, ("MIN_SIZE_TRAIN", "MAX_SIZE_TRAIN", "MIN_SIZE_TEST", "MAX_SIZE_TEST")
    if not np.all(node.MIN_SIZE_TRAIN) or not node.MIN_SIZE_TEST:
        return []  # not resized at all
    return [{f"INPUT.{key}": _larger(node[key], factor) for key in keys} for factor in _ENLARGED]


def _larger(size: Any, factor: float) -> Any:
    if isinstance(size, (list, tuple)):
        return [_larger(each, factor) for each in size]
    return math.ceil(size * factor / 8) * 8


def center_variants(cfg: CfgNode) -> list[Changes]:
    return [
        {"MODEL.FCOS.CENTER_SAMPLE": True, "MODEL.FCOS.POS_RADIUS": radius} for radius in _RADII
    ]
