"""Record what the detector of a weights file finds in a picture, and compare it elsewhere."""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import fcos
from fcos.config import read_cfg
from fcos.data.images import read_bgr
from fcos.evaluation.reference import (
    Reference,
    built_in_picture,
    compare,
    read_reference,
    write_reference,
)
from fcos.predict import Predictor
from fcos.utils.device import exact_float32
from fcos.utils.errors import UserError
from fcos.utils.files import keep_inputs

__all__ = ["detect", "record", "verify"]

_ROOT = Path(fcos.__file__).resolve().parents[1]


def detect(
    weights: str, config: str, options: Sequence[str], image: np.ndarray, device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a detector finds in a picture that is given to the network as it is, not resized.

    Args:
        weights: file or address, of any family that is read here.
        config: the config file; a relative path that does not exist starts at the repository.
        options: keys and values that change the config.
        image: (H, W, 3) uint8, red, green, blue.
        device: that it runs on.

    Returns:
        Boxes (K, 4) in pixels of the picture, scores (K,) and classes (K,).

    Raises:
        UserError: the config or the weights cannot be used, or are not of one model.
    """
    cfg = read_cfg(config if os.path.exists(config) else str(_ROOT / config), options)
    cfg.MODEL.WEIGHTS, cfg.MODEL.DEVICE = weights, device
    cfg.INPUT.MIN_SIZE_TEST = 0  # as the picture is
    predictor = Predictor(cfg)
    with exact_float32():
        found = predictor(np.ascontiguousarray(image[:, :, ::-1]))
    return tuple(
        value.numpy() for value in (found.pred_boxes.tensor, found.scores, found.pred_classes)
    )


def record(args: argparse.Namespace) -> str:
    """Write the detections of a weights file as a reference.

    Args:
        args: ``file``, ``config_file``, ``out``, ``image`` (``None``: the built-in picture),
            ``source``, ``device`` and ``opts``.

    Returns:
        A sentence on what was recorded.

    Raises:
        UserError: something cannot be read, used or written, or nothing was detected.
    """
    keep_inputs(args.out, args.file, args.config_file, args.image)
    image = built_in_picture() if args.image is None else read_bgr(args.image)[:, :, ::-1]
    image = np.ascontiguousarray(image)
    found = detect(args.file, args.config_file, args.opts, image, args.device)
    if not len(found[1]):
        raise UserError(
            f"{args.file} detects nothing in {args.image or 'the built-in picture'}, so there is "
            "nothing to compare with; give --image a picture with objects."
        )
    source = args.source or (
        f"fcos {fcos.__version__}, torch {torch.__version__} on {args.device}, "
        f"{platform.machine()}, weights {os.path.basename(args.file)}"
    )
    path = Path(args.config_file).resolve()
    is_ours = path.is_relative_to(_ROOT)
    config = str(path.relative_to(_ROOT)) if is_ours else args.config_file
    write_reference(args.out, Reference(image, *found, config, tuple(args.opts), source))
    return f"{len(found[1])} detections of {args.file} recorded in {args.out}."


def verify(args: argparse.Namespace) -> tuple[str, bool]:
    """Whether a weights file gives the detections of a reference.

    Args:
        args: ``file``, ``against``, ``config_file`` (``None``: the one of the reference),
            ``device`` and ``opts``.

    Returns:
        The result in lines, and whether it is the same within the tolerances.

    Raises:
        UserError: something cannot be read or used.
    """
    reference = read_reference(args.against)
    reference = dataclasses.replace(reference, config=args.config_file or reference.config)
    options = (*reference.options, *args.opts)
    found = detect(args.file, reference.config, options, reference.image, args.device)
    result = compare(reference, *found)
    pixels = f"{result.box_px:.2g} px, {reference.tolerance_px:g} allowed"
    lines = [
        f"reference   {len(reference.scores)} detections, by {reference.source}",
        f"config      {reference.config}",
        f"pairs       {result.pairs}, of one class each; {result.only_recorded} only in the "
        f"reference, {result.only_found} only here",
        f"boxes       largest difference {pixels}",
        f"scores      largest difference {result.score:.2g}, {reference.tolerance:g} allowed",
    ]
    if result.is_equal:
        lines.append(f"result      the same: {args.file} detects what is recorded")
    else:
        lines.append(f"result      NOT the same: {result.beyond} pairs differ by more")
    return "\n".join(lines), result.is_equal
