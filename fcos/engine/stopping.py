"""The end of a training that no longer gets better."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence

from detectron2.engine import HookBase
from fcos.engine.best import BestCheckpoint, is_loss, metrics_of
from fcos.utils.agree import on_main
from fcos.utils.errors import UserError

__all__ = ["EarlyStop"]

logger = logging.getLogger(__name__)


class EarlyStop(HookBase):
    """End the training when several evaluations in a row have replaced no best checkpoint.

    It keeps no state: the best checkpoints hold the iteration that they are of. So a training that
    was ended and is resumed evaluates once more, and ends again; with a larger patience it goes on.
    Before the first value, when nothing is detected yet, nothing is counted. Register it after the
    hooks that keep the best checkpoints.

    Args:
        best: those hooks.
        patience: number of evaluations.
        end: ends the training after the current iteration; all processes call it.
    """

    def __init__(
        self, best: Sequence[BestCheckpoint], patience: int, end: Callable[[], None]
    ) -> None:
        self.best = tuple(best)
        self.patience = patience
        self._end: Callable[[], None] | None = end

    def after_step(self) -> None:
        done, period = self.trainer.iter + 1, self.best[0].period
        if done % period or done >= self.trainer.max_iter:
            return
        message = on_main(self._reason)
        if message and self._end is not None:
            logger.info(message)
            self._end()

    def after_train(self) -> None:
        self._end = None  # it refers to the trainer: a cycle that would keep the model in memory

    def _reason(self) -> str:
        """Say why the training ends here; "" if it does not. In the main process."""
        latest = self.trainer.storage.latest()
        for best in self.best:
            if best.metric not in latest:
                raise UserError(
                    f"TEST.BEST_METRIC {best.metric}, by which TEST.PATIENCE ends the training, is "
                    "not among the results of the evaluation; set it to one of "
                    f"{', '.join(metrics_of(latest)) or 'those of DATASETS.TEST'}."
                )
        iteration, last = self.trainer.iter, max(best.iteration for best in self.best)
        if last < 0 or (iteration - last) // self.best[0].period < self.patience:
            return ""
        return (
            f"The training ends early, after iteration {iteration} of {self.trainer.max_iter}: "
            f"{self.patience} evaluations in a row were no better than the best one. "
            f"{' '.join(map(self._sentence, self.best))} model_final.pth has the last weights. To "
            "train on, use --resume with a larger TEST.PATIENCE, or 0."
        )

    def _sentence(self, best: BestCheckpoint) -> str:
        path = os.path.join(best.checkpointer.save_dir, f"{best.name}.pth")
        least = "lowest" if is_loss(best.metric) else "highest"
        return (
            f"The {least} {best.metric}, {best.value:.3f}, was that after iteration "
            f"{best.iteration}; its weights are in {path}."
        )
