"""How a detector was trained: what a report says below its figures."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import yaml

from fcos.checkpoint import read_checkpoint
from fcos.checkpoint.stored_config import cfg_in
from fcos.evaluation.runs import RunFolder
from fcos.utils.errors import UserError
from fcos.utils.nested import flat

__all__ = ["Budget", "budget_of", "seed_of", "training_in", "weights_of"]


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training had; None where its files do not tell.

    Attributes:
        datasets: names in DATASETS.TRAIN.
        iterations: that the weights had.
        images_per_batch: SOLVER.IMS_PER_BATCH.
        sides: INPUT.MIN_SIZE_TRAIN.
        backbone: "R-50", or the model of timm.
        weights: MODEL.WEIGHTS that it began with; empty: at random.
    """

    datasets: tuple[str, ...]
    iterations: int | None
    images_per_batch: int | None
    sides: tuple[int, ...]
    backbone: str
    weights: str


def budget_of(values: dict[str, Any], iterations: int | None) -> Budget:
    """Read the budget from the config of a training, under dotted keys."""
    sides, batch = values.get("INPUT.MIN_SIZE_TRAIN"), values.get("SOLVER.IMS_PER_BATCH")
    names = values.get("DATASETS.TRAIN")
    return Budget(
        datasets=tuple(map(str, names)) if isinstance(names, (list, tuple)) else (),
        iterations=iterations,
        images_per_batch=batch if isinstance(batch, int) else None,
        sides=tuple(sides) if isinstance(sides, (list, tuple)) else (),
        backbone=_backbone(values),
        weights=str(values.get("MODEL.WEIGHTS") or ""),
    )


def _backbone(values: dict[str, Any]) -> str:
    if "timm" in str(values.get("MODEL.BACKBONE.NAME")):
        return str(values.get("MODEL.TIMM.NAME"))
    return f"R-{values.get('MODEL.RESNETS.DEPTH')}"


def weights_of(folder: RunFolder) -> str:
    """Return the weights that a folder was evaluated with, MODEL.WEIGHTS of its config.

    A relative path begins where the evaluation was started, which OUTPUT_DIR tells where it is
    relative too.
    """
    values = flat(folder.config)
    weights, output = (str(values.get(key) or "") for key in ("MODEL.WEIGHTS", "OUTPUT_DIR"))
    tail = os.sep + os.path.normpath(output)
    path = os.path.abspath(folder.path)
    if not weights or not path.endswith(tail):
        return weights
    there = os.path.join(path.removesuffix(tail), weights)
    is_here = os.path.isfile(weights) and os.path.isfile(there) and os.path.samefile(weights, there)
    return there if os.path.isfile(there) and not is_here else weights


def training_in(weights: str) -> tuple[dict[str, Any], int | None]:
    """Read the config, under dotted keys, and the number of iterations in a checkpoint.

    Returns:
        What it has; an empty config and None where it is no checkpoint of this package.
    """
    if not os.path.isfile(weights):  # also the name of a published model
        return {}, None
    try:
        checkpoint = read_checkpoint(weights)
        cfg = cfg_in(checkpoint, weights)
    except UserError:
        return {}, None
    iteration = checkpoint.get("iteration")
    if cfg is None or not isinstance(iteration, int):
        return {}, None
    return flat(yaml.safe_load(cfg.dump())), iteration + 1


def seed_of(values: dict[str, Any]) -> int | None:
    seed = values.get("SEED")
    return seed if isinstance(seed, int) and seed >= 0 else None
