"""Changes to a config that make its locations learn more of a data set, each of them tried."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from fcos.config import CfgNode
from fcos.evaluation.dataset.assignment import Assigned, assign
from fcos.evaluation.dataset.changes import (
    Changes,
    center_variants,
    changed,
    level_variants,
    size_variants,
)
from fcos.evaluation.dataset.objects import Inputs, Objects, network_inputs
from fcos.modeling.fcos.settings import targets_of

__all__ = [
    "Advice",
    "Trial",
    "advise",
    "advise_on_number",
    "try_config",
]

# Of the gain that the best of several changes has, an earlier one, which costs less, has enough.
_ENOUGH = 0.8
# Percent: the least gain that is worth a change, and the most that other figures may lose by it.
_LEAST_LEARNT, _LEAST_CLEAR = 0.5, 1.0
_MOST_LOST = 0.1


@dataclasses.dataclass(frozen=True)
class Trial:
    """A config, and what its locations learn."""

    cfg: CfgNode
    inputs: Inputs
    assigned: Assigned

    @property
    def figures(self) -> dict[str, float]:
        """Percent, to one digit or more, by name."""
        return {
            "learnt": self.assigned.learnt,
            "ambiguous": self.assigned.ambiguous,
            "between": self.assigned.between,
        }


@dataclasses.dataclass(frozen=True)
class Advice:
    """A change to a config.

    Attributes:
        title: what it changes.
        changes: by key.
        before, after: figures by name, with all earlier advice followed.
        cost: what it costs, in a sentence.
    """

    title: str
    changes: Changes
    before: dict[str, float]
    after: dict[str, float]
    cost: str


def try_config(cfg: CfgNode, objects: Sequence[Objects], most_images: int) -> Trial:
    """Assign the objects of at most about ``most_images`` images as a config says."""
    inputs = network_inputs(cfg, objects).sample(most_images)
    return Trial(cfg, inputs, assign(inputs, targets_of(cfg)))


def advise(
    cfg: CfgNode, objects: Sequence[Objects], most_images: int
) -> tuple[list[Advice], list[Trial]]:
    """Try changes one after the other, and keep those that improve a figure.

    Args:
        cfg: the config.
        objects: of each training set.
        most_images: that each change is tried on, at most.

    Returns:
        The advice, in order; and the trials of the config as it is, and with all of it followed.
    """
    first = trial = try_config(cfg, objects, most_images)
    found: list[Advice] = []
    if not len(trial.inputs.boxes):
        return found, [first, trial]
    for step in _STEPS:
        variants = [change for change in step.variants(trial.cfg) if _changes(trial.cfg, change)]
        trials = [try_config(changed(trial.cfg, v), objects, most_images) for v in variants]
        index = _choose(trial, trials, step)
        if index is None:
            continue
        chosen = trials[index]
        cost = step.cost(trial, chosen)
        found.append(Advice(step.title, variants[index], trial.figures, chosen.figures, cost))
        trial = chosen
    return found, [first, trial]


def advise_on_number(cfg: CfgNode, objects: Sequence[Objects]) -> list[Advice]:
    """Let an image have as many detections as it has objects.

    Args:
        cfg: the config.
        objects: of each data set, those to evaluate on among them.
    """
    limit = cfg.MODEL.FCOS.NMS_POST_TOPK
    counts = np.concatenate([each.per_image for each in objects])
    most = int(counts.max(initial=0))
    if most <= limit:
        return []
    wanted = math.ceil(1.25 * most / 50) * 50
    changes = {"MODEL.FCOS.NMS_POST_TOPK": wanted}
    if wanted > cfg.MODEL.FCOS.NMS_PRE_TOPK:
        changes["MODEL.FCOS.NMS_PRE_TOPK"] = wanted
    before = {"countable": float(100 * np.minimum(counts, limit).sum() / counts.sum())}
    cost = f"An image has up to {most} objects, but {limit} detections at most."
    return [Advice("Detections of an image", changes, before, {"countable": 100.0}, cost)]


@dataclasses.dataclass(frozen=True)
class _Step:
    """Variants of one kind, cheapest first, and what is to be gained by them."""

    title: str
    variants: Callable[[CfgNode], list[Changes]]
    gain: Callable[[Trial], float]
    least: float
    cost: Callable[[Trial, Trial], str]


def _choose(before: Trial, trials: Sequence[Trial], step: _Step) -> int | None:
    """Return the index of the first trial that gains enough; None: none gains anything."""
    gains = [
        step.gain(trial) - step.gain(before) if _loses_nothing(before, trial) else -math.inf
        for trial in trials
    ]
    best = max(gains, default=-math.inf)
    if best < step.least:
        return None
    return next(i for i, gain in enumerate(gains) if gain >= max(step.least, _ENOUGH * best))


def _loses_nothing(before: Trial, after: Trial) -> bool:
    is_learnt = after.assigned.learnt >= before.assigned.learnt - _MOST_LOST
    return is_learnt and after.assigned.between <= before.assigned.between + _LEAST_CLEAR


def _changes(cfg: CfgNode, changes: Changes) -> bool:
    return bool(changes) and changed(cfg, changes) != cfg


def _cost_of_levels(before: Trial, after: Trial) -> str:
    ratio = int(after.assigned.locations.sum()) / int(before.assigned.locations.sum())
    return (
        "It costs no time." if ratio == 1 else f"The head runs on {ratio:.1f} times the locations."
    )


def _cost_of_size(before: Trial, after: Trial) -> str:
    pixels = [float(trial.inputs.sizes.prod(dim=1).sum()) for trial in (before, after)]
    return f"Images have {pixels[1] / pixels[0]:.1f} times the pixels, for training and detection."


def _cost_of_center(before: Trial, after: Trial) -> str:
    ratio = after.assigned.num_positive / before.assigned.num_positive
    return f"It costs no time; {ratio:.2f} times as many locations are positive."


_STEPS = (
    _Step(
        "Which level learns which size",
        level_variants,
        lambda trial: trial.assigned.learnt,
        _LEAST_LEARNT,
        _cost_of_levels,
    ),
    _Step(
        "Size of the images",
        size_variants,
        lambda trial: trial.assigned.learnt,
        _LEAST_LEARNT,
        _cost_of_size,
    ),
    _Step(
        "Locations near the middle of a box only",
        center_variants,
        lambda trial: trial.assigned.learnt - trial.assigned.ambiguous,
        _LEAST_CLEAR,
        _cost_of_center,
    ),
)
