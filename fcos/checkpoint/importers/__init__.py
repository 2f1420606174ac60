"""Weights published by other implementations of FCOS: one file per family."""

from __future__ import annotations

import re
from collections.abc import Collection

from fcos.checkpoint.importers import adelaidet, builtin, mmdetection, original, torchvision
from fcos.checkpoint.importers.family import HEAD, Family, Imported, Weights
from fcos.utils.errors import UserError

__all__ = [
    "FAMILIES",
    "HEAD",
    "Family",
    "Imported",
    "Weights",
    "check_backbone",
    "choose_classes",
    "is_ours",
    "leave_masks",
    "recognise",
]

FAMILIES = {
    module.FAMILY.name: module.FAMILY
    for module in (adelaidet, original, torchvision, mmdetection, builtin)
}

_OUR_FPN = re.compile(r"backbone\.(fpn_(lateral|output)\d|top_block)\.")


def recognise(names: Collection[str]) -> Family | None:
    """Find the family of weights by the names of their parameters.

    Args:
        names: those of all parameters, without a prefix ``module.``.

    Returns:
        The family; ``None`` if the names fit none, or several.
    """
    found = [family for family in FAMILIES.values() if family.is_of(names)]
    return found[0] if len(found) == 1 else None


def choose_classes(weights: Weights, family: Family, wanted: int | None) -> tuple[Weights, str]:
    """Choose the outputs of COCO's 80 categories among the 91 outputs of torchvision.

    Args:
        weights: with our names.
        family: where they come from.
        wanted: the number of classes of the model, if it is known.

    Returns:
        The weights, and a sentence that tells what was chosen, or "".
    """
    names = [f"{HEAD}cls_logits.weight", f"{HEAD}cls_logits.bias"]
    rows = list(torchvision.COCO_CATEGORY_IDS)
    if family is not torchvision.FAMILY or wanted != len(rows):
        return weights, ""
    if any(name not in weights or len(weights[name]) != 91 for name in names):
        return weights, ""
    chosen = {name: weights[name][rows] for name in names}
    return weights | chosen, (
        "Of its 91 outputs, the 80 that are categories of COCO are taken, in COCO's order."
    )


def leave_masks(weights: Weights, wanted: Collection[str]) -> tuple[Weights, tuple[str, ...]]:
    """Leave out the mask head for a model without masks; the boxes do not depend on it.

    Args:
        weights: with our names.
        wanted: names of the parameters of the model.

    Returns:
        The weights, and the names of the parameters that were left out.
    """
    prefix = "roi_heads.mask_head."
    left = tuple(name for name in weights if name.startswith(prefix))
    if not left or any(name.startswith("roi_heads.") for name in wanted):
        return weights, ()
    return {name: value for name, value in weights.items() if name not in left}, left


def is_ours(name: str) -> bool:
    """Say whether a renamed parameter belongs to a part that our detectors have."""
    part = rf"{_OUR_FPN.pattern}|backbone\.bottom_up\.|{re.escape(HEAD)}|roi_heads\.mask_head\."
    return re.match(part, name) is not None


def check_backbone(weights: Weights, family: Family, path: str) -> None:
    """Refuse a detector whose backbone no rule of its family knows.

    Args:
        weights: renamed to ours by the rules.
        family: where they come from.
        path: of the file, for the message.

    Raises:
        UserError: no parameter was renamed to one of a backbone.
    """
    names = [n for n in weights if n.startswith("backbone.") and not _OUR_FPN.match(n)]
    if names and not any(re.match(rf"backbone\.bottom_up\.|{family.kept}", n) for n in names):
        raise UserError(
            f"{path} is of the family {family.name}, but its backbone is none that is read here: "
            f"its {len(names)} names, such as {names[0]}, are not those of a ResNet; "
            f"configs/published/{family.name} has the models that are read."
        )
