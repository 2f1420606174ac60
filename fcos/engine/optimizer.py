"""The optimizer of a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from detectron2.solver import build as detectron2_solver
from fcos.config import CfgNode
from fcos.config.training_checks import check_optimizer
from fcos.modeling.backbone import parameters_without_decay

__all__ = ["build_optimizer"]


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build what SOLVER.OPTIMIZER names, for the parameters that require a gradient.

    SGD is detectron2's. AdamW does not decay, unless WEIGHT_DECAY_NORM or WEIGHT_DECAY_BIAS say so,
    norms and biases; nor parameters of one dimension, such as the scale of a layer, and those that
    timm names, such as the positions of a transformer.

    Raises:
        UserError: SOLVER.OPTIMIZER is unknown.
    """
    check_optimizer(cfg)
    if cfg.SOLVER.OPTIMIZER == "SGD":
        return detectron2_solver.build_optimizer(cfg, model)
    solver = cfg.SOLVER
    optimizer = torch.optim.AdamW(
        _groups(cfg, model), lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY
    )
    clipping: torch.optim.Optimizer = detectron2_solver.maybe_add_gradient_clipping(cfg, optimizer)
    return clipping


def _groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    solver = cfg.SOLVER
    groups = detectron2_solver.get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS or 0.0,  # by default None
    )
    others = [p for group in groups if "weight_decay" not in group for p in group["params"]]
    without = {id(p) for p in parameters_without_decay(model)}
    kept = [p for p in others if p.dim() <= 1 or id(p) in without]
    return detectron2_solver.reduce_param_groups([*groups, {"params": kept, "weight_decay": 0.0}])
