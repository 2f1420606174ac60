"""The hooks of detectron2.engine.hooks, one by one."""

import json
import logging
import math
import os

import pytest
import torch
from engine_toys import Parabola, Probe, simple_trainer
from fvcore.common.checkpoint import Checkpointer
from fvcore.common.param_scheduler import LinearParamScheduler
from torch import nn

from detectron2.engine import HookBase, hooks
from detectron2.utils.events import EventWriter, JSONWriter, get_event_storage


def run(*registered, start=0, end=6):
    trainer = simple_trainer()
    trainer.register_hooks(registered)
    trainer.train(start, end)
    return trainer


def iterations(trainer, name):
    return [i for _, i in trainer.storage.history(name).values()]


def messages(caplog, level=logging.INFO):
    return [r.getMessage() for r in caplog.records if r.levelno == level]


def test_callbacks_get_the_trainer():
    calls = []
    hook = hooks.CallbackHook(
        before_train=lambda trainer: calls.append(("before_train", trainer.iter)),
        after_train=lambda trainer: calls.append(("after_train", trainer.iter)),
        after_step=lambda trainer: calls.append(("after_step", trainer.iter)),
    )
    run(hook, end=2)
    assert calls == [
        ("before_train", 0),
        ("after_step", 0),
        ("after_step", 1),
        ("after_train", 2),
    ]


@pytest.mark.parametrize(
    "warmup, start, timed", [(3, 0, [2, 3, 4, 5]), (3, 2, [4, 5]), (1, 3, [3, 4, 5])]
)
def test_iteration_timer(warmup, start, timed, caplog):
    caplog.set_level(logging.INFO)
    trainer = run(hooks.IterationTimer(warmup), start=start)
    assert iterations(trainer, "time") == timed
    assert all(0 < seconds < 1 for seconds, _ in trainer.storage.history("time").values())
    summary = messages(caplog)[-2:]
    assert summary[0].startswith(f"Overall training speed: {len(timed)} iterations in 0:00:00 (0.")
    assert summary[1] == "Total training time: 0:00:00 (0:00:00 on hooks)"


def test_iteration_timer_of_a_training_shorter_than_the_warmup(caplog):
    caplog.set_level(logging.INFO)
    trainer = run(hooks.IterationTimer(3), end=2)
    assert "time" not in trainer.storage.histories()
    assert not any("Overall" in message for message in messages(caplog))


class Recorder(EventWriter):
    def __init__(self):
        self.log = []

    def write(self):
        self.log.append(get_event_storage().iter)

    def close(self):
        self.log.append("closed")


@pytest.mark.parametrize(
    "start, end, log",
    [(0, 7, [2, 5, 6, 7, "closed"]), (0, 6, [2, 5, 6, "closed"]), (4, 6, [5, 6, "closed"])],
)
def test_periodic_writer(start, end, log):
    writers = [Recorder(), Recorder()]
    run(hooks.PeriodicWriter(writers, period=3), start=start, end=end)
    assert [writer.log for writer in writers] == [log, log]


def test_metrics_json(tmp_path):
    path = tmp_path / "metrics.json"
    evaluation = hooks.EvalHook(0, lambda: {"bbox": {"AP": 12.5}})
    run(evaluation, hooks.PeriodicWriter([JSONWriter(str(path))], period=2), end=3)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [1, 2, 3]
    assert lines[0].keys() == {
        *("iteration", "total_loss", "loss_line", "loss_square", "data_time", "rank_data_time")
    }
    # The median of 2 and 1.19 is their mean.
    assert lines[0]["total_loss"] == pytest.approx(1.595)
    assert lines[2] == {"iteration": 3, "bbox/AP": 12.5}


@pytest.mark.parametrize(
    "end, kwargs, files",
    [
        (7, {}, ["model_0000002.pth", "model_0000005.pth", "model_final.pth"]),
        (6, {}, ["model_0000002.pth", "model_0000005.pth", "model_final.pth"]),
        (7, {"max_to_keep": 1}, ["model_0000005.pth", "model_final.pth"]),
        (2, {"file_prefix": "net"}, ["net_final.pth"]),
    ],
)
def test_periodic_checkpointer(end, kwargs, files, tmp_path):
    trainer = simple_trainer()
    checkpointer = Checkpointer(trainer.model, str(tmp_path), trainer=trainer)
    trainer.register_hooks([hooks.PeriodicCheckpointer(checkpointer, 3, **kwargs)])
    trainer.train(0, end)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", *files]
    assert (tmp_path / "last_checkpoint").read_text() == files[-1]
    saved = torch.load(tmp_path / files[-1])
    assert saved.keys() == {"model", "trainer", "iteration"}
    assert saved["iteration"] == saved["trainer"]["iteration"] == end - 1


