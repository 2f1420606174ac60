"""Devices that are not there."""

import pytest
import torch

from fcos.utils.device import check_device, upload
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


def test_what_is_there_already_is_not_copied():
    values = torch.ones(2)
    assert upload(values, torch.device("cpu")) is values
    assert upload(values, torch.device("meta")).device.type == "meta"
