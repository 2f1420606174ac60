"""The base of all augmentations, what they are applied to, and lists of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
from fvcore.transforms.transform import Transform, TransformList

from detectron2._missing import missing_names

__all__ = ["AugInput", "Augmentation", "AugmentationList", "apply_augmentations"]

__getattr__ = missing_names(__name__)


class Augmentation:
    """A policy that looks at the data and chooses a transform for it.

    A subclass writes ``get_transform``.  The names of its parameters say what it needs to know of
    the input (``image``, ``boxes``, ``sem_seg`` or whatever attributes the input has)::

        class RandomShift(Augmentation):
            def get_transform(self, image):
                return ShiftTransform(np.random.randint(image.shape[1]))

    Random numbers come from numpy's global generator, which every data loader worker seeds.
    """

    def _init(self, params: dict[str, Any] | None = None) -> None:
        """Keep the arguments of ``__init__`` as attributes: ``self._init(locals())``."""
        for name, value in (params or {}).items():
            if name != "self" and not name.startswith("_"):
                setattr(self, name, value)

    def get_transform(self, *args: Any) -> Transform:
        """Choose the transform; the arguments are attributes of the input, by name."""
        raise NotImplementedError

    def __call__(self, aug_input: AugInput) -> Transform:
        """Choose a transform, apply it to ``aug_input`` in place, and return it.

        Raises:
            AttributeError: the input lacks something that ``get_transform`` asks for.
            TypeError: ``get_transform`` takes ``*args`` or returns something else than a transform.
        """
        wanted = [getattr(aug_input, name) for name in self._wanted_attributes(aug_input)]
        transform = self.get_transform(*wanted)
        if not isinstance(transform, Transform):
            raise TypeError(
                f"{type(self).__name__}.get_transform must return a Transform, "
                f"not a {type(transform).__name__}"
            )
        aug_input.transform(transform)
        return transform

    def _wanted_attributes(self, aug_input: Any) -> list[str]:
        parameters = inspect.signature(self.get_transform).parameters.values()
        if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
            raise TypeError(
                f"{type(self).__name__}.get_transform takes *args or **kwargs, so what it needs "
                "cannot be told from its parameters: name them, or write __call__ anew"
            )
        names = [p.name for p in parameters]
        if len(names) == 1:
            return ["image"]  # a lone parameter is the image under any name
        for name in names:
            if not hasattr(aug_input, name):
                raise AttributeError(
                    f"{type(self).__name__}.get_transform needs '{name}', which the "
                    f"{type(aug_input).__name__} does not have"
                )
        return names

    def _rand_range(
        self, low: float = 1.0, high: float | None = None, size: Any = None
    ) -> float | np.ndarray:
        """Uniform in [low, high), or in [0, low) if only one number is given."""
        if high is None:
            low, high = 0.0, low
        return np.random.uniform(low, high, size)

    def __repr__(self) -> str:
        """``Name(argument=value, ...)`` with the arguments that were given."""
        shown = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                return super().__repr__()
            if not hasattr(self, name):
                return super().__repr__()
            value = getattr(self, name)
            # "is": a value that was spelled out is shown even when it equals the default.
            if value is not parameter.default:
                shown.append(f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    __str__ = __repr__


class _Always(Augmentation):
    """The policy that always chooses the given transform."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def get_transform(self, image: np.ndarray) -> Transform:
        return self.transform

    def __repr__(self) -> str:
        return repr(self.transform)


class AugInput:
    """An image and what belongs to it, changed together.

    Any object will do instead that has the attributes its augmentations ask for, and
    ``transform(tfm)``, which changes all of them.
    """

    def __init__(
        self,
        image: np.ndarray,
        *,
        boxes: np.ndarray | None = None,
        sem_seg: np.ndarray | None = None,
    ) -> None:
        """
        Args:
            image: (H, W) or (H, W, C), uint8 in [0, 255] or floating point in [0, 1] or [0, 255].
            boxes: (N, 4) float, x1, y1, x2, y2 in pixels of ``image``.
            sem_seg: (H, W) uint8, a label for every pixel.

        Raises:
            TypeError: the image is no array.
            ValueError: the image has neither 2 nor 3 dimensions.
        """
        _check_image(image)
        self.image = image
        self.boxes = boxes
        self.sem_seg = sem_seg

    def transform(self, tfm: Transform) -> None:
        """Apply one transform to everything, in place."""
        self.image = tfm.apply_image(self.image)
        boxes, labels = self.boxes, self.sem_seg
        self.boxes = None if boxes is None else tfm.apply_box(boxes)
        self.sem_seg = None if labels is None else tfm.apply_segmentation(labels)

    def apply_augmentations(
        self, augmentations: Sequence[Augmentation | Transform]
    ) -> TransformList:
        """``AugmentationList(augmentations)(self)``."""
        return AugmentationList(augmentations)(self)


class AugmentationList(Augmentation):
    """Augmentations one after the other; each sees what the ones before it have made."""

    def __init__(self, augs: Sequence[Augmentation | Transform]) -> None:
        """
        Args:
            augs: augmentations, and transforms that are always applied.

        Raises:
            TypeError: an element is neither.
        """
        super().__init__()
        self.augs = [_as_augmentation(aug) for aug in augs]

    def __call__(self, aug_input: AugInput) -> TransformList:
        """Apply all of them to ``aug_input`` in place and return what was applied, as one."""
        return TransformList([aug(aug_input) for aug in self.augs])

    def __repr__(self) -> str:
        return f"AugmentationList[{', '.join(map(str, self.augs))}]"

    __str__ = __repr__


def apply_augmentations(
    augmentations: Sequence[Augmentation | Transform], inputs: np.ndarray | AugInput
) -> tuple[np.ndarray | AugInput, TransformList]:
    """Augment an image, or an ``AugInput`` in place.

    Returns:
        The augmented image (or the given ``AugInput``), and the transforms that were applied.
    """
    if not isinstance(inputs, np.ndarray):
        return inputs, AugmentationList(augmentations)(inputs)
    aug_input = AugInput(inputs)
    transforms = AugmentationList(augmentations)(aug_input)
    return aug_input.image, transforms


def _as_augmentation(aug: Any) -> Augmentation:
    if isinstance(aug, Augmentation):
        return aug
    if isinstance(aug, Transform):
        return _Always(aug)
    raise TypeError(f"expected an Augmentation or a Transform, got {aug!r}")


def _check_image(image: Any) -> None:
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image: expected a numpy array, got a {type(image).__name__}")
    if image.ndim not in (2, 3):
        raise ValueError(f"image: expected (H, W) or (H, W, C), got {image.shape}")
