"""Write the detector of a config and its weights as a file, and check the file."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge
from fcos.checkpoint import DEFAULT_SCORE
from fcos.config.unused import warn_of_unused
from fcos.data import register_custom_datasets
from fcos.data.images import read_bgr
from fcos.export import dense, onnx_file, torch_files
from fcos.export.checking import Differences, check, two_batches
from fcos.export.graph import build_graph
from fcos.modeling.fcos import DetectionRules
from fcos.predict import Predictor, choose_names, configured_classes, resized
from fcos.utils.errors import UserError
from fcos.utils.files import check_writable, keep_inputs, write_whole

__all__ = ["FORMATS", "INPUT_TYPES", "Exported", "export_detector"]

FORMATS = ("onnx", "torchscript", "torch_export")
INPUT_TYPES = {"uint8": torch.uint8, "float32": torch.float32}
# What programs take a file for by its name. One of torch.export always ends in .pt2.
_ENDINGS = {"onnx": ".onnx", "torchscript": ".pt", "torch_export": ".pt2"}

# Not square, and no multiple of a stride, so that no size is mistaken for another one.
_EXAMPLE = (2, 3, 130, 200)

# In a file, these rules keep the names that programs know them by.
_NAMES_IN_FILES = {
    "score_threshold": "score_thresh",
    "nms_threshold": "nms_thresh",
    "threshold_with_centerness": "thresh_with_ctr",
}


class Exported(NamedTuple):
    """What was written."""

    num_bytes: int
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    differences: Differences
    metadata: dict[str, str]


def export_detector(
    cfg: CfgNode,
    path: str,
    file_format: str,
    *,
    raw: bool = False,
    with_sizes: bool = False,
    input_type: str = "uint8",
    image: str | None = None,
    threshold: float | None = None,
) -> Exported:
    """Write the detector of a config and its weights, unless the file would differ from it.

    Args:
        cfg: the config, with MODEL.WEIGHTS.
        path: of the file; it ends in .pt2 for "torch_export", and as no other format's otherwise.
        file_format: one of :data:`FORMATS`. ONNX is made on the CPU, the others on MODEL.DEVICE.
        raw: leave out decoding and suppression.
        with_sizes: add a second input, the sizes of the images without padding.
        input_type: one of :data:`INPUT_TYPES`.
        image: an image file to compare file and detector on; by default noise is used.
        threshold: the score that the file tells programs to cut at, in [0, 1]; by default that of
            each class in the checkpoint, or 0.5 where it has none.

    Returns:
        What was written, and how it differs from the detector.

    Raises:
        UserError: the config, the weights, the path or the image cannot be used; this detector
            cannot be written in this format; or the file differs from the detector.
    """
    if file_format not in FORMATS:
        raise UserError(f"The format {file_format} is unknown; there is {', '.join(FORMATS)}.")
    is_onnx = file_format == "onnx"
    cfg = _checked(cfg, path, file_format)
    keep_inputs(path, cfg.MODEL.WEIGHTS, image)
    predictor = Predictor(cfg, threshold=threshold, default=DEFAULT_SCORE)
    predictor.model.requires_grad_(False)  # otherwise calls of torch's files record gradients
    suppress = onnx_file.suppress_by_onnx if is_onnx else dense.suppress
    graph = build_graph(predictor.model, raw, suppress)
    metadata = _metadata(cfg, predictor, raw, input_type)
    names = ("images", "sizes")[: 1 + with_sizes]
    pixels = _pixels(cfg, image).to(INPUT_TYPES[input_type]).to(cfg.MODEL.DEVICE)
    example = _example(pixels)[: len(names)]

    if is_onnx:
        content = onnx_file.write_onnx(graph, example, metadata, names, graph.output_names)
        run = onnx_file.load_onnx(content)
    elif file_format == "torchscript":
        content = torch_files.write_torchscript(graph, example, metadata)
        run = torch_files.load_torchscript(content, cfg.MODEL.DEVICE)
    else:
        content = torch_files.write_program(graph, example, metadata)
        run = torch_files.load_program(content)
    with torch_files.quiet(file_format):  # some files can be written, but not run
        found = check(
            lambda *inputs: run(*inputs[: len(names)]),
            predictor.model,
            graph,
            list(two_batches(pixels, with_sizes)),
        )
    if not found.is_small:
        raise UserError(
            f"Nothing was written: as {file_format}, this detector computes something else "
            f"({found})."
        )
    write_whole(path, lambda file: file.write(content), "Choose another place.")
    return Exported(len(content), names, graph.output_names, found, metadata)


def _checked(cfg: CfgNode, path: str, file_format: str) -> CfgNode:
    """Return the config to build from; refuse what cannot work before anything takes time."""
    if os.path.isdir(path):
        raise UserError(f"--output {path} is a folder: name a file.")
    _check_ending(path, file_format)
    if file_format == "onnx":
        onnx_file.require_onnx()
    check_writable(os.path.dirname(path))
    if cfg.TEST.AUG.ENABLED:
        raise UserError(
            "TEST.AUG.ENABLED is True, but a file holds one look at an image: set it False, and "
            "call the file once for each view."
        )
    warn_of_unused(cfg, training=False)
    cfg = cfg.clone()
    cfg.defrost()
    if file_format == "onnx":
        cfg.MODEL.DEVICE = "cpu"  # the file has no device of its own
    if file_format != "torchscript":
        # In channels-last layout, torch.export treats levels of one cell as a special case, and the
        # file would refuse small images.
        cfg.MODEL.CHANNELS_LAST = False
    cfg.freeze()
    return cfg


def _check_ending(path: str, file_format: str) -> None:
    stem, ending = os.path.splitext(path)
    own = _ENDINGS[file_format]
    others = {name for name in _ENDINGS.values() if name != own}
    if ending.lower() in others or (file_format == "torch_export" and ending != own):
        raise UserError(
            f"--output {path}: a file of --format {file_format} ends in {own}: "
            f"name it {stem if ending.lower() in others else path}{own}."
        )


def _pixels(cfg: CfgNode, path: str | None) -> Tensor:
    """Read or make an image, (3, H, W) uint8, in the size and channel order of the config."""
    short, limit = cfg.INPUT.MIN_SIZE_TEST or 800, cfg.INPUT.MAX_SIZE_TEST
    if path is None:
        size = (3, short, min(limit, 4 * short // 3))
        noise = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, size, generator=noise, dtype=torch.uint8)
    bgr = read_bgr(path, cfg.INPUT.STRETCH_RANGE, cfg.INPUT.MAX_PIXELS)
    pixels = bgr[:, :, ::-1] if cfg.INPUT.FORMAT == "RGB" else bgr
    pixels = resized(np.ascontiguousarray(pixels), ResizeShortestEdge([short] * 2, limit))
    return torch.as_tensor(np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def _example(like: Tensor) -> tuple[Tensor, Tensor]:
    """Make images and sizes with the type and on the device of an image."""
    images = torch.zeros(_EXAMPLE, dtype=like.dtype, device=like.device)
    return images, torch.tensor([_EXAMPLE[2:]] * _EXAMPLE[0], device=like.device)


def _metadata(cfg: CfgNode, predictor: Predictor, raw: bool, input_type: str) -> dict[str, str]:
    """Collect what a program needs to know about the file: strings, lists as JSON."""
    register_custom_datasets(cfg)
    generator: Any = predictor.model.proposal_generator
    num_classes, names = generator.fcos_head.num_classes, predictor.class_names
    if len(names or ()) != num_classes:
        names = list(configured_classes(cfg).names)
    rules = generator.rules
    return {
        "class_names": json.dumps(choose_names(num_classes, predictor.class_names, names)),
        "input_format": cfg.INPUT.FORMAT,
        "input_type": input_type,
        "min_size": str(cfg.INPUT.MIN_SIZE_TEST),
        "max_size": str(cfg.INPUT.MAX_SIZE_TEST),
        "output": "raw" if raw else "detections",
        "score_threshold": str(rules.score_threshold),
        "confidence_thresholds": json.dumps(predictor.lowest.of_classes(num_classes)),
        "nms_threshold": str(rules.nms_threshold),
        "max_detections": str(rules.post_nms_topk),
        "detection_rules": json.dumps(_named_as_in_files(rules)),
        "strides": json.dumps(list(generator.strides)),
    }


def _named_as_in_files(rules: DetectionRules) -> dict[str, Any]:
    values = dataclasses.asdict(rules).items()
    return {_NAMES_IN_FILES.get(name, name): value for name, value in values}
