"""TrainerBase, SimpleTrainer, AMPTrainer."""

import gc
import logging
import weakref
from unittest import mock

import pytest
import torch
from engine_toys import Parabola, Probe, ones, simple_trainer

from detectron2.engine import AMPTrainer, HookBase, SimpleTrainer, TrainerBase
from detectron2.utils.events import EventStorage


def history(trainer, name):
    """{iteration: value}"""
    return {i: value for value, i in trainer.storage.history(name).values()}


def test_hooks_are_called_in_the_order_of_registration():
    log = []
    trainer = simple_trainer()
    trainer.register_hooks([Probe(log, "a"), None, Probe(log, "b")])
    trainer.train(3, 5)
    events = [("before_train", 3)]
    for i in (3, 4):
        events += [("before_step", i), ("after_backward", i), ("after_step", i)]
    events += [("after_train", 5)]
    assert log == [(name, event, i) for event, i in events for name in "ab"]
    assert (trainer.start_iter, trainer.iter, trainer.max_iter) == (3, 5, 5)


def test_the_storage_is_at_the_iteration_of_the_trainer():
    class Compare(HookBase):
        def same(self):
            assert self.trainer.storage.iter == self.trainer.iter

        before_train = before_step = after_backward = after_step = after_train = same

    trainer = simple_trainer()
    trainer.register_hooks([Compare()])
    trainer.train(2, 4)


@pytest.mark.parametrize("exception", [ValueError, KeyboardInterrupt])
def test_after_train_is_called_after_an_exception(exception, caplog):
    class Fail(HookBase):
        def after_step(self):
            if self.trainer.iter == 1:
                raise exception("stop")

    log = []
    trainer = simple_trainer()
    trainer.register_hooks([Fail(), Probe(log)])
    with pytest.raises(exception, match="stop"):
        trainer.train(0, 5)
    # The hook after the failing one is not called for the failed step, but at the end.
    assert log[-1] == ("probe", "after_train", 1)
    assert ("probe", "after_step", 1) not in log
    messages = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert messages == (["Exception during training:"] if exception is ValueError else [])


def test_the_state_of_hooks_is_part_of_the_trainers():
    class Counter(HookBase):
        def __init__(self, count):
            self.count = count

        def state_dict(self):
            return {"count": self.count}

        def load_state_dict(self, state_dict):
            self.count = state_dict["count"]

    class Other(Counter):
        pass

    trainer = simple_trainer()
    trainer.register_hooks([Counter(1), Other(2), Probe([]), Counter(3)])
    trainer.iter = 5
    state = trainer.state_dict()
    prefix = "test_the_state_of_hooks_is_part_of_the_trainers.<locals>."
    assert state["iteration"] == 5
    assert state["hooks"] == {f"{prefix}Counter": {"count": 1}, f"{prefix}Other": {"count": 2}}

    new = simple_trainer()
    counter, other, second = Counter(0), Other(0), Counter(0)
    new.register_hooks([other, counter, second])
    new.load_state_dict(state)
    assert new.iter == 5
    assert (counter.count, other.count, second.count) == (1, 2, 0)
    assert "hooks" not in TrainerBase().state_dict()


def test_the_state_of_a_hook_that_is_gone_is_left_out_with_a_warning(caplog):
    trainer = simple_trainer()
    trainer.load_state_dict({**trainer.state_dict(), "hooks": {"Gone": {"a": 1}}})
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "'Gone'" in caplog.text


def test_gradient_steps_by_hand():
    trainer = simple_trainer()
    trainer.train(0, 2)
    # gradient 1 + 2 w: w = 1 - 0.1 * 3 = 0.7, then 0.7 - 0.1 * 2.4 = 0.46
    assert trainer.model.w.item() == pytest.approx(0.46)
    assert history(trainer, "loss_line") == pytest.approx({0: 1.0, 1: 0.7})
    assert history(trainer, "loss_square") == pytest.approx({0: 1.0, 1: 0.49})
    assert history(trainer, "total_loss") == pytest.approx({0: 2.0, 1: 1.19})
    assert list(history(trainer, "data_time")) == [0, 1]


def test_one_loss_without_a_name():
    class Line(Parabola):
        def forward(self, x):
            return x * self.w

    trainer = simple_trainer(Line())
    trainer.train(0, 1)
    assert history(trainer, "total_loss") == {0: 1.0}
    assert [name for name in trainer.storage.histories() if "loss" in name] == ["total_loss"]


def test_metrics_are_gathered_every_so_many_iterations():
    trainer = simple_trainer(gather_metric_period=3)
    trainer.train(0, 8)
    assert list(history(trainer, "total_loss")) == [2, 5]


@pytest.mark.parametrize("before", [True, False])
def test_when_the_gradients_are_cleared(before):
    calls = []

    class Recorder(torch.optim.SGD):
        def zero_grad(self, *args, **kwargs):
            calls.append("zero_grad")
            super().zero_grad(*args, **kwargs)

    class Model(Parabola):
        def forward(self, x):
            calls.append("forward")
            return super().forward(x)

    trainer = simple_trainer(Model(), zero_grad_before_forward=before)
    trainer.optimizer = Recorder(trainer.model.parameters(), 0.1)
    trainer.train(0, 2)
    assert calls == (["zero_grad", "forward"] if before else ["forward", "zero_grad"]) * 2


