"""A row of the table of keys, and the sentence that refuses a value."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from fcos.config.keys.kinds import Kind

__all__ = ["DETECTRON2", "Group", "Key", "group", "shown"]

DETECTRON2 = object()  # instead of a default: the key is detectron2's, and so is its default

_MOST_SHOWN = 80  # characters of a value that a message shows


@dataclasses.dataclass(frozen=True)
class Key:
    """One key of the config.

    Attributes:
        name: in full, such as MODEL.FCOS.NORM; inside of :func:`group`, below the group's.
        kind: what it may be.
        meaning: what it does, in sentences, with units.
        default: of a key of FCOS.
        read_with: name of the key that has to be on for this one to be read.
    """

    name: str
    kind: Kind
    meaning: str
    default: Any = DETECTRON2
    read_with: str = ""

    def refusal(self, value: Any, default: Any = None) -> str:
        """Return the sentence on a value that is not allowed: which, where, what to set instead.

        Args:
            value: whatever it is.
            default: named where no value is near. None, or one that is empty, is not.
        """
        instead = self.kind.instead(value)
        if instead == self.kind.words and default and self.kind.accepts(default):
            instead += f"; the default is {default!r}"
        return f"{self.name} is {shown(value)}: set it to {instead}."


@dataclasses.dataclass(frozen=True)
class Group:
    """Keys of one purpose, as the reference page lists them."""

    title: str
    keys: tuple[Key, ...]


def group(prefix: str, purpose: str, *keys: Key) -> Group:
    """Make a group of keys that are all below ``prefix``, such as MODEL.FCOS; "" is the root."""
    start = f"{prefix}." if prefix else ""
    named = (
        dataclasses.replace(
            key, name=start + key.name, read_with=key.read_with and start + key.read_with
        )
        for key in keys
    )
    return Group(f"{prefix}: {purpose}" if prefix else purpose, tuple(named))


def shown(value: Any) -> str:
    """Return a value as a message shows it, on one line and cut where it is long."""
    if isinstance(value, (str, list, tuple)):
        value = value[:_MOST_SHOWN]
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of so many digits
        return f"a number of more than {sys.get_int_max_str_digits():,} digits"
    except RecursionError:
        return "lists that lie too deep inside each other"
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
