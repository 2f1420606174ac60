"""The scores to cut at, from the evaluations of a training to its checkpoints."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from detectron2.engine import HookBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from fcos.checkpoint import AdetCheckpointer, ScoreThresholds, add_thresholds
from fcos.config import CfgNode
from fcos.config.detector_keys import has_square_roots
from fcos.utils.agree import in_all

__all__ = ["FinalThresholds", "note_thresholds", "thresholds_entry"]

logger = logging.getLogger(__name__)

# Of detectors, by the detections of their last evaluation. detectron2's hook that evaluates has no
# other way to hand on more than numbers.
_NOTED: WeakKeyDictionary[nn.Module, ScoreThresholds] = WeakKeyDictionary()


def note_thresholds(
    cfg: CfgNode, model: nn.Module, evaluators: DatasetEvaluator | Sequence[DatasetEvaluator]
) -> None:
    """Choose the best score of each class from an evaluation, for :func:`thresholds_entry`.

    Args:
        cfg: of the detector.
        model: that was evaluated, in DistributedDataParallel or not.
        evaluators: of the evaluation. The first one's data set counts; where it has no method
            ``score_thresholds``, nothing is noted.
    """
    several = isinstance(evaluators, Sequence)
    first = next(iter(evaluators), None) if several else evaluators
    choose = getattr(first, "score_thresholds", None)
    found = choose(square_root=has_square_roots(cfg)) if choose else None
    _NOTED.pop(_unwrapped(model), None)
    if found is not None and not found.is_empty:
        _NOTED[_unwrapped(model)] = found


def thresholds_entry(model: nn.Module) -> dict[str, Any]:
    """Return the entry of a checkpoint for the last evaluation of a model; empty without one.

    Args:
        model: as given to :func:`note_thresholds`, with the weights that it had then.
    """
    found = _NOTED.get(_unwrapped(model))
    return found.entry() if found else {}


class FinalThresholds(HookBase):
    """Write the scores to cut at into ``model_final.pth`` after the evaluation at the end.

    The file is there before, so that no checkpoint is lost if the evaluation fails. Register it
    after the hook that evaluates.

    Args:
        checkpointer: of the file.
        name: of the file, without its ending.
    """

    def __init__(self, checkpointer: AdetCheckpointer, name: str = "model_final") -> None:
        self.checkpointer = checkpointer
        self.name = name

    def after_train(self) -> None:
        # As many iterations as detectron2's hook that evaluates asks for.
        if self.trainer.iter + 1 >= self.trainer.max_iter:
            in_all(self._write)

    def _write(self) -> None:
        found = _NOTED.get(_unwrapped(self.checkpointer.model))
        path = os.path.join(self.checkpointer.save_dir, f"{self.name}.pth")
        if found and comm.is_main_process() and os.path.isfile(path):
            add_thresholds(path, found)
            scores = [score for score in found.scores(found.square_root) if score is not None]
            logger.info(
                f"{path} has the scores to cut at, by {found.rule} of each class: "
                f"{min(scores):.2f}-{max(scores):.2f}."
            )


def _unwrapped(model: Any) -> Any:
    is_wrapped = isinstance(model, nn.parallel.DistributedDataParallel)
    return model.module if is_wrapped else model
