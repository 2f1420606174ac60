"""A checkpoint with one bit flipped is refused, and the one before it is named."""

import os
import random
import threading
import time
import zipfile

import pytest
import torch
from torch import nn

from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.checkpoint.sums import damaged_part, how_to_go_on
from fcos.utils.errors import UserError

pytestmark = pytest.mark.cpu

CONTENT = {"model": {"a.weight": torch.arange(40.0), "b": torch.ones(3)}, "iteration": 7}


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def data_of(path, name):
    """The first and the last bit of a part of a zip archive."""
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        data = archive.read(name)
    start = content.index(data)
    return 8 * start, 8 * (start + len(data)) - 1


@pytest.fixture
def path(tmp_path):
    torch.save(CONTENT, tmp_path / "a.pth")
    return tmp_path / "a.pth"


def test_torch_does_not_look(path):
    flip(path, data_of(path, "a/data/0")[0])
    assert not torch.load(path, weights_only=True)["model"]["a.weight"].equal(torch.arange(40.0))


def test_no_two_threads_read_one_archive(path, monkeypatch):
    """In Python 3.13.0 they read each other's bytes, and sound files would be refused."""
    readers, real = {}, zipfile.ZipFile.open

    def opened(archive, *args, **kwargs):
        readers.setdefault(id(archive), set()).add(threading.get_ident())
        kept.append(archive)  # or another one might get its number
        time.sleep(0.02)  # for the others to come
        return real(archive, *args, **kwargs)

    kept = []
    monkeypatch.setattr(zipfile.ZipFile, "open", opened)
    assert damaged_part(str(path)) == ""
    assert all(len(threads) == 1 for threads in readers.values())


@pytest.mark.parametrize("part", ["a/data/0", "a/data/1", "a/data.pkl"])
@pytest.mark.parametrize("end", [0, 1])
def test_a_bit_of_the_content(path, part, end):
    assert damaged_part(str(path)) == ""
    flip(path, data_of(path, part)[end])
    assert damaged_part(str(path)) == part
    for mapped in (True, False):
        with pytest.raises(
            UserError, match=rf"a\.pth .* damaged .*(checksum of|CRC-32 for file) '?{part}"
        ):
            read_checkpoint(str(path)) if mapped else AdetCheckpointer(nn.Linear(1, 1)).load(
                str(path)
            )


def test_any_bit(path, tmp_path):
    whole = path.read_bytes()
    draw = random.Random(0)
    for bit in draw.sample(range(8 * len(whole)), 400):
        path.write_bytes(whole)
        flip(path, bit)
        try:
            found = read_checkpoint(str(path))
        except UserError:
            continue
        # It is one of the bits that do not matter: a date, or what fills gaps.
        assert found.keys() == CONTENT.keys()
        assert found["iteration"] == 7
        assert all(v.equal(CONTENT["model"][k]) for k, v in found["model"].items())


def test_compressed_by_another_program(path, tmp_path):
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    other = tmp_path / "b.pth"
    with zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content * 1000 if name.endswith("/0") else content)
    assert damaged_part(str(other)) == ""
    content = other.read_bytes()
    place = content.index(b"a/data/0") + 60  # in the middle of what is compressed
    flip(other, 8 * place)
    assert damaged_part(str(other)) == "a/data/0"


def test_without_checksums(path):
    options = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(CONTENT, path)
    finally:
        torch.serialization.set_crc32_options(options)
    assert damaged_part(str(path)) == ""
    assert read_checkpoint(str(path))["iteration"] == 7


def test_the_one_before_is_offered(tmp_path):
    checkpointer = AdetCheckpointer(nn.Linear(2, 2), str(tmp_path))
    for name in ("model_0000001", "model_0000003", "model_0000005", "model_best"):
        checkpointer.save(name, tag=name != "model_best")
    tag = tmp_path / "last_checkpoint"
    for name in ("model_0000003", "model_0000005"):
        flip(tmp_path / f"{name}.pth", data_of(tmp_path / f"{name}.pth", "archive/data/0")[0])
    with pytest.raises(UserError) as caught:
        checkpointer.resume_or_load("", resume=True)
    assert f"The weights file {tmp_path}/model_0000005.pth (" in str(caught.value)
    assert str(caught.value).endswith(
        f"The one before, model_0000001.pth, is whole: to go on from it, write its name into {tag} "
        f"(echo model_0000001.pth > {tag}), and give --resume again."
    )
    os.system(f"echo model_0000001.pth > {tag}")
    again = AdetCheckpointer(nn.Linear(2, 2), str(tmp_path))  # as in the next process
    again.resume_or_load("", resume=True)
    flip(
        tmp_path / "model_0000001.pth",
        data_of(tmp_path / "model_0000001.pth", "archive/data/0")[0],
    )
    with pytest.raises(UserError, match="There is no other whole checkpoint: start a new training"):
        again.resume_or_load("", resume=True)


def test_which_one_is_before(tmp_path):
    for name in ("model_0000003.pth", "model_0000011.pth", "model_final.pth"):
        torch.save(CONTENT, tmp_path / name)
    for last, before in (("final", "model_0000011.pth"), ("0000011", "model_0000003.pth")):
        assert before in how_to_go_on(str(tmp_path / f"model_{last}.pth"))
    assert "There is no other" in how_to_go_on(str(tmp_path / "model_0000003.pth"))
