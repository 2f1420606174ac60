"""The schedule of a training as a table, to be checked before the training runs."""

from __future__ import annotations

from fcos.config import CfgNode

__all__ = ["schedule_table"]

# The paper's schedule: a learning rate of 0.01 for a batch of 16 images.
PAPER_RATE, PAPER_BATCH = 0.01, 16


def schedule_table(cfg: CfgNode, images: int, processes: int) -> str:
    """Make a table of the schedule that ``cfg`` gives a training set.

    Args:
        cfg: the config, after ``REFERENCE_WORLD_SIZE`` was applied.
        images: number of training images.
        processes: number of processes that share a batch.
    """
    solver, batch = cfg.SOLVER, cfg.SOLVER.IMS_PER_BATCH
    rule = PAPER_RATE * batch / PAPER_BATCH

    def epochs(iterations: int) -> str:
        return f"{iterations * batch / images:.2f} epochs"

    share = "1 process" if processes == 1 else f"{processes} processes x {batch // processes}"
    rows = [
        ("training images", f"{images:,}"),
        ("images per batch", f"{batch} ({share})"),
        ("iterations", f"{solver.MAX_ITER:,} ({epochs(solver.MAX_ITER)})"),
        ("learning rate", f"{solver.BASE_LR:g}"),
        ("  by the linear rule", f"{rule:g} ({PAPER_RATE:g} at {PAPER_BATCH} images)"),
        ("warm-up", _warmup(solver)),
        ("after warm-up", _decay(solver, epochs)),
        ("precision", _precision(solver)),
        ("checkpoint every", f"{solver.CHECKPOINT_PERIOD:,} iterations"),
        ("evaluation every", _evaluation(cfg)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}   {value}" for name, value in rows)


def _precision(solver: CfgNode) -> str:
    if not solver.AMP.ENABLED:
        return "float32"
    is_scaled = solver.AMP.PRECISION == "float16"
    return f"{solver.AMP.PRECISION}{' with a gradient scaler' if is_scaled else ''}"


def _warmup(solver: CfgNode) -> str:
    if not solver.WARMUP_ITERS:
        return "none"
    start = solver.BASE_LR * solver.WARMUP_FACTOR
    return f"{solver.WARMUP_ITERS:,} iterations, {solver.WARMUP_METHOD}, from {start:.3g}"


def _decay(solver: CfgNode, epochs) -> str:
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        return solver.LR_SCHEDULER_NAME
    rate, parts = solver.BASE_LR, []
    for step in (s for s in solver.STEPS if s < solver.MAX_ITER):
        rate *= solver.GAMMA
        parts.append(f"{rate:.3g} from {step:,} ({epochs(step)})")
    return ", ".join(parts) or "constant"


def _evaluation(cfg: CfgNode) -> str:
    if not cfg.DATASETS.TEST:
        return "never: DATASETS.TEST is empty"
    if not cfg.TEST.EVAL_PERIOD:
        return "only after the last iteration; no best checkpoint (TEST.EVAL_PERIOD is 0)"
    return f"{cfg.TEST.EVAL_PERIOD:,} iterations; the best by {cfg.TEST.BEST_METRIC} is kept"
