"""The schedule of a training: its learning rates, and a table to look at before it runs."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

from detectron2 import solver as detectron2_solver
from fcos.config import CfgNode
from fcos.config.training_checks import check_schedule
from fcos.engine.averaging import decay_at

__all__ = ["build_lr_scheduler", "doubts", "learning_rate", "schedule_table"]

# The paper's schedule: a learning rate of 0.01 for a batch of 16 images.
PAPER_RATE, PAPER_BATCH = 0.01, 16
# Usual rates of AdamW, for which there is no such rule.
ADAMW_RATE, ADAMW_MOST = 0.0001, 0.001
# Up to so many times above or below the paper's rate, a rate is a matter of taste.
TASTE = 4
# The table names no more changes of the rate than these.
MOST_CHANGES = 10


def build_lr_scheduler(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """Build detectron2's schedule, which keeps its last rate after the last iteration.

    The schedule is stepped after every iteration, so also to a rate that no iteration has. There
    WarmupStepWithFixedGammaLR has none, and fails.
    """
    check_schedule(cfg)
    scheduler: Any = detectron2_solver.build_lr_scheduler(cfg, optimizer)
    # Weak, or the scheduler would be in a cycle that keeps the model in memory.
    itself, rates, last = weakref.proxy(scheduler), type(scheduler).get_lr, cfg.SOLVER.MAX_ITER

    def get_lr() -> list[Any]:
        if itself.last_epoch < last:
            return rates(itself)
        return [group["lr"] for group in itself.optimizer.param_groups]

    scheduler.get_lr = get_lr
    return scheduler


def learning_rate(cfg: CfgNode) -> Callable[[int], float]:
    """Return a function from an iteration to its rate, of parameters without a factor of their own.

    It takes 0 to SOLVER.MAX_ITER - 1.
    """
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([parameter], lr=cfg.SOLVER.BASE_LR)
    scheduler: Any = build_lr_scheduler(cfg, optimizer)

    def rate(iteration: int) -> float:
        scheduler.last_epoch = iteration
        return scheduler.get_lr()[0]

    return rate


def doubts(cfg: CfgNode, from_weights: bool) -> list[str]:
    """Return a sentence for each thing in the schedule that is probably not meant.

    Args:
        cfg: the config, after ``REFERENCE_WORLD_SIZE`` was applied.
        from_weights: the backbone starts from trained weights.
    """
    solver, found = cfg.SOLVER, []
    if solver.WARMUP_ITERS > solver.MAX_ITER:
        found.append(
            f"SOLVER.WARMUP_ITERS is {solver.WARMUP_ITERS}, but SOLVER.MAX_ITER is "
            f"{solver.MAX_ITER}: the whole training is a warm-up, made shorter to fit; set "
            f"SOLVER.WARMUP_ITERS to {max(1, solver.MAX_ITER // 20)}, say."
        )
    rule, rate = _rule(solver), solver.BASE_LR
    if solver.OPTIMIZER == "AdamW":
        if rate > ADAMW_MOST:
            found.append(
                f"SOLVER.BASE_LR is {rate:g}, which moves every weight by about that much in each "
                f"step of AdamW; {ADAMW_RATE:g} is usual, and more than {ADAMW_MOST:g} rarely "
                "learns anything."
            )
    elif from_weights and not rule / TASTE * 0.999 < rate < rule * TASTE * 1.001:
        found.append(
            f"SOLVER.BASE_LR is {rate:g}, {rate / rule:.3g} times that of the linear rule for "
            f"{solver.IMS_PER_BATCH} images in a batch; where a training starts from weights, "
            f"SOLVER.BASE_LR {rule:g} is usual."
        )
    return found


def schedule_table(cfg: CfgNode, images: int, processes: int) -> str:
    """Make a table of the schedule that ``cfg`` gives a training set.

    Args:
        cfg: the config, after ``REFERENCE_WORLD_SIZE`` was applied.
        images: number of training images.
        processes: number of processes that share a batch.
    """
    solver, batch, rate = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH, learning_rate(cfg)

    def at(iteration: int) -> str:
        return f"{rate(iteration):.3g} from {iteration:,} ({epochs(iteration)})"

    def epochs(iterations: int) -> str:
        return f"{iterations * batch / images:.2f} epochs"

    share = "1 process" if processes == 1 else f"{processes} processes x {batch // processes}"
    if solver.ACCUMULATION_STEPS > 1:
        share += f", in {solver.ACCUMULATION_STEPS} passes"
    rows = [
        ("training images", f"{images:,}"),
        ("images per batch", f"{batch} ({share})"),
        ("iterations", f"{solver.MAX_ITER:,} ({epochs(solver.MAX_ITER)})"),
        *_base_rate(solver),
        ("warm-up", _warmup(solver, rate)),
        ("after warm-up", _decay(solver, rate, at)),
        ("last iteration", f"{rate(solver.MAX_ITER - 1):.3g}"),
        ("precision", _precision(solver)),
        *_average(solver),
        ("checkpoint every", _checkpoints(solver)),
        ("evaluation every", _evaluation(cfg)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}   {value}" for name, value in rows)


def _rule(solver: CfgNode) -> float:
    return PAPER_RATE * solver.IMS_PER_BATCH / PAPER_BATCH


def _base_rate(solver: CfgNode) -> list[tuple[str, str]]:
    if solver.OPTIMIZER == "AdamW":  # the rule is of SGD
        return [("learning rate", f"{solver.BASE_LR:g}, of AdamW")]
    rule = _rule(solver)
    return [
        ("learning rate", f"{solver.BASE_LR:g}, {solver.BASE_LR / rule:.3g} x the linear rule's"),
        ("  by the linear rule", f"{rule:g} ({PAPER_RATE:g} at {PAPER_BATCH} images)"),
    ]


def _precision(solver: CfgNode) -> str:
    if not solver.AMP.ENABLED:
        return "float32"
    is_scaled = solver.AMP.PRECISION == "float16"
    return f"{solver.AMP.PRECISION}{' with a gradient scaler' if is_scaled else ''}"


def _average(solver: CfgNode) -> list[tuple[str, str]]:
    if not solver.EMA_DECAY:
        return []
    first, last = (decay_at(update, solver.EMA_DECAY) for update in (1, solver.MAX_ITER))
    return [("average of weights", f"decay {first:.3g} to {last:.6g}, in model_final_ema.pth")]


def _warmup(solver: CfgNode, rate: Callable[[int], float]) -> str:
    given, most = solver.WARMUP_ITERS, solver.MAX_ITER
    if not given:
        return "none"
    length = f"{given:,} iterations" if given <= most else f"all {most:,} iterations, not {given:,}"
    end = rate(min(given, most - 1))
    return f"{length}, {solver.WARMUP_METHOD}, from {rate(0):.3g} to {end:.3g}"


def _decay(solver: CfgNode, rate: Callable[[int], float], at: Callable[[int], str]) -> str:
    first, last = solver.WARMUP_ITERS, solver.MAX_ITER - 1
    if first > last:
        return "no iteration"
    changes = list(itertools.islice(_changes(rate, first, last), MOST_CHANGES + 1))
    if len(changes) > MOST_CHANGES:  # a curve: a few of its points
        some = [first + 1 + (last - first) * part // 4 for part in (1, 2, 3)]
        return f"{solver.LR_SCHEDULER_NAME}, such as {', '.join(map(at, some))}"
    return ", ".join(map(at, changes)) or "constant"


def _changes(rate: Callable[[int], float], first: int, last: int) -> Iterator[int]:
    """Yield the iterations after ``first``, up to ``last``, whose rate is not the one before it.

    A schedule only falls or only rises, so between two equal rates there is no change. (To look at
    every iteration would take seconds for a schedule of COCO.)
    """
    if rate(first) == rate(last):
        return
    if last - first == 1:
        yield last
        return
    middle = (first + last) // 2
    yield from _changes(rate, first, middle)
    yield from _changes(rate, middle, last)


def _checkpoints(solver: CfgNode) -> str:
    number = solver.MAX_ITER // solver.CHECKPOINT_PERIOD
    return f"{solver.CHECKPOINT_PERIOD:,} iterations ({number:,} files), and model_final.pth"


def _evaluation(cfg: CfgNode) -> str:
    period = cfg.TEST.EVAL_PERIOD
    if not cfg.DATASETS.TEST:
        return "never: DATASETS.TEST is empty"
    if not period:
        return "only after the last iteration; no best checkpoint (TEST.EVAL_PERIOD is 0)"
    number = -(-cfg.SOLVER.MAX_ITER // period)  # rounded up, because of the last iteration
    times = f"{period:,} iterations ({number:,} with that after the last one)"
    what = "the best weights and the best average" if cfg.SOLVER.EMA_DECAY else "the best"
    verb = "are" if cfg.SOLVER.EMA_DECAY else "is"
    end = f"; ends early after {cfg.TEST.PATIENCE} that are no better" if cfg.TEST.PATIENCE else ""
    return f"{times}; {what} by {cfg.TEST.BEST_METRIC} {verb} kept{end}"
