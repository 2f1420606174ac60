"""Record what the detector of a weights file finds in an image, and compare it elsewhere."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

import fcos
from fcos.checkpoint import CONFIG, cfg_in, detector_cfg, stored_text
from fcos.config import CfgNode
from fcos.data.images import read_bgr
from fcos.evaluation.reference import (
    Reference,
    built_in_image,
    match_reference,
    read_reference,
    write_reference,
)
from fcos.predict import Predictor
from fcos.utils.device import exact_float32
from fcos.utils.errors import UserError
from fcos.utils.files import keep_inputs

__all__ = ["record", "verify"]

_ROOT = Path(fcos.__file__).resolve().parents[1]


def record(
    weights: str,
    config_file: str | None,
    out: str,
    *,
    image_file: str | None = None,
    source: str | None = None,
    device: str = "cpu",
    options: Sequence[str] = (),
) -> str:
    """Write the detections of a weights file as a reference.

    Args:
        weights: file or address, of any family that can be read.
        config_file: config of the model; None for that of the weights.
        out: the file to write.
        image_file: None for the built-in image.
        source: what the reference says computed it; None for versions, device and weights.
        device: the device to run on.
        options: keys and values that change the config.

    Returns:
        A sentence on what was recorded.

    Raises:
        UserError: something cannot be read, used or written, or nothing was detected.
    """
    keep_inputs(out, weights, config_file, image_file)
    image = built_in_image() if image_file is None else read_bgr(image_file)[:, :, ::-1]
    image = np.ascontiguousarray(image)
    cfg = _unresized(detector_cfg(weights, config_file, options), device)
    found = _detect(cfg, image)
    if not len(found[1]):
        raise UserError(
            f"{weights} detects nothing in {image_file or 'the built-in image'}, so there is "
            "nothing to compare with; give --image an image with objects."
        )
    source = source or (
        f"fcos {fcos.__version__}, torch {torch.__version__} on {device}, "
        f"{platform.machine()}, weights {os.path.basename(weights)}"
    )
    path = Path(config_file or "").resolve()
    config = str(path.relative_to(_ROOT)) if path.is_relative_to(_ROOT) else config_file
    text = "" if config_file else stored_text(cfg)
    reference = Reference(image, *found, config or "", tuple(options), source, config_text=text)
    write_reference(out, reference)
    return f"{len(found[1])} detections of {weights} recorded in {out}."


def verify(
    weights: str,
    against: str,
    *,
    config_file: str | None = None,
    device: str = "cpu",
    options: Sequence[str] = (),
) -> tuple[str, bool]:
    """Check whether a weights file gives the detections of a reference.

    Args:
        weights: file or address, of any family that can be read.
        against: the reference file.
        config_file: None for the one that the reference names or holds.
        device: the device to run on.
        options: keys and values that change the config, after those of the reference.

    Returns:
        The result in lines, and whether it is the same within the tolerances.

    Raises:
        UserError: something cannot be read or used.
    """
    reference = read_reference(against)
    cfg = _config_of(reference, against, weights, config_file, options)
    found = _detect(_unresized(cfg, device), reference.image)
    result = match_reference(reference, *found)
    pixels = f"{result.box_px:.2g} px, {reference.tolerance_px:g} allowed"
    lines = [
        f"reference   {len(reference.scores)} detections, by {reference.source}",
        f"config      {config_file or reference.config or 'that of the recorded weights'}",
        f"pairs       {result.pairs}, of one class each; {result.only_recorded} only in the "
        f"reference, {result.only_found} only here",
        f"boxes       largest difference {pixels}",
        f"scores      largest difference {result.score:.2g}, {reference.tolerance:g} allowed",
    ]
    if result.is_equal:
        lines.append(f"result      the same: {weights} detects what is recorded")
    else:
        lines.append(f"result      NOT the same: {result.beyond} pairs differ by more")
    return "\n".join(lines), result.is_equal


def _config_of(
    reference: Reference,
    against: str,
    weights: str,
    config_file: str | None,
    options: Sequence[str],
) -> CfgNode:
    """Read the config to verify with, for the arguments of :func:`verify`."""
    options = (*reference.options, *options)
    file = config_file or reference.config
    if file:  # a relative path that does not exist starts at the repository
        return detector_cfg(weights, file if os.path.exists(file) else str(_ROOT / file), options)
    cfg = cfg_in({CONFIG: reference.config_text}, against)
    assert cfg is not None  # Reference has either
    cfg.merge_from_list(list(options))
    cfg.MODEL.WEIGHTS = weights
    return cfg


def _unresized(cfg: CfgNode, device: str) -> CfgNode:
    """Let the network get an image as it is."""
    cfg.MODEL.DEVICE, cfg.INPUT.MIN_SIZE_TEST = device, 0
    return cfg


def _detect(cfg: CfgNode, image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detect in an image, (H, W, 3) uint8, red, green, blue.

    Returns:
        Boxes (K, 4) in pixels of the image, scores (K,) and classes (K,).
    """
    predictor = Predictor(cfg, threshold=0)
    with exact_float32():
        found = predictor(np.ascontiguousarray(image[:, :, ::-1]))
    return tuple(
        value.numpy() for value in (found.pred_boxes.tensor, found.scores, found.pred_classes)
    )
