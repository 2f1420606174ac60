"""The hooks one by one, on a model of one weight."""

import logging
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.engine.best import BestCheckpoint
from fcos.engine.hooks import (
    Checkpoints,
    IterationSeed,
    LossGuard,
    StopOnSignal,
    TrainingStopped,
)
from fcos.engine.loop import TrainingLoop
from fcos.utils.errors import UserError

pytestmark = pytest.mark.cpu


class Model(nn.Module):
    """Two losses; ``bad`` maps an iteration to values that replace them."""

    def __init__(self, bad=()):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(1.0))
        self.bad = dict(bad)
        self.calls = 0

    def forward(self, images):
        losses = {"loss_a": self.weight * 1.0, "loss_b": self.weight * 2.0}
        for name, value in self.bad.get(self.calls, {}).items():
            losses[name] = losses[name] * value
        self.calls += 1
        return losses


def batches():
    number = 0
    while True:
        yield [{"file_name": f"{number}-{i}.jpg"} for i in range(2)]
        number += 1


def trainer(folder, model=None, hooks=()):
    model = model or Model()
    loop = TrainingLoop(model, batches(), torch.optim.SGD(model.parameters(), 0.1))
    loop.checkpointer = AdetCheckpointer(model, str(folder), trainer=loop)
    loop.seed = 3
    loop.register_hooks([hook(loop.checkpointer) for hook in hooks])
    return loop


# ---- losses that are not finite --------------------------------------------------------------


def guarded(folder, bad):
    return trainer(folder, Model(bad), [LossGuard, lambda c: Checkpoints(c, period=2)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path, value):
    loop = guarded(tmp_path, {3: {"loss_b": value}})
    with pytest.raises(UserError) as error:
        loop.train(0, 10)
    message = str(error.value)
    assert message.startswith(f"The loss is not finite at iteration 3: loss_b is {value}, for the ")
    assert "for the images 3-0.jpg, 3-1.jpg. The weights were not changed by it" in message
    assert f"{tmp_path}/model_0000001.pth is intact" in message
    assert "Lower SOLVER.BASE_LR" in message
    assert loop.model.weight.item() == pytest.approx(1 - 3 * 0.1 * 3)  # three steps, no fourth
    saved = read_checkpoint(str(tmp_path / "model_0000001.pth"))["model"]["weight"]
    assert saved.item() == pytest.approx(1 - 2 * 0.1 * 3)


def test_all_terms_are_named_and_no_checkpoint_is_said(tmp_path):
    loop = guarded(tmp_path, {0: {"loss_a": math.inf, "loss_b": math.nan}})
    with pytest.raises(
        UserError, match=r"loss_a is inf, loss_b is nan.*there is no checkpoint yet"
    ):
        loop.train(0, 10)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """Finite losses can have gradients that are not: sqrt at 0."""

    class Sqrt(Model):
        def forward(self, images):
            zero = 1e-50 if self.calls == 3 else 0.0
            self.calls += 1
            return {"loss_a": (self.weight * zero).sqrt() if zero else self.weight * 1.0}

    model = Sqrt()
    loop = trainer(tmp_path, model, [LossGuard, lambda c: Checkpoints(c, period=2)])
    with pytest.raises(UserError) as error:
        loop.train(0, 4)
    assert "The parameter weight is not finite after iteration 3" in str(error.value)
    assert f"{tmp_path}/model_0000001.pth is intact" in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]


# ---- checkpoints -----------------------------------------------------------------------------


def test_checkpoints_come_regularly_and_last(tmp_path):
    trainer(tmp_path, hooks=[lambda c: Checkpoints(c, period=2)]).train(0, 5)
    names = ["last_checkpoint", "model_0000001.pth", "model_0000003.pth", "model_final.pth"]
    assert sorted(os.listdir(tmp_path)) == names
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    final = read_checkpoint(str(tmp_path / "model_final.pth"))
    assert final["iteration"] == 4
    assert final["trainer"]["iteration"] == 4


def best_hooks(metrics, metric="bbox/AP"):
    values = iter(metrics)
    return [
        lambda c: Checkpoints(c, period=2),
        lambda c: EvalHook(2, lambda: {"bbox": dict.fromkeys(["AP", "AP75"], next(values))}),
        lambda c: BestCheckpoint(c, 2, metric),
    ]


def test_the_best_checkpoint_is_kept_beside_the_last(tmp_path):
    trainer(tmp_path, hooks=best_hooks([0.2, 0.5, math.nan, 0.4])).train(0, 8)
    best = read_checkpoint(str(tmp_path / "model_best.pth"))
    assert best["best"] == {"metric": "bbox/AP", "value": 0.5, "iteration": 3}
    assert best["iteration"] == best["trainer"]["iteration"] == 3
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