@pytest.mark.parametrize(
    "period, end, after_train, evaluated",
    [
        (2, 4, True, [1, 4]),
        (2, 4, False, [1]),
        (2, 5, True, [1, 3, 5]),
        (0, 3, True, [3]),
        (0, 3, False, []),
    ],
)
def test_eval_hook(period, end, after_train, evaluated):
    at = []
    trainer = simple_trainer()

    def evaluate():
        at.append(trainer.iter)
        return {"bbox": {"AP": 1.5, "small": {"AR": 2}}, "n": 3}

    trainer.register_hooks([hooks.EvalHook(period, evaluate, after_train)])
    trainer.train(0, end)
    assert at == evaluated
    if at:
        assert iterations(trainer, "bbox/AP") == at
        assert trainer.storage.latest()["bbox/small/AR"] == (2.0, at[-1])
        assert trainer.storage.latest()["n"] == (3.0, at[-1])
        assert trainer.storage.smoothing_hints()["bbox/AP"] is False


def test_eval_hook_does_not_evaluate_after_a_failure():
    class Fail(HookBase):
        def after_step(self):
            raise RuntimeError("stop")

    calls = []
    with pytest.raises(RuntimeError, match="stop"):
        run(hooks.EvalHook(0, lambda: calls.append(1)), Fail())
    assert calls == []


@pytest.mark.parametrize("nothing", [None, {}])
def test_eval_hook_without_results(nothing):
    trainer = run(hooks.EvalHook(0, lambda: nothing), end=1)
    assert "loss_line" in trainer.storage.histories()


def test_eval_hook_says_which_result_is_no_number():
    with pytest.raises(ValueError, match="bbox/AP"):
        run(hooks.EvalHook(1, lambda: {"bbox": {"AP": [1]}}))


@pytest.mark.parametrize(
    "mode, values, saved_at",
    [
        ("max", [0.3, 0.4, 0.35, 0.5], [1, 3, 8]),
        ("min", [1.0, 0.8, 0.9, 0.8], [1, 3]),
        ("max", [math.nan, 0.4, 0.3, math.nan], [3]),
    ],
)
def test_best_checkpointer(mode, values, saved_at, tmp_path):
    trainer = simple_trainer()
    checkpointer = Checkpointer(trainer.model, str(tmp_path), trainer=trainer)
    saved = []
    save = checkpointer.save
    checkpointer.save = lambda name, **kwargs: (saved.append((name, kwargs)), save(name, **kwargs))
    results = iter(values)
    trainer.register_hooks(
        [
            hooks.EvalHook(2, lambda: {"bbox": {"AP": next(results)}}),
            hooks.BestCheckpointer(2, checkpointer, "bbox/AP", mode),
        ]
    )
    trainer.train(0, 8)
    assert saved == [("model_best", {"iteration": i}) for i in saved_at]
    assert torch.load(tmp_path / "model_best.pth")["iteration"] == saved_at[-1]


def test_best_checkpointer_without_the_metric(tmp_path, caplog):
    trainer = simple_trainer()
    checkpointer = Checkpointer(trainer.model, str(tmp_path))
    trainer.register_hooks([hooks.BestCheckpointer(2, checkpointer, "bbox/AP")])
    trainer.train(0, 2)
    assert os.listdir(tmp_path) == []
    assert "bbox/AP" in messages(caplog, logging.WARNING)[0]


