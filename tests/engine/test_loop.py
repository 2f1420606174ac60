"""One iteration: precision, what is read when, and what a checkpoint keeps."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from detectron2.engine import HookBase, SimpleTrainer
from fcos.checkpoint import AdetCheckpointer
from fcos.config import get_cfg
from fcos.engine import loop as loop_module
from fcos.engine.accumulation import AccumulatingLoop
from fcos.engine.hooks import LossGuard
from fcos.engine.loop import HostCopy, TrainingLoop, amp_dtype
from fcos.utils.errors import UserError
from tests.engine.test_hooks import Model, batches
from tests.helpers import DEVICE, not_imagined
from tests.imagined_gpu import ImaginedGpu, pretend
from tests.modeling.test_training_step import inputs, model_of

BF16 = torch.bfloat16


def weight():
    return Model().to(DEVICE)


def loop_of(model, data=None, precision=None, rate=0.1):
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    return TrainingLoop(model, data or batches(), optimizer, DEVICE, precision)


class Note(HookBase):
    def __init__(self):
        self.steps = []

    def after_step(self):
        latest = self.trainer.storage.latest()
        names = ("loss_a", "loss_b", "total_loss")
        self.steps.append([latest[name][0] for name in names])
        assert latest["data_time"][0] >= 0


@not_imagined
def test_it_trains_and_logs_as_detectron2s_does():
    results = []
    for loop_type in (SimpleTrainer, TrainingLoop):
        model, note = weight(), Note()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        loop = loop_type(model, batches(), optimizer)
        loop.register_hooks([note])
        loop.train(0, 4)
        results.append((model.weight.item(), note.steps, str(loop.state_dict())))
    assert results[0] == results[1]
    assert results[1][1][0] == [1.0, 2.0, 3.0]  # before the first update


def test_losses_are_read_behind_the_forward_pass_and_not_behind_the_backward_pass(monkeypatch):
    order = []
    model = weight()
    model.register_forward_hook(lambda *_: order.append("forward"))
    model.weight.register_hook(lambda _: order.append("backward"))
    start, read = HostCopy.__init__, HostCopy.read
    monkeypatch.setattr(HostCopy, "__init__", lambda *a: (order.append("copy"), start(*a))[1])
    monkeypatch.setattr(HostCopy, "read", lambda *a: (order.append("read"), read(*a))[1])
    loop = loop_of(model)
    loop.register_hooks([])
    loop.train(0, 1)
    assert order == ["forward", "copy", "backward", "read"]


def test_a_copy_for_the_cpu_holds_the_values_of_when_it_was_made():
    values = torch.tensor([[1.5, 2.0], [3.0, -1.0]], requires_grad=True)
    assert HostCopy(values).read() == [[1.5, 2.0], [3.0, -1.0]]


def test_a_loss_that_is_not_finite_ends_it_without_a_guard_too():
    model = Model({1: {"loss_a": float("nan")}})
    loop = loop_of(model)
    with pytest.raises(FloatingPointError, match="iteration=1"):
        loop.train(0, 3)
    assert model.weight.item() == pytest.approx(1 - 0.1 * 3)  # the first update, no second


def test_another_data_loader():
    loop = loop_of(weight())
    loop.train(0, 1)
    loop.reset_data_loader(lambda: [["the", "other"]])
    loop.train(1, 2)
    with pytest.raises(StopIteration):
        loop.train(2, 3)


# ---- mixed precision -------------------------------------------------------------------------


def amp(precision, device, is_enabled=True):
    cfg = get_cfg()
    cfg.MODEL.DEVICE = device
    cfg.SOLVER.AMP.ENABLED, cfg.SOLVER.AMP.PRECISION = is_enabled, precision
    return cfg


@pytest.mark.cpu
def test_precisions_that_a_device_lacks_are_refused(monkeypatch):
    assert amp_dtype(amp("bfloat16", "cpu")) is BF16
    assert amp_dtype(amp("float16", "cuda:1")) is torch.float16
    assert amp_dtype(amp("float16", "cpu", is_enabled=False)) is None
    with pytest.raises(
        UserError, match=r"PRECISION is 'fp16': set it to one of 'float16', 'bfloat16'"
    ):
        amp_dtype(amp("fp16", "cuda"))
    with pytest.raises(UserError, match=r"but MODEL.DEVICE is cpu: float16 needs a GPU; set it to"):
        amp_dtype(amp("float16", "cpu"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    with pytest.raises(UserError, match=r"bfloat16, which this GPU lacks; set it to float16\."):
        amp_dtype(amp("bfloat16", "cuda"))


def losses_and_gradients(precision):
    model = model_of([])
    found = {}
    model.register_forward_hook(lambda *args: found.update(args[-1]))
    loop_of(model, iter([inputs()]), precision, rate=0.0).train(0, 1)
    return found, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@not_imagined
def test_bfloat16_gives_nearly_the_losses_and_gradients_of_float32():
    full, gradients = losses_and_gradients(None)
    low, low_gradients = losses_and_gradients(BF16)
    assert full.keys() == low.keys()
    for name, value in full.items():
        assert low[name].dtype == torch.float32
        assert not low[name].equal(value)  # or nothing was computed in bfloat16
        torch.testing.assert_close(low[name], value, rtol=0.02, atol=0)
    assert low_gradients.keys() == gradients.keys()
    for name, value in gradients.items():
        assert low_gradients[name].dtype == torch.float32
        assert low_gradients[name].isfinite().all()
        if value.norm() > 1e-3:
            likeness = torch.cosine_similarity(value.flatten(), low_gradients[name].flatten(), 0)
            assert likeness > 0.8, name


@not_imagined
def test_only_the_forward_pass_of_training_is_mixed():
    seen = []
    model = weight()
    model.register_forward_hook(lambda *_: seen.append(torch.is_autocast_enabled(DEVICE)))
    model.weight.register_hook(lambda _: seen.append(torch.is_autocast_enabled(DEVICE)))
    loop_of(model, precision=BF16).train(0, 1)
    model.eval()(next(batches()))
    assert seen == [True, False, False]


@pytest.mark.parametrize("precision", [None, BF16])
def test_no_scaler_where_none_is_needed(precision):
    loop = loop_of(weight(), precision=precision)
    assert "grad_scaler" not in loop.state_dict()
    # From a training in float16, of whatever version.
    loop.load_state_dict({**loop.state_dict(), "grad_scaler": {"scale": 2.0}})


def scaled(is_mixed=True):
    loop = loop_of(weight(), precision=torch.float16 if is_mixed else None)
    loop.grad_scaler = torch.amp.GradScaler("cpu", init_scale=4.0)  # as on a GPU
    loop.precision = None
    return loop


@pytest.mark.cpu
def test_a_scaler_changes_no_update_and_is_part_of_the_checkpoint():
    plain, loop = loop_of(weight()), scaled()
    for each in (plain, loop):
        each.train(0, 3)
    assert loop.model.weight.item() == pytest.approx(plain.model.weight.item())
    state = loop.state_dict()
    assert state["grad_scaler"]["scale"] == 4.0
    assert state["grad_scaler"]["_growth_tracker"] == 3
    other = scaled()
    other.load_state_dict(state)
    assert other.state_dict()["grad_scaler"] == state["grad_scaler"]
    del state["grad_scaler"]  # from a training in float32
    other.load_state_dict(state)


@pytest.mark.parametrize("precision", [None, torch.float16, BF16], ids=str)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.cpu
def test_an_iteration_on_a_gpu(precision, passes, monkeypatch, tmp_path):
    """All of it but the backward pass, for which torch looks for a real GPU."""
    model, gpu, read = model_of([]), ImaginedGpu(), []

    def backward(loss):
        assert loss.is_cuda and not read  # before any number is asked for
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)

    read_copy, exchanged = HostCopy.read, []
    pretend(monkeypatch)
    # As in one of two processes, which NCCL connects: it takes tensors of the GPU alone.
    monkeypatch.setattr(loop_module, "comm", SimpleNamespace(get_world_size=lambda: 2))
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda x, _: exchanged.append(x.is_cuda))
    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(HostCopy, "read", lambda copy: (read.append(copy), read_copy(copy))[1])
    with gpu:
        model.to("cuda")
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, foreach=True)
        arguments = model, itertools.repeat(inputs()), optimizer, "cuda", precision
        loop = TrainingLoop(*arguments) if passes == 1 else AccumulatingLoop(passes, *arguments)
        loop.register_hooks([LossGuard(AdetCheckpointer(model, str(tmp_path)))])
        gpu.waits.clear()
        loop.train(0, 1)
    assert exchanged == [True]
    assert len(read) == 1  # the losses, and whether those of all processes are finite
    # The scaler asks whether gradients are finite; nobody else asks for anything else.
    assert ["grad_scaler" in wait for wait in gpu.waits] == [True] * (precision is torch.float16)
