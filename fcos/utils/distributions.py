"""The one place that asks which detectron2 is installed: to tell when there are two."""

from __future__ import annotations

from importlib import metadata

__all__ = ["two_detectron2s"]

NAMES = ("detectron2", "detectron2-lite")


def two_detectron2s() -> str | None:
    """Return a sentence if both distributions that are imported as detectron2 are installed."""
    found = []
    for name in NAMES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            return None
    return (
        f"{' and '.join(found)} are both installed. Both are imported as detectron2, so their "
        "files mix: uninstall both, then install the one that you want."
    )
