"""Loading into a model and writing without ever leaving half a file."""

import copy
import errno
import json
import os
import pickle
import resource
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.checkpoint import PeriodicCheckpointer
from detectron2.modeling import build_backbone
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.config import get_cfg
from fcos.utils.errors import UserError
from tests.helpers import GOLDEN


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1)
        self.norm = nn.BatchNorm2d(3)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].equal(b[name]), name


# ---- reading ---------------------------------------------------------------------------------


def test_weights_and_state_come_back(tmp_path):
    model, source = Model(), Model()
    optimizer = torch.optim.SGD(source.parameters(), 0.1, momentum=0.9)
    sum(p.sum() for p in source.parameters()).backward()
    optimizer.step()
    writer = AdetCheckpointer(source, str(tmp_path), optimizer=optimizer)
    writer.class_names = ["dog", "cat"]
    writer.save("model_0000007", iteration=7)

    restored = torch.optim.SGD(model.parameters(), 0.5, momentum=0.9)
    reader = AdetCheckpointer(model, str(tmp_path), optimizer=restored)
    assert reader.has_checkpoint()
    extra = reader.resume_or_load("", resume=True)
    assert_same(state(model), state(source))
    assert restored.state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    for mine, other in zip(restored.state.values(), optimizer.state.values(), strict=True):
        assert mine["momentum_buffer"].equal(other["momentum_buffer"])
    assert extra == {"iteration": 7, "class_names": ["dog", "cat"]}
    assert set(reader.coverage.loaded) == set(model.state_dict())


@pytest.mark.parametrize("wrap", [dict, lambda s: {"state_dict": s}, lambda s: {"model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_forms_of_files(tmp_path, wrap, prefix):
    model, source = Model(), Model()
    torch.save(wrap({prefix + k: v for k, v in source.state_dict().items()}), tmp_path / "a.pth")
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "a.pth"))
    assert_same(state(model), state(source))
    coverage = checkpointer.coverage
    assert coverage.path == str(tmp_path / "a.pth")
    assert (coverage.missing, coverage.mismatched, coverage.unexpected) == ((), (), ())


def test_coverage_sorts_the_names(tmp_path):
    weights = Model().state_dict()
    weights["conv.weight"] = torch.zeros(5, 2, 1, 1)
    weights["head.bias"] = torch.zeros(1)
    del weights["norm.running_mean"]
    torch.save({"model": weights}, tmp_path / "a.pth")
    model = Model()
    before = state(model)
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "a.pth"))
    coverage = checkpointer.coverage
    assert coverage.missing == ("norm.running_mean",)
    assert coverage.mismatched == (("conv.weight", (5, 2, 1, 1), (3, 2, 1, 1)),)
    assert coverage.unexpected == ("head.bias",)
    assert sorted(coverage.loaded + coverage.missing) == sorted(set(before) - {"conv.weight"})
    assert model.conv.weight.equal(before["conv.weight"])


def test_names_matched_by_their_ends_on_request(tmp_path):
    source = nn.Linear(2, 3)
    model = nn.ModuleDict({"inner": nn.Linear(2, 3)})
    torch.save({"model": {k: v.data for k, v in source.named_parameters()}}, tmp_path / "a.pth")
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "a.pth"))
    assert checkpointer.coverage.loaded == ()
    checkpointer.load(f"{tmp_path / 'a.pth'}?matching_heuristics=True")
    assert checkpointer.coverage.missing == ()
    assert model["inner"].weight.equal(source.weight)