class Explodes(Parabola):
    def forward(self, x):
        losses = super().forward(x)
        return {**losses, "loss_line": losses["loss_line"] * float("nan")}


def test_a_loss_that_is_not_finite_ends_the_training_before_the_update():
    trainer = simple_trainer(Explodes())
    with pytest.raises(FloatingPointError) as error:
        trainer.train(7, 10)
    assert "iteration=7" in str(error.value)
    assert "'loss_line'" in str(error.value)
    assert trainer.model.w.item() == 1.0


def test_metrics_read_back_by_a_thread():
    class Reader(HookBase):
        """Goes through the storage after every step, as writers do."""

        def after_step(self):
            for storage_name in self.trainer.storage.histories():
                self.trainer.storage.history(storage_name).latest()

    trainer = simple_trainer(async_write_metrics=True)
    trainer.register_hooks([Reader()])
    trainer.train(0, 20)
    assert list(history(trainer, "total_loss")) == list(range(20))
    assert history(trainer, "total_loss")[1] == pytest.approx(1.19)


def test_write_metrics_with_a_prefix():
    with EventStorage(0) as storage:
        SimpleTrainer.write_metrics({"a": torch.tensor(2.0)}, 0.5, 4, "val_")
        # A single loss is the total; it is not stored twice.
        assert storage.latest() == {
            "rank_data_time": (0.5, 4),
            "data_time": (0.5, 4),
            "val_total_loss": (2.0, 4),
        }


def test_the_model_has_to_stay_in_training_mode():
    model = Parabola().eval()
    trainer = simple_trainer(model)
    assert model.training
    model.eval()
    with pytest.raises(AssertionError):
        trainer.train(0, 1)


def test_another_data_loader():
    trainer = simple_trainer(data=[torch.ones(())] * 2)
    trainer.train(0, 2)
    trainer.reset_data_loader(lambda: [torch.zeros(())] * 3)
    trainer.train(2, 5)
    assert history(trainer, "loss_line") == {2: 0, 3: 0, 4: 0}


def test_the_optimizer_is_part_of_the_state():
    trainer = simple_trainer(lr=0.25)
    new = simple_trainer(lr=99)
    new.load_state_dict(trainer.state_dict())
    assert new.optimizer.param_groups[0]["lr"] == 0.25


def test_a_trainer_is_freed_with_its_last_reference():
    trainer = simple_trainer()
    trainer.register_hooks([Probe([])])
    trainer.train(0, 1)
    reference = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert reference() is None
    finally:
        gc.enable()


class FakeScaler:
    """Scales by 4, and divides the gradients by 4 again before the step."""

    def scale(self, loss):
        return loss * 4

    def step(self, optimizer):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad /= 4
        optimizer.step()

    def update(self):
        self.updated = True

    def get_scale(self):
        return 4.0

    def state_dict(self):
        return {"scale": 4.0}

    def load_state_dict(self, state_dict):
        self.loaded = state_dict


@pytest.mark.filterwarnings("ignore:torch.cuda.amp.GradScaler is enabled")
def test_amp_needs_cuda():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    model = Parabola()
    trainer = AMPTrainer(model, ones(), torch.optim.SGD(model.parameters(), 0.1))
    with pytest.raises(AssertionError, match="CUDA"):
        trainer.train(0, 1)


@pytest.mark.filterwarnings("ignore:User provided device_type")
def test_amp_scales_the_loss_and_keeps_the_scaler_in_the_checkpoint():
    model = Parabola()
    scaler = FakeScaler()
    trainer = AMPTrainer(
        model,
        ones(),
        torch.optim.SGD(model.parameters(), 0.1),
        grad_scaler=scaler,
        log_grad_scaler=True,
    )
    with mock.patch("torch.cuda.is_available", return_value=True):
        trainer.train(0, 2)
    assert model.w.item() == pytest.approx(0.46)  # as without scaling
    assert scaler.updated
    assert history(trainer, "[metric]grad_scaler") == {0: 4.0, 1: 4.0}
    assert history(trainer, "total_loss") == pytest.approx({0: 2.0, 1: 1.19})
    state = trainer.state_dict()
    assert state["grad_scaler"] == {"scale": 4.0}
    trainer.load_state_dict(state)
    assert scaler.loaded == {"scale": 4.0}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_amp_on_a_gpu(precision):
    class Product(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 4)

        def forward(self, x):
            y = self.linear(x)
            assert y.dtype == precision
            return {"loss": y.float().pow(2).mean()}

    model = Product().cuda()
    batches = [torch.ones(2, 4).cuda()] * 20
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = AMPTrainer(model, batches, optimizer, precision=precision)
    trainer.train(0, 20)
    losses = history(trainer, "total_loss")
    assert losses[19] < 0.1 * losses[0]
    assert trainer.state_dict()["grad_scaler"]["scale"] > 0
