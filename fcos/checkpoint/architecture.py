"""Find from the parameters of a detector which config it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from fcos.checkpoint.importers import HEAD, Weights
from fcos.config import get_cfg
from fcos.config.files import configs_folder

__all__ = ["architecture_of", "describe", "fitting_configs"]

_BOTTOM_UP = "backbone.bottom_up."
_STAGES = ("res2", "res3", "res4", "res5")
# Blocks per stage, and whether they have a third convolution -> depth.
_DEPTHS: dict[tuple[tuple[int, ...], bool], int] = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152,
}


def architecture_of(weights: Weights) -> dict[str, Any]:
    """Find the config keys that the parameters determine, and their values.

    Args:
        weights: name -> tensor or array, with our names. Only names and shapes are used.

    Returns:
        Key -> value. Keys of the backbone are given only for a ResNet or timm's DLA-34. Some
        settings leave no trace in the parameters, such as the order of the colours, the place of
        the stride, and whether distances are in strides.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    settings = {**_of_backbone(shapes), **_of_fpn(shapes), **_of_head(shapes)}
    settings["MODEL.MASK_ON"] = any(name.startswith("roi_heads.mask_head.") for name in shapes)
    top = [level for level in ("p6", "p7") if f"backbone.top_block.{level}.weight" in shapes]
    settings["MODEL.FCOS.TOP_LEVELS"] = len(top)
    output = shapes.get("backbone.fpn_output5.weight")
    if top and output:
        is_p5 = shapes["backbone.top_block.p6.weight"][1] == output[0]
        settings["MODEL.FCOS.TOP_IN_FEATURE"] = "p5" if is_p5 else "res5"
    return settings


