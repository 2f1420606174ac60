"""Objects by name: registries of classes, and of anything by its dotted path."""

from __future__ import annotations

import importlib
from typing import Any

from fvcore.common.registry import Registry as _FvcoreRegistry

from detectron2._missing import is_left_out, missing

__all__ = ["Registry", "locate"]


class Registry(_FvcoreRegistry):
    """fvcore's registry, which also knows what detectron2 registers and lite leaves out."""

    def get(self, name: str) -> Any:
        """The object registered as ``name``.

        Raises:
            NotImplementedError: only the full detectron2 registers this name.
            KeyError: nobody does; the message lists what there is.
        """
        if name not in self and is_left_out(self._name, name):
            raise missing(f"{name} (of the {self._name} registry)")
        return super().get(name)


def locate(name: str) -> Any:
    """The module, class or function at a dotted path, such as ``torch.optim.SGD``.

    Nested classes (``package.module.Outer.Inner``) and builtins (``builtins.len``, or only
    ``len``) are found too.

    Raises:
        ImportError: nothing is there.
    """
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError as error:
            # Absent: try a shorter prefix. But do not hide that a module that exists lacks a
            # dependency.
            if error.name is None or not name.startswith(error.name):
                raise
            continue
        return _descend(found, parts[length:], name)
    return _descend(importlib.import_module("builtins"), parts, name)


def _descend(found: Any, attributes: list[str], name: str) -> Any:
    for attribute in attributes:
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise ImportError(f"cannot find {name!r}: {found!r} has no {attribute!r}") from None
    return found
