"""Nested mappings, such as configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["flat"]


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested mappings under dotted keys, such as ``MODEL.MASK_ON``.

    Args:
        node: keys are strings. A mapping that is empty counts as a value.
        prefix: put before all keys.
    """
    values: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            values.update(flat(value, f"{prefix}{key}."))
        else:
            values[f"{prefix}{key}"] = value
    return values
