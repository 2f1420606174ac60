"""A progress bar of a training, where a person looks at it."""

from __future__ import annotations

import sys

from tqdm import tqdm

from detectron2.engine import HookBase
from fcos.utils.terminal import progress_bar

__all__ = ["ProgressBar"]


class ProgressBar(HookBase):
    """Show the iterations with their loss; register it in the main process, on a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def before_train(self) -> None:
        done, last = self.trainer.start_iter, self.trainer.max_iter
        self._bar = progress_bar(last, initial=done, desc="Training", unit="it", file=sys.stdout)

    def after_step(self) -> None:
        if self._bar is not None:
            loss = self.trainer.storage.latest().get("total_loss")
            if loss is not None:
                self._bar.set_postfix(loss=f"{loss[0]:.3f}", refresh=False)
            self._bar.update(self.trainer.iter + 1 - self._bar.n)
            if self._bar.n >= self.trainer.max_iter:
                self.after_train()  # before the evaluation at the end

    def after_train(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
