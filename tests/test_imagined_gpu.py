"""What the imagined GPU notices: without this, tests on it could not fail."""

import pytest
import torch

from fcos.utils.device import upload
from tests.imagined_gpu import ImaginedGpu, OnGpu, pretend


@pytest.fixture
def gpu(monkeypatch):
    pretend(monkeypatch)
    with ImaginedGpu() as gpu:
        yield gpu


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: bool((x > 0).any()),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x[x > 0],
        lambda x: x[torch.tensor([0])],
        lambda x: (x > 0).nonzero(),
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: torch.repeat_interleave(x, x.long()),
        lambda x: torch.tensor([1.0, 2.0], device=x.device),
        lambda x: x.new_tensor(1.0),
        lambda x: torch.zeros(3).to("cuda"),
        lambda x: torch.zeros(3).to("cuda", non_blocking=True),  # from ordinary memory
        lambda x: x.copy_(torch.zeros(3)),
    ],
)
def test_waiting_is_noticed(wait, gpu):
    x = torch.ones(3, device="cuda")
    assert not gpu.waits
    wait(x)
    assert len(gpu.waits) == 1 and "test_imagined_gpu.py" in gpu.waits[0]


@pytest.mark.parametrize(
    "work",
    [
        lambda x: x + torch.tensor(2.0),  # a number of the CPU
        lambda x: x[x.long()],
        lambda x: x.new_full((), 3.0),
        lambda x: x.to("cuda"),
        lambda x: x.to("cpu", non_blocking=True),
        lambda x: upload(torch.zeros(3), x.device),
    ],
)
def test_what_waits_for_nothing(work, gpu):
    work(torch.ones(3, device="cuda"))
    assert not gpu.waits


@pytest.mark.parametrize(
    "mix",
    [
        lambda x: x + torch.ones(3),
        lambda x: torch.ones(3).add_(x),
        lambda x: torch.cat((x, torch.ones(3))),
        lambda x: torch.stack((x[0], torch.tensor(1.0))),
        lambda x: torch.where(x > 0, x, torch.zeros(3)),
        lambda x: x.gather(0, torch.tensor([0])),
        lambda x: torch.nn.functional.linear(x, torch.ones(2, 3)),
    ],
)
def test_mixing_is_refused(mix, gpu):
    with pytest.raises(AssertionError, match="mixes tensors of the CPU and the GPU"):
        mix(torch.ones(3, device="cuda"))


def test_results_are_those_of_the_cpu(gpu):
    x = torch.arange(6.0, device="cuda").reshape(2, 3)
    view = x[1]
    view.add_(1)
    assert type(view) is OnGpu and x.is_cuda and x.device == torch.device("cuda", 0)
    assert x.clone().unsqueeze_(0).shape == (1, 2, 3)
    assert x.tolist() == [[0, 1, 2], [4, 5, 6]]
    module = torch.nn.Linear(3, 1).to("cuda")
    assert all(p.is_cuda for p in module.parameters()) and module(x).is_cuda
