"""Catalogs: look up by name a dataset's items, and its metadata."""

from __future__ import annotations

import logging
import re
from collections import UserDict
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from detectron2._missing import missing, missing_names

__all__ = ["DatasetCatalog", "Metadata", "MetadataCatalog"]

__getattr__ = missing_names(__name__)

logger = logging.getLogger(__name__)

# Builtin datasets of detectron2 that detectron2-lite does not register.
_LEFT_OUT = re.compile(r"keypoints_coco_|coco_.*_panoptic|lvis_|cityscapes_|ade20k_")


class _DatasetCatalog(UserDict):
    """Names of datasets, each with a function that returns the dataset's items.

    An item is usually a dict in detectron2's dataset format.  The function is called anew each
    time, and has to return the same items in the same order.
    """

    def register(self, name: str, func: Callable[[], Any]) -> None:
        """Make a dataset known.

        Raises:
            AssertionError: ``func`` is no function, or the name is taken.
        """
        if not callable(func):
            raise AssertionError(
                f"DatasetCatalog.register: dataset '{name}' needs a function that returns its "
                f"items, got a {type(func).__name__}"
            )
        if name in self:
            raise AssertionError(f"Dataset '{name}' is already registered!")
        self[name] = func

    def get(self, name: str) -> Any:  # type: ignore[override]  # no default
        """Call the function of a dataset.

        Returns:
            Its items.

        Raises:
            KeyError: no dataset of this name was registered.
            NotImplementedError: it is a builtin one that detectron2-lite leaves out.
        """
        if name not in self:
            if _LEFT_OUT.match(name):
                raise missing(f"The builtin dataset '{name}'")
            known = ", ".join(self)
            raise KeyError(f"Dataset '{name}' is not registered. Registered are: {known}")
        return self[name]()

    def list(self) -> list[str]:
        """All names."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forget a dataset (its metadata stays)."""
        del self[name]

    def __str__(self) -> str:
        return f"DatasetCatalog(registered datasets: {', '.join(self)})"

    __repr__ = __str__


class Metadata(SimpleNamespace):
    """What is known about a dataset as a whole: attributes that can be set once.

    For example ``thing_classes``, the names of the classes in the order of their ids.
    """

    name: str = "N/A"

    _RENAMED = {
        "class_names": "thing_classes",
        "dataset_id_to_contiguous_id": "thing_dataset_id_to_contiguous_id",
        "stuff_class_names": "stuff_classes",
    }

    def __getattr__(self, key: str) -> Any:
        """Only called for what is not there.

        Raises:
            AttributeError: says what there is.
        """
        if key in self._RENAMED:
            return getattr(self, self._new_name(key))
        known = ", ".join(vars(self)) or "nothing"
        raise AttributeError(f"The metadata of dataset '{self.name}' has no '{key}', only: {known}")

    def __setattr__(self, key: str, value: Any) -> None:
        """Set an attribute; to the same value as often as you like.

        Raises:
            AssertionError: it has another value already.
        """
        key = self._new_name(key)
        present = vars(self).setdefault(key, value)
        if present != value:
            raise AssertionError(
                f"Attribute '{key}' in the metadata of dataset '{self.name}' is already set and "
                f"cannot get a different value!\nIt is {present}\nbut should become {value}"
            )

    def _new_name(self, key: str) -> str:
        if key not in self._RENAMED:
            return key
        logger.warning("Metadata '%s' is called '%s' now", key, self._RENAMED[key])
        return self._RENAMED[key]

    def as_dict(self) -> dict[str, Any]:
        """A copy as a dict."""
        return dict(vars(self))

    def set(self, **kwargs: Any) -> Metadata:
        """Set several attributes; returns the object itself."""
        for key, value in kwargs.items():
            setattr(self, key, value)
        return self

    def get(self, key: str, default: Any = None) -> Any:
        """An attribute, or ``default`` if there is none."""
        return getattr(self, key, default)


class _MetadataCatalog(UserDict):
    """Names of datasets, each with its ``Metadata``."""

    def get(self, name: str) -> Metadata:  # type: ignore[override]  # no default
        """The metadata of a dataset: the same object each time, empty the first time.

        Raises:
            AssertionError: the name is empty.
        """
        if not name:
            raise AssertionError("MetadataCatalog.get: the name of a dataset is empty")
        return self.setdefault(name, Metadata(name=name))

    def list(self) -> list[str]:
        """The names of all datasets that have metadata."""
        return [*self]

    def remove(self, name: str) -> None:
        """Forget the metadata of a dataset."""
        del self[name]

    def __str__(self) -> str:
        return f"MetadataCatalog(registered metadata: {', '.join(self)})"

    __repr__ = __str__


DatasetCatalog = _DatasetCatalog()
MetadataCatalog = _MetadataCatalog()
