"""The bar of a training: where it is, with the loss; it ends with the last iteration."""

import io
import sys
from types import SimpleNamespace

from fcos.engine.progress import ProgressBar


class Tty(io.StringIO):
    def isatty(self):
        return True


def test_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Tty())
    trainer = SimpleNamespace(start_iter=2, max_iter=4, storage=SimpleNamespace(latest=dict))
    bar = ProgressBar()
    bar.trainer = trainer
    bar.before_train()
    bar._bar.mininterval = 0
    trainer.iter = 2
    bar.after_step()
    trainer.storage.latest = lambda: {"total_loss": (1.5, 3)}
    trainer.iter = 3
    bar.after_step()
    shown = sys.stdout.getvalue()
    assert "2/4" in shown and "4/4" in shown and "loss=1.500" in shown
    assert bar._bar is None  # closed
    bar.after_step()  # of a training that goes on, as detectron2's loop may
    bar.after_train()
