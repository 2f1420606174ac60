"""Tell what a weights file is, and convert it to the layout of another family."""

from __future__ import annotations

from typing import Any

import torch

from fcos.checkpoint.architecture import architecture_of, describe, fitting_configs
from fcos.checkpoint.importers import (
    FAMILIES,
    Family,
    Weights,
    check_backbone,
    is_ours,
    recognise,
)
from fcos.checkpoint.reading import read_checkpoint
from fcos.checkpoint.stored_config import CONFIG, carried_by, cfg_in
from fcos.checkpoint.thresholds import thresholds_in
from fcos.checkpoint.writing import write_weights
from fcos.config import CfgNode
from fcos.config.model_classes import model_classes
from fcos.utils.errors import UserError
from fcos.utils.files import keep_inputs

__all__ = ["convert", "inspect"]

_CARRIED = "config        carried by the file: no --config-file is needed"
# How the files of a family wrap the weights, and the prefix of their names.
_WRAPPERS: dict[str, dict[str, Any]] = {
    "original": {"key": "model", "prefix": "module."},
    "mmdetection": {"key": "state_dict", "more": {"meta": {}}},
    "detectron2": {"key": "model"},
}


def inspect(path: str) -> str:
    """Describe a weights file, line by line.

    Args:
        path: file or address.

    Raises:
        UserError: the file cannot be read, or is of no known family and carries no config.
    """
    checkpoint = read_checkpoint(path)
    weights = checkpoint["model"]
    # A second stage that classifies the regions of FCOS is no FCOS either.
    is_other = recognise(weights) is None or any(n.startswith("roi_heads.box_") for n in weights)
    cfg = cfg_in(checkpoint, path) if is_other else None
    if cfg is not None:
        lines = _lines_of_another_detector(cfg, weights)
    else:
        lines = _lines_of_fcos(checkpoint, path)
    thresholds = thresholds_in(checkpoint, path)
    if thresholds is not None:
        lines += ["", thresholds.table(checkpoint.get("class_names", ()))]
    return "\n".join(lines)


def convert(source: str, target: str, to: str) -> str:
    """Write the weights of a file in the layout of another family.

    Only the weights are converted, with their config and the names of their classes where the file
    has a place for them, but not the state of a training. Tensors stay in the file until they are
    written, so memory holds at most one copy.

    Args:
        source: file or address.
        target: file to write; with the ending ``.safetensors``, in that format.
        to: name of the family.

    Returns:
        A sentence that tells what was written.

    Raises:
        UserError: a file cannot be read or written, both are the same file, or the layout has no
            place for the weights.
    """
    keep_inputs(target, source)
    checkpoint = read_checkpoint(source)
    weights, carried = checkpoint["model"], carried_by(checkpoint)
    family, new = _family_of(weights, source), FAMILIES[to]
    imported = family.to_ours(weights).weights
    check_backbone(imported, family, source)
    tensors = {name: torch.as_tensor(value) for name, value in imported.items()}
    renamed = new.from_ours(tensors)
    if target.endswith(".safetensors"):
        write_weights(target, renamed, carried)
    else:
        write_weights(target, _wrapped(renamed, to, carried))
    said = f"{len(renamed)} tensors of {source} ({family.name}) written to {target} ({to})."
    if family is not new:
        said += (
            f" They give the same detections in {to} only if they were trained with what it "
            f"computes: compare configs/published/{family.name} and configs/published/{to}."
        )
    advice = new.advice(renamed)
    return f"{said} {advice}" if advice else said


