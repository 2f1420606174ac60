"""hf:// addresses, with the network imagined."""

import sys
from types import SimpleNamespace

import pytest
import torch

from fcos.checkpoint.reading import read_checkpoint
from fcos.utils.errors import UserError


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("hf://me/cells/model.pth", ("me/cells", "model.pth", None)),
        ("hf://me/cells@v1/runs/a/model.pth", ("me/cells", "runs/a/model.pth", "v1")),
    ],
)
def test_an_address_is_downloaded_and_read(tmp_path, monkeypatch, address, asked):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "cached.pth")
    calls = []

    def download(repository, name, revision=None):
        calls.append((repository, name, revision))
        return str(tmp_path / "cached.pth")

    hub = SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert read_checkpoint(address)["model"]["weight"].tolist() == [1, 1]
    assert calls == [asked]


def test_a_download_that_fails_is_one_sentence(monkeypatch):
    def download(*_, **__):
        raise ValueError("no such repository\nand more")

    hub = SimpleNamespace(hf_hub_download=download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    with pytest.raises(UserError, match=r"^The weights file hf://a/b/c cannot be fetched: no such"):
        read_checkpoint("hf://a/b/c")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"needs the package huggingface_hub, which is not install"):
        read_checkpoint("hf://a/b/c.pth")


@pytest.mark.parametrize(
    "address", ["hf://", "hf://model.pth", "hf://a/b", "hf://a/b/", "hf://a/@v/c"]
)
def test_an_address_of_another_form(address):
    with pytest.raises(UserError, match=r"expected hf://owner/repository/file"):
        read_checkpoint(address)
