"""A config that trains on what was imported, with the reasons for its numbers."""

from __future__ import annotations

import dataclasses
import difflib
import re
from pathlib import Path
from typing import Any

import torch
import yaml

from fcos.config import get_cfg
from fcos.config.defaults import read_cfg
from fcos.config.files import configs_folder
from fcos.data.importing.labels import LabelledImage
from fcos.data.importing.measures import Sizes, image_size, measure, schedule
from fcos.utils.errors import UserError

__all__ = ["Plan", "config_text", "find_published"]

# A detector that is trained from random weights, as configs/bccd.yaml has it: ResNet-18 and all
# improvements of the paper's Table 3.
_FROM_SCRATCH: dict[str, Any] = {
    "MODEL": {
        "META_ARCHITECTURE": "OneStageDetector",
        "WEIGHTS": "",
        "PIXEL_STD": [57.375, 57.12, 58.395],
        "BACKBONE": {"NAME": "build_fcos_resnet_fpn_backbone", "FREEZE_AT": 0},
        "RESNETS": {
            "DEPTH": 18,
            "RES2_OUT_CHANNELS": 64,
            "NORM": "BN",
            "OUT_FEATURES": ["res3", "res4", "res5"],
        },
        "FPN": {"IN_FEATURES": ["res3", "res4", "res5"], "OUT_CHANNELS": 64},
        "PROPOSAL_GENERATOR": {"NAME": "FCOS"},
        "FCOS": {
            "NUM_STACKED_CONVS": 2,
            "NORM": "GN",
            "CTR_ON_REG": True,
            "CENTER_SAMPLE": True,
            "LOC_LOSS_TYPE": "giou",
            "NORMALIZE_REG_TARGETS": True,
        },
    },
    "SOLVER": {"CLIP_GRADIENTS": {"ENABLED": True, "CLIP_TYPE": "value", "CLIP_VALUE": 1.0}},
    "VERSION": 2,
}

