"""The numbers of the page, in the form of its JSON file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from fcos.config import CfgNode
from fcos.config.config import value_of
from fcos.evaluation.dataset.advice import Advice
from fcos.evaluation.dataset.assignment import FATES, Assigned
from fcos.evaluation.dataset.changes import as_options, as_yaml
from fcos.evaluation.dataset.splits import class_rows
from fcos.evaluation.dataset.study import Study
from fcos.evaluation.dataset.suspicious import Shared, Suspicion
from fcos.modeling.fcos.settings import targets_of
from fcos.utils.json_files import for_json

__all__ = ["numbers_of"]

_NAMED = 20  # objects that are named of each kind
_THRESHOLDS = (4, 8, 16, 32)  # pixels


def numbers_of(config_file: str, options: Sequence[str], study: Study) -> dict[str, Any]:
    """Return all numbers of the page; those that cannot be measured are None.

    Args:
        config_file: of the training.
        options: changes to it, ``KEY, VALUE, ...``.
        study: of its data sets.
    """
    is_learnt = study.trial.assigned.fates.numpy() == 0
    of_classes = class_rows(study.splits, study.class_names, is_learnt)
    counts = [row["training_objects"] for row in of_classes if row["training_objects"]]
    node = study.trial.cfg.MODEL.FCOS
    return for_json(
        {
            "config": config_file,
            "options": list(options),
            "data_sets": [split.figures() for split in study.splits],
            "classes": of_classes,
            "imbalance": max(counts) / min(counts),
            "learnt": _learnt(study),
            "ambiguous": {
                "center_sample": node.CENTER_SAMPLE,
                "pos_radius": node.POS_RADIUS,
                "all_of_the_box": _ambiguous(study.of_box),
                "near_the_middle": _ambiguous(study.of_center),
            },
            "levels": _levels(study),
            "sizes": _sizes(study),
            "augmentation": _augmentation(study.trial.cfg),
            "refused": study.problem,
            "notes": study.notes,
            "suspicious": [_suspicious(found) for found in study.suspicions],
            "notes_on_classes": study.notes_on_classes,
            "shared_images": _shared(study.shared),
            "advice": [_advice(each) for each in study.advice],
            "tried": {
                "images": len(study.first.inputs.sizes),
                "before": study.first.figures,
                "after": study.last.figures,
                "config": _config_to_save(config_file, options, study),
            },
        }
    )


def _learnt(study: Study) -> dict[str, Any]:
    assigned = study.trial.assigned
    return {
        "images": len(study.trial.inputs.sizes),
        "objects": len(assigned.fates),
        "best_possible_recall": assigned.learnt,
        "fates": {fate: assigned.count(fate) for fate in FATES},
        "positive_locations": assigned.share_positive,
    }


def _suspicious(found: Suspicion) -> dict[str, Any]:
    return {
        "title": found.title,
        "advice": found.advice,
        "data_set": found.split.name,
        "objects": len(found.which),
        "named": found.names(_NAMED),
    }


def _shared(shared: Shared) -> dict[str, Any]:
    return {
        "pairs": shared.pairs[:_NAMED],
        "number": len(shared.pairs),
        "same_file": shared.same_file,
        "compared": shared.compared,
        "total": shared.total,
    }


def _ambiguous(assigned: Assigned) -> dict[str, float]:
    return {
        "best_possible_recall": assigned.learnt,
        "ambiguous": assigned.ambiguous,
        "between_classes": assigned.between,
        "positive_locations": assigned.num_positive,
    }


def _levels(study: Study) -> list[dict[str, Any]]:
    node, assigned = study.trial.cfg.MODEL.FCOS, study.trial.assigned
    limits = targets_of(study.trial.cfg).limits
    positives = assigned.positives.sum(dim=0).tolist()
    objects = (assigned.positives > 0).sum(dim=0).tolist()
    locations = assigned.locations.tolist()
    return [
        {
            "level": name.upper(),
            "stride": stride,
            "from": low,
            "to": high,
            "locations": locations[i],
            "positive": positives[i],
            "share": 100 * positives[i] / locations[i],
            "objects": objects[i],
        }
        for i, (name, stride, low, high) in enumerate(
            zip(node.IN_FEATURES, node.FPN_STRIDES, limits[:-1], limits[1:], strict=True)
        )
    ]


def _sizes(study: Study) -> dict[str, Any]:
    """Compare the shorter sides of objects on the files with those in the network."""
    on_file = np.concatenate([split.objects.sides.min(axis=1) for split in study.training])
    boxes = study.trial.inputs.boxes.numpy()
    sides = {"file": on_file, "network": (boxes[:, 2:] - boxes[:, :2]).min(axis=1)}
    node = study.trial.cfg.INPUT
    return {
        "MIN_SIZE_TRAIN": np.atleast_1d(node.MIN_SIZE_TRAIN).tolist(),
        "MAX_SIZE_TRAIN": node.MAX_SIZE_TRAIN,
        "scale": float(np.median(study.trial.inputs.sizes[:, 0].numpy() / _heights(study))),
        "median": {name: float(np.median(values)) for name, values in sides.items()},
        "below": [
            {"pixels": limit}
            | {name: float(100 * (values < limit).mean()) for name, values in sides.items()}
            for limit in _THRESHOLDS
        ],
    }


def _augmentation(cfg: CfgNode) -> dict[str, str]:
    """Return what is done to the images of a training before or after resizing, by key."""
    node = cfg.INPUT
    found = {"INPUT.RANDOM_FLIP": node.RANDOM_FLIP}
    if node.CROP.ENABLED:
        found["INPUT.CROP"] = f"{node.CROP.TYPE} {list(node.CROP.SIZE)}"
    if node.AUGMENTATIONS:
        found["INPUT.AUGMENTATIONS"] = str(list(node.AUGMENTATIONS))
    return found


def _heights(study: Study) -> np.ndarray:
    return np.concatenate([split.objects.sizes[:, 0] for split in study.training])


def _advice(advice: Advice) -> dict[str, Any]:
    return {
        "title": advice.title,
        "yaml": as_yaml(advice.changes),
        "options": as_options(advice.changes),
        "before": advice.before,
        "after": advice.after,
        "cost": advice.cost,
    }


def _config_to_save(config_file: str, options: Sequence[str], study: Study) -> str:
    """Return a config file with all advice on top of the config and its options."""
    changes = {key: value_of(study.trial.cfg, key) for key in options[::2]}
    for advice in study.advice:
        changes.update(advice.changes)
    return as_yaml(changes, os.path.abspath(config_file))
