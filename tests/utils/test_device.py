"""Devices that are not there."""

import contextlib

import pytest
import torch

from fcos.utils.device import (
    check_device,
    exact_float32,
    gpu_has_bfloat16,
    make_current,
    upload,
)
from fcos.utils.errors import UserError


@pytest.mark.parametrize(
    "device, gpus, message",
    [
        (
            "cuda",
            0,
            r"MODEL\.DEVICE is cuda, but torch finds no GPU here; set MODEL\.DEVICE to cpu",
        ),
        ("cuda:1", 1, r"MODEL\.DEVICE is cuda:1, but torch finds 1 GPU here;"),
        ("cuda:7", 2, r"MODEL\.DEVICE is cuda:7, but torch finds 2 GPUs here;"),
        ("gpu", 2, r"MODEL\.DEVICE is 'gpu': expected cuda or cpu\."),
        ("meta", 0, r"MODEL\.DEVICE is 'meta': expected cuda or cpu\."),
        ("xpu", 0, r"MODEL\.DEVICE is 'xpu': expected cuda or cpu\."),
    ],
)
def test_refused(device, gpus, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=message):
        check_device(device)


@pytest.mark.parametrize("device, gpus", [("cpu", 0), ("cuda", 1), ("cuda:1", 2)])
def test_accepted(device, gpus, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    check_device(device)


def test_cuda_is_not_asked_about_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", None)
    check_device("cpu")


@pytest.mark.parametrize("device, want", [("cpu", []), ("cuda", []), ("cuda:1", [1])])
def test_the_gpu_with_a_number_becomes_the_current_one(device, want, monkeypatch):
    seen = []
    monkeypatch.setattr(torch.cuda, "set_device", lambda wanted: seen.append(wanted.index))
    make_current(device)
    assert seen == want


@pytest.mark.parametrize("device, want", [("cuda", True), ("cuda:1", False)])
def test_bfloat16_is_asked_of_the_gpu_that_is_meant(device, want, monkeypatch):
    """An older one is number 1, whose drivers act as if it had bfloat16."""
    current = [0]

    @contextlib.contextmanager
    def at(device):
        current.append(device.index)
        yield
        current.pop()

    def is_supported(including_emulation=True):
        return including_emulation or current[-1] == 0

    monkeypatch.setattr(torch.cuda, "device", at)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert gpu_has_bfloat16(torch.device(device)) is want
    assert current == [0]


def settings_of_float32():
    cudnn = torch.backends.cudnn
    return cudnn.enabled, cudnn.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_exact_float32_leaves_all_else_as_it_is(precision):
    try:
        torch.set_float32_matmul_precision(precision)
        before = settings_of_float32()
        assert before == (True, True, precision)
        with pytest.raises(KeyError), exact_float32():
            assert settings_of_float32() == (True, False, "highest")
            raise KeyError
        assert settings_of_float32() == before
    finally:
        torch.set_float32_matmul_precision("highest")


def test_what_is_there_already_is_not_copied():
    values = torch.ones(2)
    assert upload(values, torch.device("cpu")) is values
    assert upload(values, torch.device("meta")).device.type == "meta"