_MASKS: dict[str, Any] = {
    "META_ARCHITECTURE": "GeneralizedRCNN",
    "MASK_ON": True,
    "ROI_HEADS": {
        "NAME": "FCOSMaskROIHeads",
        "IN_FEATURES": ["p3", "p4", "p5"],
        "BATCH_SIZE_PER_IMAGE": 128,
        "POSITIVE_FRACTION": 1.0,
    },
    "ROI_MASK_HEAD": {"NUM_CONV": 4, "CONV_DIM": 256, "POOLER_RESOLUTION": 14},
}
_SMALL_MASKS: dict[str, Any] = {
    "ROI_HEADS": {"BATCH_SIZE_PER_IMAGE": 16},
    "ROI_MASK_HEAD": {"CLS_AGNOSTIC_MASK": True, "NUM_CONV": 2, "CONV_DIM": 64},
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be trained.

    Attributes:
        name: of the data set; its splits are called name_train, ...
        paths: of each split: annotation file and folder of the images, both absolute.
        images: of each split.
        class_names: in the order of their numbers.
        batch: images in it; 0: to be chosen.
        masks: whether masks are learnt as well.
        start_from: path of a config of published weights; None: from random weights.
    """

    name: str
    paths: dict[str, tuple[str, str]]
    images: dict[str, list[LabelledImage]]
    class_names: list[str]
    batch: int = 0
    masks: bool = False
    start_from: Path | None = None


def find_published(name: str) -> Path:
    """Return the path of a config of published weights.

    Args:
        name: such as "torchvision/R_50_FPN".

    Raises:
        UserError: there is none of this name, or its weights have no address.
    """
    root = configs_folder() / "published"
    paths = {str(p.relative_to(root).with_suffix("")): p for p in sorted(root.rglob("*.yaml"))}
    wanted = re.sub(r"^(configs/)?(published/)?|\.yaml$", "", name)
    if wanted in paths and _has_weights(paths[wanted]):
        return paths[wanted]
    usable = [known for known, path in paths.items() if _has_weights(path)]
    if wanted in paths:
        raise UserError(
            f"--start-from {name}: its weights have no address. Those with one are "
            f"{', '.join(usable)}."
        )
    near = difflib.get_close_matches(wanted, usable, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(
        f"--start-from {name}: {root} has no such config.{hint} There are {', '.join(usable)}."
    )


def _has_weights(config: Path) -> bool:
    return bool(read_cfg(str(config)).MODEL.WEIGHTS)


def licence_of(config: Path) -> str:
    """Return what a config says on the licence of its weights."""
    lines = [line[1:].strip() for line in config.read_text().splitlines() if line[:1] == "#"]
    return next((line for line in lines if line.startswith("Licence")), "Licence: not stated.")


def config_text(plan: Plan) -> tuple[str, list[str]]:
    """Return the text of the config, and what was chosen in it, in sentences."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sizes = measure(plan.images["train"])
    settings, reasons = _detector(plan, sizes, device)
    _merge(settings, _data(plan, device))
    count = len([image for image in plan.images["train"] if image.objects])
    solver, reason = schedule(count, plan.batch, is_tuned=plan.start_from is not None)
    _merge(settings, solver)
    reasons.append(reason)
    if not _may_be_mirrored(plan.class_names):
        _merge(settings, {"INPUT": {"RANDOM_FLIP": "none"}})
        reasons.append("Not mirrored: classes are letters, digits, or left and right.")
    comment = "".join(f"# {line}\n" for line in [*_HEAD, *reasons])
    body = yaml.safe_dump(settings, sort_keys=False, default_flow_style=None, width=95)
    return comment + body, reasons


_HEAD = (
    "Written by 'fcos data import'. Paths are absolute: the config works from any folder, and has",
    "to be changed where the data is moved.",
)


def _detector(plan: Plan, sizes: Sizes, device: str) -> tuple[dict[str, Any], list[str]]:
    """Return the keys of the model and of the size of images, and why."""
    head: dict[str, Any] = {"DEVICE": device, "FCOS": {"NUM_CLASSES": len(plan.class_names)}}
    settings: dict[str, Any] = {}
    _merge(settings, {"MODEL": head})
    if plan.start_from is None:
        _merge(settings, _FROM_SCRATCH)
        reasons = ["ResNet-18 from random weights (--start-from NAME fine-tunes published ones)."]
        inputs, reason = image_size(sizes, cap=640 if device == "cuda" else 320)
        levels = sizes.levels(inputs["INPUT"]["MIN_SIZE_TEST"])
        if levels:
            _merge(settings, levels)
            reason += " Levels P2 to P6: a tenth of the objects is smaller than P3's stride there."
    else:
        cfg = read_cfg(str(plan.start_from))
        _merge(settings, _changes(cfg, get_cfg()))
        _merge(settings, {"MODEL": {**head, "FCOS": {**head["FCOS"], "REINIT_CLS_LOGITS": True}}})
        name = plan.start_from.relative_to(plan.start_from.parents[1]).with_suffix("")
        reasons = [f"Starts from {name.as_posix()}. {licence_of(plan.start_from)}"]
        inputs, reason = image_size(sizes, cap=800, is_enlarged=True)
    _merge(settings, inputs)
    if plan.masks:
        _merge(settings, {"MODEL": _MASKS, "TEST": {"BEST_METRIC": "segm/AP"}})
        if plan.start_from is None:
            _merge(settings, {"MODEL": _SMALL_MASKS})
        _merge(settings, {"MODEL": {"ROI_HEADS": {"NUM_CLASSES": len(plan.class_names)}}})
        if any(isinstance(o.segmentation, dict) for i in plan.images["train"] for o in i.objects):
            _merge(settings, {"INPUT": {"MASK_FORMAT": "bitmask"}})
    return settings, [*reasons, reason]


def _data(plan: Plan, device: str) -> dict[str, Any]:
    custom = {
        f"{plan.name}_{split}": {"JSON": json_file, "IMAGES": root}
        for split, (json_file, root) in plan.paths.items()
    }
    return {
        "DATASETS": {
            "CUSTOM": custom,
            "TRAIN": [f"{plan.name}_train"],
            "TEST": [f"{plan.name}_val"],
        },
        "DATALOADER": {"NUM_WORKERS": 4 if device == "cuda" else 0},
        "OUTPUT_DIR": f"output/{plan.name}",
    }


def _may_be_mirrored(class_names: list[str]) -> bool:
    words = [re.split(r"[^a-z0-9]+", name.lower()) for name in class_names]
    is_text = len(words) > 1 and all(len(name) == 1 for name in class_names)
    return not is_text and not any({"left", "right"} & set(parts) for parts in words)


def _merge(settings: dict[str, Any], others: dict[str, Any]) -> None:
    """Put ``others`` into ``settings``, in place; of what both have, theirs stays."""
    for key, value in others.items():
        if isinstance(value, dict):
            _merge(settings.setdefault(key, {}), value)
        else:
            settings[key] = list(value) if isinstance(value, tuple) else value


def _changes(cfg: Any, defaults: Any) -> dict[str, Any]:
    """Return the keys of a config that are not as the defaults are."""
    changes = {}
    for key, value in cfg.items():
        if isinstance(value, dict):
            inner = _changes(value, defaults[key])
            if inner:
                changes[key] = inner
        elif value != defaults[key]:
            changes[key] = value
    return changes