def _lines_of_fcos(checkpoint: dict[str, Any], path: str) -> list[str]:
    weights = checkpoint["model"]
    family = _family_of(weights, path)
    imported = family.to_ours(weights)
    check_backbone(imported.weights, family, path)
    settings = architecture_of(imported.weights)
    lines = [
        f"family        {family.name}",
        f"architecture  {describe(settings)}",
        f"classes       {settings['MODEL.FCOS.NUM_CLASSES']}",
        *_size_lines(weights),
    ]
    if imported.dropped:
        lines.append(f"not used      {len(imported.dropped)} entries that nothing is computed from")
    unknown = [imported.names.get(name, name) for name in imported.weights if not is_ours(name)]
    if unknown:
        lines.append(
            f"not known     {len(unknown)} entries, such as {unknown[0]}, for which no config of "
            "this family has a place"
        )
    if CONFIG in checkpoint:
        lines.append(_CARRIED)
    else:
        lines += _config_lines(family, settings)
    return lines + ([f"licence       {family.note}"] if family.note else [])


def _lines_of_another_detector(cfg: CfgNode, weights: Weights) -> list[str]:
    """Describe a detector of detectron2 that was trained here, by the config in its file."""
    model = cfg.MODEL
    parts = []
    if model.META_ARCHITECTURE in ("GeneralizedRCNN", "ProposalNetwork"):
        parts.append(model.PROPOSAL_GENERATOR.NAME)
    if model.META_ARCHITECTURE == "GeneralizedRCNN":
        parts += [model.ROI_HEADS.NAME, "with masks" if model.MASK_ON else "without masks"]
    of = f" ({', '.join(parts)})" if parts else ""
    number = model_classes(cfg).number
    return [
        f"detector      {model.META_ARCHITECTURE}{of}, as the config in the file says",
        f"classes       {'none: proposals have no class' if number is None else number}",
        *_size_lines(weights),
        _CARRIED,
    ]


def _size_lines(weights: Weights) -> list[str]:
    return [
        f"parameters    {_number_of_parameters(weights):,}, with those of normalisation",
        f"type          {', '.join(sorted(_types(weights)))}",
    ]


def _family_of(weights: Weights, path: str) -> Family:
    family = recognise(weights)
    if family is None:
        names = list(weights)
        raise UserError(
            f"{path} is of no family that is known here ({', '.join(FAMILIES)}): its {len(names)} "
            f"names, such as {', '.join(names[:3])}, are not those of their FCOS."
        )
    return family


def _config_lines(family: Family, settings: dict[str, Any]) -> list[str]:
    fitting = fitting_configs(family.name, settings)
    if not fitting:
        found = " ".join(f"{key} {_for_shell(value)}" for key, value in settings.items())
        where = f"configs/published/{family.name}"
        return [f"config        none of {where} fits; the parameters tell {found}"]
    lines = [f"config        {fitting[0]}", *(f"              {path}" for path in fitting[1:])]
    if len(fitting) > 1:
        lines.append("              Their parameters are the same: only its source tells which.")
    return lines


def _for_shell(value: Any) -> str:
    text = str(value).replace(", ", ",")
    return text if text and "'" not in text else f'"{text}"'


def _number_of_parameters(weights: Weights) -> int:
    """Count the parameters, without statistics and counters of normalisation."""
    ends = ("running_mean", "running_var", "num_batches_tracked", "pixel_mean", "pixel_std")
    return sum(
        torch.as_tensor(value).numel() for name, value in weights.items() if not name.endswith(ends)
    )


def _types(weights: Weights) -> set[str]:
    types = {torch.as_tensor(value).dtype for value in weights.values()}
    return {str(dtype).removeprefix("torch.") for dtype in types if dtype.is_floating_point}


def _wrapped(weights: Weights, family: str, carried: dict[str, Any]) -> dict[str, Any]:
    """Wrap weights as the files of a family do; with what they carry, where there is a place."""
    wrapper = _WRAPPERS.get(family)
    if wrapper is None and family == "adelaidet" and carried:
        wrapper = {"key": "model"}  # which AdelaiDet reads as well as weights alone
    if wrapper is None:
        return weights
    prefix = wrapper.get("prefix", "")
    named = {prefix + name: value for name, value in weights.items()}
    return {**wrapper.get("more", {}), wrapper["key"]: named, **carried}
