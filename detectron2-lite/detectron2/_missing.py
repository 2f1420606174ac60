"""Clear errors for the names of detectron2 that detectron2-lite leaves out.

To add a package or module to lite:

* At the end of a module (a package's ``__init__`` above all)::

      from detectron2._missing import missing_names

      __getattr__ = missing_names(__name__)

  Then a public name that detectron2's module of this path has and lite's lacks raises
  ``NotImplementedError`` when it is imported or read.  Names that detectron2 lacks too (and every
  ``__dunder__``) raise ``AttributeError`` as usual.  ``_names.py`` has all names of detectron2, so
  it need not change when lite gains one.

* A missing submodule (``import detectron2.export``) needs no code.

* A feature that is switched on by the config or by an argument::

      raise missing("MODEL.KEYPOINT_ON (keypoint detection)")

* ``detectron2.utils.registry.Registry`` does the same for a registered class that lite lacks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

from detectron2._names import MODULES, PUBLIC_NAMES, REGISTERED

INSTALL_GUIDE = "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"


def missing(what: str) -> NotImplementedError:
    """Make the error to raise for a name or feature that only the full detectron2 has."""
    return NotImplementedError(
        f"{what} is not part of detectron2-lite; the full detectron2 has it, "
        f"see its installation guide: {INSTALL_GUIDE}"
    )


def missing_names(module: str) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module (see the docstring of this file).

    Args:
        module: dotted path, the ``__name__`` of the calling module.
    """
    left_out = frozenset(PUBLIC_NAMES.get(module, "").split())

    def __getattr__(name: str) -> Any:
        path = f"{module}.{name}"
        # AttributeError for a submodule of lite that is not imported yet: this makes
        # `from package import submodule` import it.
        if (name in left_out or path in MODULES) and not _exists(path):
            raise missing(path)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return __getattr__


def is_left_out(registry: str, name: str) -> bool:
    """Whether detectron2 registers ``name`` in its registry called ``registry``."""
    return name in REGISTERED.get(registry, "").split()


def _exists(path: str) -> bool:
    """Return whether lite has the module; its parent is imported already."""
    if path in sys.modules:
        return True
    parent = sys.modules[path.rpartition(".")[0]]
    search = getattr(parent, "__path__", None)
    if search is None:
        return False
    return PathFinder.find_spec(path, search) is not None


class _LeftOutModules(MetaPathFinder):
    """The last import finder, so it is asked only for modules that no other one found."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MODULES:
            raise missing(fullname)
        return None


def install() -> None:
    """Add the finder of left-out submodules; ``detectron2/__init__`` calls this once."""
    if not any(isinstance(finder, _LeftOutModules) for finder in sys.meta_path):
        sys.meta_path.append(_LeftOutModules())
