"""Weights published by other implementations of FCOS: one file per family."""

from __future__ import annotations

from collections.abc import Collection

from fcos.checkpoint.importers import adelaidet, builtin, mmdetection, original, torchvision
from fcos.checkpoint.importers.family import HEAD, Family, Imported, Weights

__all__ = ["FAMILIES", "HEAD", "Family", "Imported", "Weights", "choose_classes", "recognise"]

FAMILIES = {
    module.FAMILY.name: module.FAMILY
    for module in (adelaidet, original, torchvision, mmdetection, builtin)
}


def recognise(names: Collection[str]) -> Family | None:
    """The family that weights are of, by the names of their parameters.

    Args:
        names: those of all parameters, without a prefix ``module.``.

    Returns:
        The family; ``None`` where the names are of none, or of several.
    """
    found = [family for family in FAMILIES.values() if family.is_of(names)]
    return found[0] if len(found) == 1 else None


def choose_classes(weights: Weights, family: Family, wanted: int | None) -> tuple[Weights, str]:
    """Weights of torchvision's 91 outputs for a model of COCO's 80 categories.

    Args:
        weights: with our names.
        family: that they come from.
        wanted: the number of classes of the model, if it is known.

    Returns:
        The weights, and a sentence on what was left out, or "".
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
