"""The table of keys, the defaults of those that FCOS adds, and the check of a config by it."""

from __future__ import annotations

import copy
import functools
from typing import Any

import detectron2.config
from fcos.config.keys import data, detections, detector, evaluation, model, training
from fcos.config.keys.key import DETECTRON2, Group, Key, shown
from fcos.utils.errors import UserError
from fcos.utils.nested import flat

__all__ = ["GROUPS", "TABLE", "add_keys", "check_keys", "default_of"]

GROUPS: tuple[Group, ...] = tuple(
    group
    for part in (model, detector, detections, data, training, evaluation)
    for group in part.GROUPS
)
TABLE: dict[str, Key] = {key.name: key for group in GROUPS for key in group.keys}

_ABSENT = object()


def add_keys(cfg: detectron2.config.CfgNode) -> None:
    """Add the keys that are FCOS's own, with their defaults, to a config of detectron2, in place.

    One that is a mapping takes new keys.
    """
    kind = type(cfg)
    for key in TABLE.values():
        if key.default is DETECTRON2:
            continue
        *parents, last = key.name.split(".")
        node: Any = cfg
        for part in parents:
            node = node.setdefault(part, kind())
        is_mapping = isinstance(key.default, dict)
        node[last] = kind(new_allowed=True) if is_mapping else copy.deepcopy(key.default)


def check_keys(cfg: detectron2.config.CfgNode, *sections: str) -> None:
    """Refuse values that are of the wrong type or out of range, whatever the other keys are.

    Args:
        cfg: a config with the keys of detectron2 and FCOS; those that it lacks are not looked at.
        sections: beginnings of keys, such as "MODEL.FCOS." or "SEED"; by default all keys.

    Raises:
        UserError: about the first such value.
    """
    for name, key in TABLE.items():
        if sections and not name.startswith(sections):
            continue
        value = _value(cfg, name)
        if value is not _ABSENT and not key.kind.accepts(value):
            raise UserError(key.refusal(value, default_of(name)))
    if not sections:
        _check_others(cfg)


def default_of(name: str) -> Any:
    """Return the default of a key of the table; None where this detectron2 lacks the key."""
    default = TABLE[name].default
    if default is not DETECTRON2:
        return default
    value = _value(_detectron2(), name)
    return None if value is _ABSENT else value


def _value(cfg: Any, name: str) -> Any:
    node, way = cfg, name.split(".")
    for number, part in enumerate(way):
        if not isinstance(node, dict):
            raise UserError(
                f"{'.'.join(way[:number])} is {shown(node)}, but it is a group of keys: set one of "
                f"them, such as {name}."
            )
        node = node.get(part, _ABSENT)
        if node is _ABSENT:
            return _ABSENT
    return node


@functools.cache
def _detectron2() -> detectron2.config.CfgNode:
    return detectron2.config.get_cfg()


def _check_others(cfg: detectron2.config.CfgNode) -> None:
    """Refuse None, the one value that detectron2's config takes for keys of every type."""
    nothing = [name for name, value in flat(cfg).items() if value is None and name not in TABLE]
    for name in nothing:
        default = _value(_detectron2(), name)
        if isinstance(default, dict):
            raise UserError(f"{name} is None, but it is a group of keys: set one of them.")
        if default not in (_ABSENT, None):
            raise UserError(f"{name} is None: leave it out; the default is {shown(default)}.")
