"""From the ``SOLVER`` part of a config to an optimizer and a learning rate schedule."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

import torch
from fvcore.common.param_scheduler import (
    CosineParamScheduler,
    MultiStepParamScheduler,
    ParamScheduler,
    StepWithFixedGammaParamScheduler,
)
from torch import nn
from torch.optim.lr_scheduler import LRScheduler

from detectron2._missing import missing_names
from detectron2.config import CfgNode
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler

__all__ = [
    "build_lr_scheduler",
    "build_optimizer",
    "get_default_optimizer_params",
    "maybe_add_gradient_clipping",
    "reduce_param_groups",
]

Group = dict[str, Any]
OptimizerOrClass = TypeVar("OptimizerOrClass", torch.optim.Optimizer, type[torch.optim.Optimizer])

NORM_LAYERS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """SGD with the settings of ``cfg.SOLVER`` for those parameters that require a gradient."""
    solver = cfg.SOLVER
    params = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
    )
    optimizer = torch.optim.SGD(
        params,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
        foreach=True,
    )
    return maybe_add_gradient_clipping(cfg, optimizer)


def maybe_add_gradient_clipping(cfg: CfgNode, optimizer: OptimizerOrClass) -> OptimizerOrClass:
    """The optimizer, clipping gradients before each step if ``SOLVER.CLIP_GRADIENTS`` says so.

    The state of the clipping optimizer is that of the plain one, so checkpoints fit both.

    Args:
        cfg: the whole config.
        optimizer: an optimizer, whose class is exchanged, or an optimizer class.

    Returns:
        The optimizer itself, or a class derived from the one given (itself without clipping).

    Raises:
        ValueError: ``CLIP_TYPE`` is neither "value" nor "norm".
    """
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        return optimizer
    clip = _gradient_clipper(cfg.SOLVER.CLIP_GRADIENTS)
    if isinstance(optimizer, type):
        return _with_gradient_clipping(optimizer, clip)
    optimizer.__class__ = _with_gradient_clipping(type(optimizer), clip)
    return optimizer


def _gradient_clipper(options: CfgNode) -> Callable[[nn.Parameter], Any]:
    """What to do to each parameter; ``options`` is ``SOLVER.CLIP_GRADIENTS``."""
    limit, norm_type = options.CLIP_VALUE, options.NORM_TYPE
    clippers = {
        "value": lambda parameter: nn.utils.clip_grad_value_(parameter, limit),
        "norm": lambda parameter: nn.utils.clip_grad_norm_(parameter, limit, norm_type),
    }
    if options.CLIP_TYPE not in clippers:
        raise ValueError(
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE: expected 'value' or 'norm' (of each parameter), "
            f"got {options.CLIP_TYPE!r}"
        )
    return clippers[options.CLIP_TYPE]


def _with_gradient_clipping(
    base: type[torch.optim.Optimizer], clip: Callable[[nn.Parameter], Any]
) -> type[torch.optim.Optimizer]:
    def step(self: torch.optim.Optimizer, closure: Callable | None = None) -> Any:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    clip(parameter)
        return base.step(self, closure)

    return type(f"{base.__name__}WithGradientClip", (base,), {"step": step})


def get_default_optimizer_params(
    model: nn.Module,
    base_lr: float | None = None,
    weight_decay: float | None = None,
    weight_decay_norm: float | None = None,
    bias_lr_factor: float | None = 1.0,
    weight_decay_bias: float | None = None,
    lr_factor_func: Callable[[str], float] | None = None,
    overrides: dict[str, dict[str, float]] | None = None,
) -> list[Group]:
    """Parameter groups for an optimizer: one for each set of settings that occurs.

    A parameter that several modules share is in one group only; one that requires no gradient
    is in none. Of settings that contradict each other the later in this list wins.

    Args:
        model: whose parameters to group.
        base_lr: learning rate; None leaves it to the optimizer.
        weight_decay: weight decay; None leaves it to the optimizer.
        lr_factor_func: maps the full name of a parameter to a factor of ``base_lr``.
        weight_decay_norm: weight decay of the parameters of normalisation layers.
        bias_lr_factor: factor of ``base_lr`` for all that is called "bias".
        weight_decay_bias: weight decay of all that is called "bias".
        overrides: from the last part of a parameter's name, such as "bias", to its settings.

    Raises:
        ValueError: a factor of the learning rate without ``base_lr``, or settings of "bias" both
            in ``overrides`` and by the arguments for it.
    """
    if lr_factor_func is not None and base_lr is None:
        raise ValueError("lr_factor_func is a factor of base_lr, give base_lr as well")
    by_name = dict(overrides or {})
    bias = _bias_settings(base_lr, bias_lr_factor, weight_decay_bias)
    if bias and "bias" in by_name:
        raise ValueError(
            "overrides has settings of 'bias', and so do bias_lr_factor or weight_decay_bias: "
            "give one of the two"
        )
    if bias:
        by_name["bias"] = bias

    defaults = _given(lr=base_lr, weight_decay=weight_decay)
    groups = []
    for module, full_name, parameter in _trainable(model):
        group: Group = {"params": [parameter], **defaults}
        if lr_factor_func is not None:
            group["lr"] *= lr_factor_func(full_name)
        if isinstance(module, NORM_LAYERS):
            group.update(_given(weight_decay=weight_decay_norm))
        group.update(by_name.get(full_name.rpartition(".")[2], {}))
        groups.append(group)
    return reduce_param_groups(groups)


def _given(**settings: float | None) -> dict[str, float]:
    return {key: value for key, value in settings.items() if value is not None}


def _bias_settings(
    base_lr: float | None, lr_factor: float | None, weight_decay: float | None
) -> dict[str, float]:
    settings = _given(weight_decay=weight_decay)
    if lr_factor is not None and lr_factor != 1.0:
        if base_lr is None:
            raise ValueError("bias_lr_factor is a factor of base_lr, give base_lr as well")
        settings["lr"] = base_lr * lr_factor
    return settings


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    """Each parameter that requires a gradient, once: its module, its full name, itself.

    The name of a parameter of ``model`` itself starts with a dot; ``lr_factor_func`` gets the
    same names from detectron2.
    """
    seen: set[nn.Parameter] = set()
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield module, f"{module_name}.{name}", parameter


def reduce_param_groups(params: list[Group]) -> list[Group]:
    """Merge groups of equal settings, so that an optimizer updates more tensors at once.

    Args:
        params: parameter groups. Where a parameter is in several, their settings are joined and
            those of later groups win.

    Returns:
        Groups with pairwise different settings, in the order in which they first occur.
    """
    merged: dict[tuple, Group] = {}
    for single in _expand_param_groups(params):
        settings = {key: value for key, value in single.items() if key != "params"}
        group = merged.setdefault(tuple(sorted(settings.items())), {"params": [], **settings})
        group["params"] += single["params"]
    return list(merged.values())


def _expand_param_groups(params: Iterable[Group]) -> list[Group]:
    """One group per parameter, with the settings of all groups that it is in."""
    single: dict[Any, Group] = {}
    for group in params:
        settings = {key: value for key, value in group.items() if key != "params"}
        for parameter in group["params"]:
            single.setdefault(parameter, {"params": [parameter]}).update(settings)
    return list(single.values())


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """The schedule that ``SOLVER.LR_SCHEDULER_NAME`` names, with its warm-up.

    Raises:
        ValueError: a key of ``SOLVER`` has a value that it cannot have.
    """
    solver = cfg.SOLVER
    schedules: dict[str, Callable[[CfgNode], ParamScheduler]] = {
        "WarmupMultiStepLR": _multi_step,
        "WarmupCosineLR": _cosine,
        "WarmupStepWithFixedGammaLR": _step_with_fixed_gamma,
    }
    name = solver.LR_SCHEDULER_NAME
    if name not in schedules:
        raise ValueError(
            f"SOLVER.LR_SCHEDULER_NAME: expected one of {list(schedules)}, got {name!r}"
        )
    multiplier = WarmupParamScheduler(
        schedules[name](solver),
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier, max_iter=solver.MAX_ITER)


def _multi_step(solver: CfgNode) -> ParamScheduler:
    steps = [step for step in solver.STEPS if step < solver.MAX_ITER]
    if len(steps) != len(solver.STEPS):
        logging.getLogger(__name__).warning(
            "SOLVER.STEPS %s: those not below SOLVER.MAX_ITER %d have no effect",
            tuple(solver.STEPS),
            solver.MAX_ITER,
        )
    if any(late <= early for early, late in pairwise([0, *steps])):
        raise ValueError(f"SOLVER.STEPS: expected increasing iterations, got {tuple(solver.STEPS)}")
    return MultiStepParamScheduler(
        [solver.GAMMA**power for power in range(len(steps) + 1)],
        num_updates=solver.MAX_ITER,
        milestones=steps,
    )


def _cosine(solver: CfgNode) -> ParamScheduler:
    if not 0 <= solver.BASE_LR_END <= solver.BASE_LR:
        raise ValueError(
            f"SOLVER.BASE_LR_END: expected 0 to SOLVER.BASE_LR, {solver.BASE_LR}, "
            f"got {solver.BASE_LR_END}"
        )
    return CosineParamScheduler(1.0, solver.BASE_LR_END / solver.BASE_LR)


def _step_with_fixed_gamma(solver: CfgNode) -> ParamScheduler:
    return StepWithFixedGammaParamScheduler(
        base_value=1.0,
        gamma=solver.GAMMA,
        num_decays=solver.NUM_DECAYS,
        num_updates=solver.MAX_ITER,
    )


__getattr__ = missing_names(__name__)
