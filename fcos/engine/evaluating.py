"""What happens around an evaluation in a training: which weights, and which of them are kept."""

from __future__ import annotations

import os
from typing import Any

from detectron2.engine import HookBase, hooks
from fcos.engine.averaging import SUFFIX, WeightAverage
from fcos.engine.best import BestCheckpoint, EvaluationAgain
from fcos.engine.logs import WriteEvaluations
from fcos.engine.stopping import EarlyStop
from fcos.engine.thresholds import FinalThresholds
from fcos.engine.validation import validation_losses
from fcos.utils.agree import in_all

__all__ = ["evaluation_hooks"]


def evaluation_hooks(
    trainer: Any, evaluation: HookBase, average: WeightAverage | None
) -> list[HookBase]:
    """Make the hooks that belong to the evaluations of a training, in their order.

    Args:
        trainer: a :class:`fcos.engine.trainer.Trainer`, which imports this module.
        evaluation: the hook that evaluates the weights in training.
        average: averages them, if the config says so; its weights are evaluated too.

    Returns:
        ``evaluation`` and what comes right behind it.
    """
    cfg, period = trainer.cfg, trainer.cfg.TEST.EVAL_PERIOD
    built = [evaluation]
    if cfg.TEST.VALIDATION_LOSS:
        model = trainer.checkpointer.model
        built.append(hooks.EvalHook(period, lambda: validation_losses(cfg, model)))
    built.append(FinalThresholds(trainer.checkpointer))
    if average is not None:
        built.append(hooks.EvalHook(period, lambda: _test_average(trainer, average)))
        built.append(FinalThresholds(average.checkpointer, f"model_final{SUFFIX.lower()}"))
    if period > 0:
        best = _best(trainer, average)
        built += best
        if cfg.TEST.PATIENCE > 0:
            built.append(EarlyStop(best, cfg.TEST.PATIENCE, lambda: _end(trainer, average)))
        built.append(WriteEvaluations(period, trainer.writers))
        built.append(EvaluationAgain(tuple(built)))
    return built


def _best(trainer: Any, average: WeightAverage | None) -> list[BestCheckpoint]:
    names, metric = trainer.cfg.DATASETS.TEST, str(trainer.cfg.TEST.BEST_METRIC)
    if len(names) > 1:  # then results are named after their data set
        metric = f"{names[0]}/{metric}"
    period = trainer.cfg.TEST.EVAL_PERIOD
    best = [BestCheckpoint(trainer.checkpointer, period, metric)]
    if average is not None:
        of, _, rest = metric.partition("/")
        metric, name = f"{of}{SUFFIX}/{rest}", f"model_best{SUFFIX.lower()}"
        best.append(BestCheckpoint(average.checkpointer, period, metric, name))
    return best


def _end(trainer: Any, average: WeightAverage | None) -> None:
    """Write what is written after the last iteration, and let this be it."""
    if average is not None:
        average.save_final()
    in_all(lambda: trainer.checkpointer.save("model_final", iteration=trainer.iter))
    trainer.end_after(trainer.iter)


def _test_average(trainer: Any, average: WeightAverage) -> dict[str, Any]:
    """Evaluate the averaged weights; files are written to ``inference_EMA/``."""
    cfg = trainer.cfg
    folder = os.path.join(cfg.OUTPUT_DIR, f"inference{SUFFIX}")
    evaluators = [trainer.build_evaluator(cfg, name, folder) for name in cfg.DATASETS.TEST]
    results = dict(trainer.test(cfg, average.model, evaluators))
    if cfg.TEST.VALIDATION_LOSS:
        for name, values in validation_losses(cfg, average.model).items():
            results[name] = {**results.get(name, {}), **values}
    return {f"{name}{SUFFIX}": values for name, values in results.items()}