def test_nothing_detected_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fcos"):
        trainer(tmp_path, hooks=best_hooks([math.nan, 0.5, math.nan])).train(0, 6)
    said = [record.message for record in caplog.records if "is NaN" in record.message]
    start = "bbox/AP is NaN: nothing was detected, or there is nothing to find. model_best.pth"
    assert said == [f"{start} is not there yet.", f"{start} stays as it is."]
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["best"]["value"] == 0.5


def test_the_last_evaluation_counts(tmp_path):
    trainer(tmp_path, hooks=best_hooks([0.2, 0.5])).train(0, 4)
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["best"]["iteration"] == 3
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["best"]["value"] == 0.5


@pytest.mark.parametrize(("first", "kept"), [(0.45, 0.5), (0.55, 0.55)])
def test_a_resumed_training_knows_the_best_so_far(tmp_path, first, kept):
    trainer(tmp_path, hooks=best_hooks([0.5, 0.1])).train(0, 4)
    trainer(tmp_path, hooks=best_hooks([first, 0.1])).train(4, 8)
    assert read_checkpoint(str(tmp_path / "model_best.pth"))["best"]["value"] == kept


def test_the_best_of_another_metric_does_not_count(tmp_path):
    trainer(tmp_path, hooks=best_hooks([0.9, 0.9])).train(0, 4)
    trainer(tmp_path, hooks=best_hooks([0.3, 0.2], "bbox/AP75")).train(4, 8)
    best = read_checkpoint(str(tmp_path / "model_best.pth"))["best"]
    assert best == {"metric": "bbox/AP75", "value": 0.3, "iteration": 5}


def test_a_metric_that_is_not_reported_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="fcos"):
        trainer(tmp_path, hooks=best_hooks([0.5, 0.5], "segm/AP")).train(0, 4)
    assert "TEST.BEST_METRIC segm/AP is not among the results" in caplog.text
    assert "there are: bbox/AP, bbox/AP75." in caplog.text
    assert not (tmp_path / "model_best.pth").exists()


# ---- random numbers --------------------------------------------------------------------------


class Draws(HookBase):
    def __init__(self, into):
        self.into = into

    def after_step(self):
        self.into.append(torch.rand(()).item())


def test_random_numbers_of_an_iteration_depend_on_seed_and_iteration(tmp_path):
    def draws(start, stop, seed=3):
        into = []
        loop = trainer(tmp_path, hooks=[lambda c: IterationSeed(), lambda c: Draws(into)])
        loop.seed = seed
        loop.train(start, stop)
        return into

    whole = draws(0, 6)
    assert len(set(whole)) == 6
    torch.rand(7)
    assert draws(3, 6) == whole[3:]
    assert not set(draws(0, 6, seed=4)) & set(whole)


def test_every_process_draws_other_random_numbers_in_every_iteration(monkeypatch):
    drawn, hook = set(), IterationSeed()
    for rank in (0, 1):
        processes = SimpleNamespace(get_rank=lambda rank=rank: rank, get_world_size=lambda: 2)
        monkeypatch.setattr("fcos.engine.hooks.comm", processes)
        for iteration in range(5):
            hook.trainer = SimpleNamespace(iter=iteration, seed=3)
            hook.before_step()
            drawn.add(torch.rand(()).item())
    assert len(drawn) == 2 * 5


# ---- signals ---------------------------------------------------------------------------------


class Send(HookBase):
    """Sends this process a signal in the middle of an iteration."""

    def __init__(self, number, iteration):
        self.number, self.iteration = number, iteration

    def before_step(self):
        if self.trainer.iter == self.iteration:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_training_after_the_iteration(tmp_path, number):
    before = signal.getsignal(number)
    loop = trainer(tmp_path, hooks=[StopOnSignal, lambda c: Send(number, 3)])
    with pytest.raises(TrainingStopped) as stopped:
        loop.train(0, 10)
    assert stopped.value.exit_code == 128 + number
    assert str(stopped.value) == (
        f"Stopped by {number.name} after iteration 3; {tmp_path}/model_0000003.pth is written, and "
        "--resume goes on from it."
    )
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000003.pth"
    saved = read_checkpoint(str(tmp_path / "model_0000003.pth"))
    assert saved["iteration"] == saved["trainer"]["iteration"] == 3
    assert saved["model"]["weight"].item() == pytest.approx(1 - 4 * 0.1 * 3)  # four whole steps
    assert signal.getsignal(number) is before


SLOW = """
import sys, time
from tests.engine.test_hooks import Model, StopOnSignal, trainer

class Slow(Model):
    def forward(self, images):
        print("running", flush=True)
        time.sleep(60)
        return super().forward(images)

trainer(sys.argv[1], Slow(), [StopOnSignal]).train(0, 2)
"""


def test_a_second_interrupt_leaves_at_once(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)  # within a second: the same Ctrl-C, told twice
    time.sleep(1.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == -signal.SIGINT
    assert list(tmp_path.iterdir()) == []
