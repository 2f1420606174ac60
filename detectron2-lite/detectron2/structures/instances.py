"""``Instances``: the objects of one image, as fields of equal length."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from detectron2._missing import missing_names

__all__ = ["Instances"]

__getattr__ = missing_names(__name__)


class Instances:
    """N objects of one image. Each field holds one entry per object.

    Fields are attributes::

        instances = Instances((480, 640), scores=scores)
        instances.pred_boxes = Boxes(...)     # as long as the other fields
        strong = instances[instances.scores > 0.5]

    A field is anything with ``len()`` that can be indexed as the instances are: a tensor, Boxes,
    masks, a list, an array.  Names that start with an underscore are plain attributes, no fields.
    """

    _image_size: tuple[int, int]
    _fields: dict[str, Any]

    def __init__(self, image_size: tuple[int, int], **kwargs: Any):
        """
        Args:
            image_size: (height, width) of the image, in pixels.
            kwargs: fields.
        """
        self._image_size = image_size
        self._fields = {}
        for name, value in kwargs.items():
            self.set(name, value)

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the image, in pixels."""
        return self._image_size

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.set(name, value)

    def __getattr__(self, name: str) -> Any:
        # Called only if there is no such attribute. `_fields` itself is absent while an object
        # is being unpickled or copied.
        if name == "_fields" or name not in self._fields:
            raise AttributeError(f"Cannot find field '{name}' in the given Instances!")
        return self._fields[name]

    def set(self, name: str, value: Any) -> None:
        """Add or replace a field.

        Raises:
            AssertionError: its length is not that of the fields that are there.
        """
        length = len(value)
        if self._fields:
            assert length == len(self), (
                f"Field '{name}' has {length} entries, these Instances have {len(self)}"
            )
        self._fields[name] = value

    def has(self, name: str) -> bool:
        """Whether there is a field of that name."""
        return name in self._fields

    def remove(self, name: str) -> None:
        """Take a field away; KeyError if there is none."""
        del self._fields[name]

    def get(self, name: str) -> Any:
        """The field of that name; KeyError if there is none."""
        return self._fields[name]

    def get_fields(self) -> dict[str, Any]:
        """All fields by name: the dict itself, so what is changed in it changes here."""
        return self._fields

    def to(self, *args: Any, **kwargs: Any) -> Instances:
        """New instances, each field that has a ``to`` moved by it."""
        moved = Instances(self._image_size)
        for name, value in self._fields.items():
            moved.set(name, value.to(*args, **kwargs) if hasattr(value, "to") else value)
        return moved

    def __getitem__(self, item: int | slice | Tensor) -> Instances:
        """New instances of the objects that ``item`` selects, every field indexed by it.

        An int selects one object and still gives Instances, of length one.
        """
        if type(item) is int:
            if not -len(self) <= item < len(self):
                raise IndexError(f"Instances index {item} out of range for {len(self)} objects")
            item = slice(item, item + 1 or None)
        is_mask = isinstance(item, Tensor) and item.dtype == torch.bool
        if is_mask and self._fields and item.shape == (len(self),):
            # The program waits for a GPU to count them: here once, and not for every field.
            item = item.nonzero()[:, 0]
        selected = Instances(self._image_size)
        for name, value in self._fields.items():
            selected.set(name, value[item])
        return selected

    def __len__(self) -> int:
        for value in self._fields.values():
            return len(value)
        raise NotImplementedError("Instances without any field have no length")

    def __iter__(self) -> Any:
        # Without this, Python would try integers until IndexError, one slow copy each.
        raise NotImplementedError("Instances cannot be iterated; index them or use a field")

    @staticmethod
    def cat(instance_lists: list[Instances]) -> Instances:
        """The objects of several Instances of one image in one, field by field.

        Args:
            instance_lists: at least one; all with the fields of the first (further fields are
                dropped) and, unless they are being traced, of one image size.

        Raises:
            AssertionError: none, or different image sizes, or something else than Instances.
            KeyError: one lacks a field.
            ValueError: a field of a type that cannot be concatenated.
        """
        assert len(instance_lists) > 0, "Instances.cat needs at least one Instances"
        assert all(isinstance(item, Instances) for item in instance_lists), (
            "Instances.cat takes Instances only"
        )
        first = instance_lists[0]
        if len(instance_lists) == 1:
            return first
        size = first.image_size
        if not isinstance(size, Tensor):
            sizes = [item.image_size for item in instance_lists]
            assert all(other == size for other in sizes), (
                f"Instances of one image expected, got images of {sizes}"
            )
        joined = Instances(size)
        for name in first._fields:
            joined.set(name, _concatenate([item.get(name) for item in instance_lists]))
        return joined

    def __str__(self) -> str:
        length = len(self) if self._fields else 0
        height, width = self._image_size
        fields = ", ".join(f"{name}: {value}" for name, value in self._fields.items())
        return (
            f"Instances(num_instances={length}, image_height={height}, image_width={width}, "
            f"fields=[{fields}])"
        )

    __repr__ = __str__


def _concatenate(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, Tensor):
        return torch.cat(values, dim=0)
    if isinstance(first, list):
        return list(itertools.chain.from_iterable(values))
    if hasattr(type(first), "cat"):
        return type(first).cat(values)
    raise ValueError(f"Fields of type {type(first).__name__} cannot be concatenated")