def describe(settings: dict[str, Any]) -> str:
    """Describe an architecture, such as "ResNeXt-101-32x8d, FPN with P6 and P7 from p5"."""
    depth = settings.get("MODEL.RESNETS.DEPTH")
    words = ["a backbone that is no ResNet of detectron2"]
    if "MODEL.TIMM.NAME" in settings:
        words = [f"timm's {settings['MODEL.TIMM.NAME']}"]
    if depth:
        groups, width = (settings[f"MODEL.RESNETS.{k}"] for k in ("NUM_GROUPS", "WIDTH_PER_GROUP"))
        words = [f"ResNet-{depth}" if groups == 1 else f"ResNeXt-{depth}-{groups}x{width}d"]
    stages = settings.get("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [])
    deformable = [name for name, is_on in zip(_STAGES, stages, strict=False) if is_on]
    if deformable:
        words.append(f"deformable convolution in {', '.join(deformable)}")
    levels = ("no level", "P6", "P6 and P7")[settings["MODEL.FCOS.TOP_LEVELS"]]
    source = settings.get("MODEL.FCOS.TOP_IN_FEATURE")
    words.append(f"FPN with {levels} on top" + (f" from {source}" if source else ""))
    shared, convs = (settings[f"MODEL.FCOS.NUM_{k}_CONVS"] for k in ("SHARED", "STACKED"))
    tower = f"{convs} convolutions per tower" + (f" after {shared} shared ones" if shared else "")
    words.append(f"{tower}, norm {settings['MODEL.FCOS.NORM']}")
    if settings["MODEL.FCOS.USE_DEFORMABLE"]:
        words.append("the last one deformable")
    if settings["MODEL.MASK_ON"]:
        words.append("a mask head")
    return ", ".join(words)


def fitting_configs(family: str, settings: dict[str, Any]) -> list[str]:
    """Find the files of ``configs/published/<family>`` with these settings, except the classes.

    Args:
        family: name of the family.
        settings: see :func:`architecture_of`.

    Returns:
        Their names, such as ``configs/published/torchvision/R_50_FPN.yaml``.
    """
    root = configs_folder()
    paths = sorted((root / "published" / family).glob("*.yaml"))
    return [str(path.relative_to(root.parent)) for path in paths if _fits(path, settings)]


def _fits(path: Path, settings: dict[str, Any]) -> bool:
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    for key, value in settings.items():
        expected: Any = cfg
        for part in key.split("."):
            expected = expected[part]
        if key.endswith(".NORM") and expected == "SyncBN":
            expected = "BN"  # which has the same parameters
        if key != "MODEL.FCOS.NUM_CLASSES" and expected != value:
            return False
    return "MODEL.BACKBONE.NAME" in settings


def _of_backbone(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    blocks: dict[str, set[str]] = {stage: set() for stage in _STAGES}
    for name in shapes:
        parts = name.removeprefix(_BOTTOM_UP).split(".")
        if name.startswith(_BOTTOM_UP) and parts[0] in blocks and parts[-2] == "conv1":
            blocks[parts[0]].add(parts[1])
    # The smallest of timm's DLAs is the only one whose blocks have two convolutions.
    is_dla = f"{_BOTTOM_UP}net.base_layer.0.weight" in shapes
    if is_dla and f"{_BOTTOM_UP}net.level2.tree1.conv3.weight" not in shapes:
        name = "build_fcos_timm_fpn_backbone"
        return {"MODEL.TIMM.NAME": "dla34", "MODEL.BACKBONE.NAME": name}
    has_third = f"{_BOTTOM_UP}res2.0.conv3.weight" in shapes
    depth = _DEPTHS.get((tuple(len(found) for found in blocks.values()), has_third))
    kernel = shapes.get(f"{_BOTTOM_UP}res2.0.conv2.weight")
    if depth is None or kernel is None:
        return {}
    settings: dict[str, Any] = {"MODEL.RESNETS.DEPTH": depth}
    settings["MODEL.RESNETS.NUM_GROUPS"] = kernel[0] // kernel[1]
    settings["MODEL.RESNETS.WIDTH_PER_GROUP"] = kernel[1]
    offsets = {stage: shapes.get(f"{_BOTTOM_UP}{stage}.0.conv2_offset.weight") for stage in _STAGES}
    settings["MODEL.RESNETS.DEFORM_ON_PER_STAGE"] = [
        shape is not None for shape in offsets.values()
    ]
    found = [shape[0] for shape in offsets.values() if shape]
    if found:  # for 3x3 places offsets in y and x, in version 2 also a weight
        settings["MODEL.RESNETS.DEFORM_MODULATED"] = found[0] % 27 == 0
    settings["MODEL.BACKBONE.NAME"] = "build_fcos_resnet_fpn_backbone"
    last = shapes.get(f"{_BOTTOM_UP}res2.0.conv3.weight", kernel)
    settings["MODEL.RESNETS.RES2_OUT_CHANNELS"] = last[0]
    laterals = [f"res{i}" for i in range(2, 6) if f"backbone.fpn_lateral{i}.weight" in shapes]
    settings["MODEL.FPN.IN_FEATURES"] = laterals
    return settings


def _of_fpn(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    output = shapes.get("backbone.fpn_output5.weight")
    if output is None:
        return {}
    norm = ""
    if "backbone.fpn_output5.norm.weight" in shapes:
        norm = "BN" if "backbone.fpn_output5.norm.running_mean" in shapes else "GN"
    return {"MODEL.FPN.OUT_CHANNELS": output[0], "MODEL.FPN.NORM": norm}


def _of_head(shapes: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    layers = {tower: _layers(shapes, f"{HEAD}{tower}_tower.") for tower in ("share", "cls")}
    tower = "cls" if layers["cls"] else "share"
    norm = "none"
    if f"{HEAD}{tower}_tower.1.weight" in shapes:
        norm = "GN"
    elif f"{HEAD}{tower}_tower.1.0.weight" in shapes:
        norm = "BN"
    logits = shapes.get(f"{HEAD}cls_logits.bias", (0,))
    return {
        "MODEL.FCOS.NUM_CLASSES": logits[0],
        "MODEL.FCOS.NORM": norm,
        "MODEL.FCOS.NUM_SHARED_CONVS": len(layers["share"]),
        "MODEL.FCOS.NUM_STACKED_CONVS": len(layers["cls"]),
        "MODEL.FCOS.USE_DEFORMABLE": any(
            re.fullmatch(re.escape(HEAD) + r"cls_tower\.\d+\.offset\.weight", name)
            for name in shapes
        ),
        "MODEL.FCOS.USE_SCALE": f"{HEAD}scales.0.scale" in shapes,
    }


def _layers(shapes: dict[str, tuple[int, ...]], tower: str) -> list[int]:
    """Find the indices of the convolutions in a tower."""
    kernel = re.compile(re.escape(tower) + r"(\d+)\.(conv\.)?weight")
    found = [(kernel.fullmatch(name), shape) for name, shape in shapes.items()]
    return sorted(int(match[1]) for match, shape in found if match and len(shape) == 4)