def test_lr_of_a_torch_scheduler_from_the_trainer():
    trainer = simple_trainer(lr=1.0)
    trainer.scheduler = torch.optim.lr_scheduler.StepLR(trainer.optimizer, 2)
    trainer.register_hooks([hooks.LRScheduler()])
    trainer.train(0, 4)
    # What is stored is the rate that the iteration was done with.
    rates = [rate for rate, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([1.0, 1.0, 0.1, 0.1])
    assert trainer.storage.smoothing_hints()["lr"] is False
    assert trainer.state_dict()["hooks"]["LRScheduler"]["last_epoch"] == 4


def test_lr_of_a_param_scheduler():
    trainer = simple_trainer(lr=0.4)
    trainer.register_hooks([hooks.LRScheduler(scheduler=LinearParamScheduler(1, 0))])
    trainer.train(0, 4)
    rates = [rate for rate, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert trainer.state_dict()["hooks"]["LRScheduler"]["last_epoch"] == 4


def test_lr_of_a_param_scheduler_that_does_not_start_at_0():
    trainer = simple_trainer(lr=0.4)
    trainer.optimizer.param_groups[0]["initial_lr"] = 0.4  # as loaded from a checkpoint
    trainer.register_hooks([hooks.LRScheduler(scheduler=LinearParamScheduler(1, 0))])
    trainer.train(2, 4)
    rates = [rate for rate, _ in trainer.storage.history("lr").values()]
    assert rates == pytest.approx([0.2, 0.1])


def test_a_resumed_scheduler_goes_on():
    first = simple_trainer(lr=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(first.optimizer, 3)
    first.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    first.train(0, 4)
    second = simple_trainer(lr=77)
    scheduler = torch.optim.lr_scheduler.StepLR(second.optimizer, 3)
    second.register_hooks([hooks.LRScheduler(scheduler=scheduler)])
    second.load_state_dict(first.state_dict())
    assert scheduler.last_epoch == 4
    second.train(4, 7)
    rates = [rate for rate, _ in second.storage.history("lr").values()]
    assert rates == pytest.approx([0.1, 0.1, 0.01])


@pytest.mark.parametrize(
    "groups, best",
    [
        ([(1, 0.1), (3, 0.2)], 1),  # most parameters
        ([(2, 0.1), (2, 0.2)], 0),
        ([(1, 0.1), (1, 0.2), (1, 0.2)], 1),  # one each: the most frequent rate
        ([(3, 0.1), (1, 0.2), (1, 0.2)], 0),
    ],
)
def test_which_group_stands_for_the_rate(groups, best):
    parameters = [
        {"params": [nn.Parameter(torch.ones(1)) for _ in range(n)], "lr": lr} for n, lr in groups
    ]
    optimizer = torch.optim.SGD(parameters, 1.0)
    assert hooks.LRScheduler.get_best_param_group_id(optimizer) == best


class Normalised(Parabola):
    def __init__(self):
        super().__init__()
        self.bn = nn.BatchNorm1d(1)

    def forward(self, x):
        self.bn(torch.stack([x, x]).reshape(2, 1))
        return super().forward(x)


def counting():
    for i in range(1, 100):
        yield torch.tensor(float(i))


def test_precise_bn_averages_over_batches():
    model = Normalised()
    trainer = simple_trainer(model)
    trainer.register_hooks([hooks.PreciseBN(2, model, counting(), 4)])
    trainer.train(0, 2)
    assert model.bn.running_mean.item() == pytest.approx(2.5)  # (1 + 2 + 3 + 4) / 4
    trainer.train(2, 3)  # after the last iteration, with the batches that follow
    assert model.bn.running_mean.item() == pytest.approx(6.5)  # (5 + 6 + 7 + 8) / 4
    # The losses of these batches are not among those of the training.
    assert iterations(trainer, "loss_line") == [2]


@pytest.mark.parametrize("tensorboard", [True, False])
def test_torch_profiler(tensorboard, tmp_path):
    profiler = hooks.TorchProfiler(
        lambda trainer: trainer.iter == 1,
        str(tmp_path),
        activities=[torch.profiler.ProfilerActivity.CPU],
        save_tensorboard=tensorboard,
    )
    run(profiler, end=3)
    if tensorboard:
        (name,) = os.listdir(tmp_path / "log" / "profiler-tensorboard-iter1")
        assert name.startswith("worker0.") and name.endswith(".pt.trace.json")
    else:
        assert os.listdir(tmp_path) == ["profiler-trace-iter1.json"]


def test_memory_stats_without_a_gpu():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    run(hooks.TorchMemoryStats(1))


def test_the_order_of_several_hooks():
    log = []
    run(
        Probe(log, "before"),
        hooks.EvalHook(1, lambda: log.append("evaluate")),
        Probe(log, "after"),
        end=2,
    )
    step = log[log.index(("before", "after_step", 0)) :][:3]
    assert step == [("before", "after_step", 0), "evaluate", ("after", "after_step", 0)]
