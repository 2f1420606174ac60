"""What a resumed training takes from its config, and what from its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from detectron2.solver import LRMultiplier
from fcos.config import CfgNode
from fcos.config.config import value_of
from fcos.config.unused import solver_keys
from fcos.engine.averaging import WeightAverage
from fcos.utils.errors import UserError

__all__ = ["require_same_optimizer", "settings_kept", "solver_settings", "without_average"]


@contextmanager
def settings_kept(
    optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler
) -> Iterator[None]:
    """Keep rate, momentum, decay, ... of the config while the state of a checkpoint is loaded.

    The state is the momentum of each weight and the iteration; the rate is then the schedule's
    at that iteration. Optimizers and schedules store their settings with their state.

    Args:
        optimizer: as built from the config.
        scheduler: of the same config. If it is not detectron2's, whose rate follows from the
            iteration, all settings are those of the checkpoint.
    """
    groups = optimizer.param_groups
    settings = [{k: v for k, v in g.items() if k not in ("params", "lr")} for g in groups]
    base_lrs = list(scheduler.base_lrs)
    yield
    if isinstance(scheduler, LRMultiplier):
        scheduler.base_lrs = base_lrs
        for group, kept in zip(optimizer.param_groups, settings, strict=True):
            group.update(kept)
        for group, rate in zip(optimizer.param_groups, scheduler.get_lr(), strict=True):
            group["lr"] = rate


def require_same_optimizer(cfg: CfgNode, place: dict[str, Any], path: str) -> None:
    """Refuse to go on with the state of another optimizer.

    Args:
        cfg: the config.
        place: what the checkpoint keeps of its training.
        path: of the checkpoint.
    """
    before, now = place.get("SOLVER.OPTIMIZER", "SGD"), cfg.SOLVER.OPTIMIZER
    if before != now:
        raise UserError(
            f"The training of {path} was with SOLVER.OPTIMIZER {before}, whose state {now} cannot "
            f"go on with; resume it with {before}, or start a new one from it: MODEL.WEIGHTS and "
            "another OUTPUT_DIR, without --resume."
        )


def without_average(state_dict: dict[str, Any], cfg: CfgNode) -> dict[str, Any]:
    """Return the state of a trainer without an average of weights, if the config has none."""
    if cfg.SOLVER.EMA_DECAY:
        return state_dict
    states = state_dict.get("hooks", {})
    left = {name: state for name, state in states.items() if name != WeightAverage.__qualname__}
    return {**state_dict, "hooks": left}


def solver_settings(cfg: CfgNode) -> dict[str, object]:
    """Return what a checkpoint keeps of SOLVER, to say on resume what has changed."""
    found = {f"SOLVER.{key}": value_of(cfg.SOLVER, key) for key in solver_keys(cfg)}
    return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items()}
