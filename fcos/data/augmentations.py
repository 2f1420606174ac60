"""INPUT.AUGMENTATIONS: transforms of torchvision.transforms.v2 by name, and what is wrong with it.

An entry of the list is the name of a transform, or a mapping of its name to its arguments.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode

from detectron2.config import CfgNode
from fcos.data.mosaic import Mosaic
from fcos.data.transforms import (
    CHOICES,
    COLOURS,
    KNOWN,
    SIZES,
    PixelsOnly,
    class_of,
    moves_boxes,
)
from fcos.utils.errors import UserError, one_line
from fcos.utils.values import is_number

__all__ = ["KEY", "check_augmentations", "choose_sizes", "read_augmentations"]

KEY = "INPUT.AUGMENTATIONS"


def choose_sizes(cfg: CfgNode) -> bool:
    """Return whether INPUT.AUGMENTATIONS, and not INPUT.MIN_SIZE_TRAIN, chooses sizes of images."""
    return any(type(one).__name__ in SIZES for one in read_augmentations(cfg))


def check_augmentations(cfg: CfgNode) -> None:
    """Refuse INPUT.AUGMENTATIONS that would fail, on an image of 640x480 at least.

    Raises:
        UserError: see `read_augmentations`, or a transform refuses its arguments when it is used.
    """
    read_augmentations(cfg)
    for where, entry in _flat(cfg.INPUT.AUGMENTATIONS, KEY):
        name, arguments = _split(where, entry)
        if "p" in inspect.signature(class_of(name)).parameters:
            arguments["p"] = 1.0
        transform = _build(where, name, arguments)
        if name != "Mosaic":
            _try_out(where, name, arguments, transform)


def read_augmentations(cfg: CfgNode) -> list[Any]:
    """Build the transforms of INPUT.AUGMENTATIONS, in their order.

    Returns:
        modules that take an RGB image and a mapping with "boxes" and perhaps "masks", and return
        both. A `Mosaic` is the first one, if there is one.

    Raises:
        UserError: an entry is of the wrong type, a name or argument is unknown, a transform refuses
            an argument, or masks have a form that cannot be transformed.
    """
    entries = cfg.INPUT.AUGMENTATIONS
    transforms = [_transform(f"{KEY}[{i}]", entry, True) for i, entry in enumerate(entries)]
    for index, transform in enumerate(transforms):
        if index and isinstance(transform, Mosaic):
            raise UserError(
                f"{KEY}[{index}] is Mosaic, which puts images together as they are on disk: make "
                "it the first one of the list."
            )
    if not moves_boxes(transforms):
        return transforms
    if cfg.MODEL.MASK_ON and cfg.INPUT.MASK_FORMAT != "bitmask":
        raise UserError(
            f"{KEY} moves masks as bitmaps, but INPUT.MASK_FORMAT is {cfg.INPUT.MASK_FORMAT}: set "
            "it to bitmask."
        )
    if cfg.MODEL.KEYPOINT_ON:
        raise UserError(
            f"{KEY} cannot move keypoints, but MODEL.KEYPOINT_ON is True: set it to []."
        )
    return transforms


# ---- one entry -----------------------------------------------------------------------------------


def _transform(where: str, entry: Any, is_outermost: bool) -> Any:
    name, arguments = _split(where, entry)
    if not is_outermost and name in (*SIZES, *CHOICES, "Mosaic"):
        raise UserError(
            f"{where}: {name} is an entry of {KEY} itself, not one among which others choose."
        )
    if name in CHOICES:
        inner = arguments.get("transforms")
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            raise UserError(f"{where}: {name} needs transforms, a list like {KEY} itself.")
        arguments["transforms"] = [
            _transform(f"{where}.transforms[{i}]", one, False) for i, one in enumerate(inner)
        ]
    return _build(where, name, arguments)


def _flat(entries: Sequence[Any], where: str) -> list[tuple[str, Any]]:
    """The entries without those that choose, and with those that these choose from."""
    found: list[tuple[str, Any]] = []
    for index, entry in enumerate(entries):
        name, arguments = _split(f"{where}[{index}]", entry)
        if name in CHOICES:
            found += _flat(arguments["transforms"], f"{where}[{index}].transforms")
        else:
            found.append((f"{where}[{index}]", entry))
    return found


def _split(where: str, entry: Any) -> tuple[str, dict[str, Any]]:
    """The name and the arguments of an entry."""
    if isinstance(entry, str):
        entry = {entry: {}}
    name, arguments = next(iter(entry.items())) if _is_single(entry) else (None, None)
    if not isinstance(name, str) or not isinstance(arguments, Mapping):
        raise UserError(
            f"{where} is {entry!r}: expected the name of a transform, or its name with its "
            "arguments, such as {RandomZoomOut: {p: 0.5}}."
        )
    if name not in KNOWN:
        near = difflib.get_close_matches(name, KNOWN, n=3, cutoff=0.5)
        if near:
            raise UserError(f"{where}: unknown transform {name}. Did you mean {' or '.join(near)}?")
        raise UserError(f"{where}: unknown transform {name}; known are {', '.join(KNOWN)}.")
    return name, dict(arguments)


def _is_single(entry: Any) -> bool:
    return isinstance(entry, Mapping) and len(entry) == 1


def _build(where: str, name: str, arguments: dict[str, Any]) -> Any:
    made = class_of(name)
    known = [a for a in inspect.signature(made).parameters if a != "inplace"]
    for argument in arguments:
        if argument not in known:
            takes = f"it has {', '.join(known)}" if known else "it has none"
            raise UserError(f"{where}: {name} has no argument {argument}; {takes}.")
    _check_values(where, name, arguments)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            transform = made(**_as_torchvision_takes_them(arguments))
    except Exception as error:  # of what kind, each transform decides
        raise _refused(where, name, arguments, error) from error
    return PixelsOnly(transform) if name in COLOURS else transform


def _check_values(where: str, name: str, arguments: dict[str, Any]) -> None:
    """Refuse what torchvision accepts, and then fails or never ends with."""
    p = arguments.get("p", 0.5)
    if name != "RandomChoice" and not (is_number(p) and 0 <= p <= 1):
        raise UserError(f"{where}: p of {name} is {p!r}: set it to a number within [0, 1].")
    if name == "RandomCrop" and arguments.get("pad_if_needed") is not True:
        raise UserError(
            f"{where}: RandomCrop fails on images that are smaller than its size: add "
            "pad_if_needed: True."
        )
    options = arguments.get("sampler_options")
    if name == "RandomIoUCrop" and options is not None:
        are_numbers = isinstance(options, Sequence) and all(map(is_number, options))
        if not are_numbers or not any(option >= 1 for option in options):
            raise UserError(
                f"{where}: sampler_options of RandomIoUCrop is {options!r}: set it to numbers, one "
                "of them 1 or more, which stands for the whole image; without it, the search for "
                "a crop might never end."
            )
    if name == "RandomErasing" and arguments.get("value") == "random":
        raise UserError(
            f"{where}: value of RandomErasing is 'random': set it to a number or three."
        )


def _as_torchvision_takes_them(arguments: dict[str, Any]) -> dict[str, Any]:
    arguments = dict(arguments)
    if "interpolation" in arguments:
        arguments["interpolation"] = InterpolationMode(arguments["interpolation"])
    if "fill" in arguments:  # torchvision would fill masks with it too
        arguments["fill"] = {tv_tensors.Image: arguments["fill"], "others": 0}
    return arguments


def _refused(where: str, name: str, arguments: dict[str, Any], error: Exception) -> UserError:
    shown = {key: value for key, value in arguments.items() if key != "transforms"}
    given = ", ".join(f"{key}: {value!r}" for key, value in shown.items())
    return UserError(f"{where}: {name} refuses {{{given}}}: {one_line(error)}")


# ---- use -----------------------------------------------------------------------------------------


def _try_out(where: str, name: str, arguments: dict[str, Any], transform: Any) -> None:
    """Use the transform a few times, because some look at their arguments only then."""
    image = tv_tensors.Image(torch.zeros(3, 480, 640, dtype=torch.uint8))
    boxes = torch.tensor([[0.0, 0.0, 640.0, 480.0], [200.0, 100.0, 300.0, 200.0]])
    with torch.random.fork_rng(devices=[]):
        for seed in range(3):
            torch.default_generator.manual_seed(seed)
            objects = {
                "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(480, 640)),
                "masks": tv_tensors.Mask(torch.ones(2, 480, 640, dtype=torch.uint8)),
            }
            try:
                transform(image, objects)
            except Exception as error:  # as above
                raise _refused(where, name, arguments, error) from error
