"""What puts the tests of the method on another device: without this, they could stay on the CPU."""

import numpy as np
import pytest
import torch

from detectron2.structures import PolygonMasks
from fcos.modeling.fcos import FCOSHead
from tests.imagined_gpu import ImaginedGpu, pretend
from tests.on_device import OnDevice, paused


@pytest.fixture
def gpu(monkeypatch):
    pretend(monkeypatch)
    with ImaginedGpu() as gpu, OnDevice("cuda"):
        yield gpu


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.tensor([1.0, 2.0]),
        lambda: torch.zeros(2, 3),
        lambda: torch.randn(4, generator=torch.Generator().manual_seed(1)),
        lambda: torch.nn.Linear(2, 3).weight,
        lambda: torch.nn.init.normal_(torch.empty(3)),
    ],
)
def test_new_tensors_lie_there_with_the_values_of_the_cpu(make, gpu):
    torch.manual_seed(0)
    made = make()
    assert made.is_cuda
    torch.manual_seed(0)
    with paused():
        want = make()
    assert not want.is_cuda and made.requires_grad == want.requires_grad
    assert made.tolist() == want.tolist()


def test_a_leaf_stays_one(gpu):
    x = torch.ones(3, requires_grad=True)
    assert x.is_cuda and x.is_leaf and x.requires_grad


def test_who_says_where_is_obeyed(gpu):
    assert not torch.zeros(3, device="cpu").is_cuda
    given = torch.zeros(3, device="cpu")
    assert not torch.as_tensor(given).is_cuda


def test_the_code_decides_where_its_own_lie(gpu):
    areas = PolygonMasks([[np.array([0.0, 0, 4, 0, 4, 4])]]).area()
    assert areas.tolist() == [8.0] and not areas.is_cuda
    assert all(p.is_cuda for p in FCOSHead(num_classes=2, in_channels=8).parameters())