def test_an_imagenet_file_with_the_names_of_caffe2(tmp_path):
    """The form of MSRA's R-50.pkl: every entry arrives, through detectron2's own renaming."""
    table = json.loads((GOLDEN / "host_caffe2_names.json").read_text())["table"]
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    model = nn.ModuleDict({"bottom_up": build_backbone(cfg)})
    rng = np.random.default_rng(0)
    shapes = {name: tuple(v.shape) for name, v in model["bottom_up"].state_dict().items()}
    blobs = {old: rng.random(shapes[new], np.float32) for old, new in table.items()}
    blobs |= {"fc1000_w": np.zeros((1000, 2048), np.float32), "fc1000_b": np.zeros(1000)}
    (tmp_path / "R-50.pkl").write_bytes(pickle.dumps(blobs, 2))

    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "R-50.pkl"))
    loaded = model["bottom_up"].state_dict()
    for old, new in table.items():
        assert loaded[new].equal(torch.from_numpy(blobs[old])), new
    assert len(table) == 159
    assert checkpointer.coverage.missing == ()
    assert sorted(checkpointer.coverage.unexpected) == ["fc1000.bias", "fc1000.weight"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(tmp_path, number):
    source = Model()
    torch.nn.init.constant_(source.norm.weight, number)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    with pytest.raises(UserError, match="a.pth has 1 weights that are not finite, .* norm.weight"):
        AdetCheckpointer(Model()).load(str(tmp_path / "a.pth"))


def test_without_a_path_nothing_is_loaded():
    checkpointer = AdetCheckpointer(Model())
    assert checkpointer.load("") == {}
    with pytest.raises(RuntimeError, match="nothing has been loaded yet"):
        _ = checkpointer.coverage


def test_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"model\.pth does not exist"):
        AdetCheckpointer(Model()).load(str(tmp_path / "model.pth"))


# ---- writing ---------------------------------------------------------------------------------


@contextmanager
def largest_file(size):
    """The operating system refuses to let a file grow beyond ``size`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def failing(_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def check_intact(folder, files):
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == files


def test_a_full_disk_costs_no_earlier_checkpoint(tmp_path):
    checkpointer = AdetCheckpointer(nn.Linear(100, 100), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.save("model_best", tag=False, iteration=1)
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    for name in ("model_0000002", "model_best"):
        with (
            largest_file(10_000),
            pytest.raises(UserError, match=f"{name}.pth cannot be written: File too large"),
        ):
            checkpointer.save(name, iteration=2)
        check_intact(tmp_path, files)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_write_that_fails_late(tmp_path, monkeypatch, function):
    checkpointer = AdetCheckpointer(Model(), str(tmp_path))
    checkpointer.save("model_0000001")
    files = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(f"fcos.checkpoint.checkpointer.os.{function}", lambda *_: failing(_))
    with pytest.raises(UserError) as error:
        checkpointer.save("model_0000001")
    assert f"{tmp_path}/model_0000001.pth cannot be written: No space left" in str(error.value)
    assert "Earlier checkpoints are as they were" in str(error.value)
    check_intact(tmp_path, files)


def test_a_folder_that_is_gone(tmp_path):
    checkpointer = AdetCheckpointer(Model(), str(tmp_path / "gone"))
    with pytest.raises(UserError, match="cannot be written: No such file or directory"):
        checkpointer.save("model_0000001")


def test_the_tag_moves_only_after_the_file_is_there(tmp_path, monkeypatch):
    checkpointer = AdetCheckpointer(Model(), str(tmp_path))
    seen = []
    replace = os.replace

    def watch(source, target):
        seen.append((os.path.basename(target), sorted(os.listdir(tmp_path))))
        replace(source, target)

    monkeypatch.setattr("fcos.checkpoint.checkpointer.os.replace", watch)
    checkpointer.save("a")
    assert seen == [
        ("a.pth", ["a.pth.unfinished"]),
        ("last_checkpoint", ["a.pth", "last_checkpoint.unfinished"]),
    ]


def test_an_untagged_checkpoint_is_not_resumed_from(tmp_path):
    checkpointer = AdetCheckpointer(Model(), str(tmp_path))
    checkpointer.save("model_best", tag=False)
    assert not checkpointer.has_checkpoint()
    checkpointer.save("model_0000001")
    checkpointer.save("model_best", tag=False)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")


def test_nothing_is_written_when_not_asked_to(tmp_path):
    AdetCheckpointer(Model(), str(tmp_path), save_to_disk=False).save("a")
    AdetCheckpointer(Model()).save("a")
    assert not list(tmp_path.iterdir())


def test_other_programs_of_torch_can_read_what_is_written(tmp_path):
    checkpointer = AdetCheckpointer(Model(), str(tmp_path))
    checkpointer.class_names = ["dog"]
    PeriodicCheckpointer(checkpointer, 2, max_iter=3).step(1)
    content = torch.load(tmp_path / "model_0000001.pth", weights_only=True)
    assert content["iteration"] == 1
    assert content["class_names"] == ["dog"]
    assert read_checkpoint(str(tmp_path / "model_0000001.pth"))["class_names"] == ["dog"]
    model = Model()
    model.load_state_dict(copy.deepcopy(content["model"]))
