"""Weights files in all their forms, and those that are refused."""

import os
import pickle
import warnings
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch

from fcos.checkpoint import read_checkpoint
from fcos.utils.errors import UserError

WEIGHTS = OrderedDict(a=torch.arange(6.0).view(2, 3))
WEIGHTS["b.weight"] = torch.ones(2, dtype=torch.float16)


def check(checkpoint):
    assert list(checkpoint["model"]) == ["a", "b.weight"]
    for name, value in checkpoint["model"].items():
        assert torch.as_tensor(value).equal(WEIGHTS[name])
        assert torch.as_tensor(value).dtype == WEIGHTS[name].dtype


@pytest.mark.parametrize(
    "content",
    [
        {"model": WEIGHTS, "iteration": 7},
        {"state_dict": WEIGHTS, "meta": {"epoch": 12}, "iteration": 7},
        WEIGHTS,
        {"module." + name: value for name, value in WEIGHTS.items()},
        {"model": {"module." + name: value for name, value in WEIGHTS.items()}},
    ],
    ids=["model", "state_dict", "plain", "module", "model-module"],
)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "old"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "weights"])
def test_what_torch_saves(tmp_path, content, is_zip, name):
    path = tmp_path / name
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)
    checkpoint = read_checkpoint(str(path))
    check(checkpoint)
    assert checkpoint.get("iteration") == content.get("iteration")
    assert "state_dict" not in checkpoint
    assert "matching_heuristics" not in checkpoint


def test_numpy_scalars_in_a_training_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": WEIGHTS, "ap": np.float64(0.5), "lr": np.arange(2)}, path)
    checkpoint = read_checkpoint(str(path))
    assert checkpoint["ap"] == 0.5
    assert checkpoint["lr"].tolist() == [0, 1]


def test_a_checkpoint_with_the_names_of_the_other_numpy(tmp_path):
    path, other = tmp_path / "weights.pth", tmp_path / "other.pth"
    torch.save({"model": WEIGHTS, "ap": np.float64(0.5)}, path)
    names = [b"numpy.core.multiarray", b"numpy._core.multiarray"]
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith("data.pkl"):
                (mine,) = (n for n in names if n in data)
                data = data.replace(mine, names[1 - names.index(mine)])
            target.writestr(name, data)
    assert read_checkpoint(str(other))["ap"] == 0.5


def test_a_checkpoint_that_was_compressed_again(tmp_path):
    """torch.save stores tensors as they are, and only as such can they stay in the file."""
    path, other = tmp_path / "weights.pth", tmp_path / "other.pth"
    torch.save({"model": WEIGHTS}, path)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    check(read_checkpoint(str(other)))


def test_an_archive_that_stands_for_far_more_than_it_has(tmp_path):
    path, other = tmp_path / "weights.pth", tmp_path / "other.pth"
    torch.save({"model": {"a": torch.zeros(2**18)}}, path)
    with (
        zipfile.ZipFile(path) as source,
        zipfile.ZipFile(other, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(UserError, match=r"other\.pth .*its records claim 1,0\d\d,\d\d\d bytes"):
        read_checkpoint(str(other))


@pytest.mark.parametrize(
    ("tensor", "what"),
    [
        (torch.empty(3, device="meta"), "of the device 'meta', which has a shape and no values"),
        (torch.zeros(3, 3).to_sparse(), "of the layout torch.sparse_coo"),
        (torch.zeros(1).expand(10**10), "of 10,000,000,000 values, which repeats few"),
    ],
)
@pytest.mark.parametrize("where", ["model", "optimizer"])
def test_tensors_without_values_of_their_own(tmp_path, tensor, what, where):
    path = tmp_path / "weights.pth"
    content = {"model": dict(WEIGHTS), "optimizer": {"state": [{"x": torch.zeros(1)}]}}
    inside = content["model"] if where == "model" else content["optimizer"]["state"][0]
    torch.save(content | {"extra": inside.update(bad=tensor)}, path)
    with pytest.raises(UserError, match=f"the entry 'bad' is a tensor {what}.*: save the whole te"):
        read_checkpoint(str(path))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["weights.pkl", "weights.pth"])
def test_pickles_of_arrays(tmp_path, protocol, name):
    path = tmp_path / name
    arrays = OrderedDict((name, value.numpy()) for name, value in WEIGHTS.items())
    content = {"model": arrays, "__author__": "somebody", "list": [(1, 2.5), {"x"}, b"y", None]}
    path.write_bytes(pickle.dumps(content, protocol))
    checkpoint = read_checkpoint(str(path))
    check(checkpoint)
    assert checkpoint["__author__"] == "somebody"
    assert checkpoint["list"] == content["list"]
    assert "matching_heuristics" not in checkpoint


@pytest.mark.parametrize("wrap", [dict, lambda blobs: {"blobs": blobs}], ids=["bare", "blobs"])
def test_names_of_caffe2_are_left_to_detectron2(tmp_path, wrap):
    path = tmp_path / "R-50.pkl"
    blobs = {"conv1_w": np.zeros((2, 3), np.float32), "conv1_w_momentum": np.zeros((2, 3))}
    path.write_bytes(pickle.dumps(wrap(blobs), 2))
    checkpoint = read_checkpoint(str(path))
    assert list(checkpoint["model"]) == ["conv1_w"]
    assert checkpoint["__author__"] == "Caffe2"
    assert checkpoint["matching_heuristics"] is True


def test_a_pickle_written_by_python_2(tmp_path):
    # {"conv1_w": array([1.5], float32)} at protocol 2: byte strings are old-style str there.
    data = (
        b"\x80\x02}U\x07conv1_wcnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
        b"K\x00\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<"
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x04\x00\x00\xc0?tbs."
    )
    (tmp_path / "old.pkl").write_bytes(data)
    checkpoint = read_checkpoint(str(tmp_path / "old.pkl"))
    assert checkpoint["model"]["conv1_w"].tolist() == [1.5]


# ---- refused ---------------------------------------------------------------------------------


class Payload:
    """Unpickling this would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("form", ["pickle", "pickle-0", "zip", "old", "inside"])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(tmp_path, form):
    path, trace = tmp_path / "weights.pth", tmp_path / "it-ran"
    payload = Payload(trace)
    if form == "inside":
        payload = {"model": {"a": np.ones(2), "b": payload}}
    if form in ("pickle", "inside"):
        path.write_bytes(pickle.dumps(payload))
    elif form == "pickle-0":
        path.write_bytes(pickle.dumps(payload, 0))
    else:
        torch.save(payload, path, _use_new_zipfile_serialization=form == "zip")
    with pytest.raises(UserError) as error:
        read_checkpoint(str(path))
    assert f"{path} is refused" in str(error.value)
    assert f"{os.system.__module__}.system" in str(error.value)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Payload(trace)))  # the payload is a real one
    assert trace.exists()


@pytest.mark.parametrize("function", [eval, print, getattr, __import__])
def test_builtin_functions_are_refused(tmp_path, function):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"a": function}))
    with pytest.raises(UserError, match=rf"asks for builtins\.{function.__name__} to be called"):
        read_checkpoint(str(path))


def test_a_name_of_several_lines_is_shown_on_one(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(b"\x80\4\x8c\2os\x8c\x15run\n\nAll is well.\tYes\x93.")
    with pytest.raises(UserError, match=r"asks for os\.run All is well\. Yes to be called"):
        read_checkpoint(str(path))


def test_the_name_of_a_weight_is_bounded(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": {"a" * 10**6: 1}}, path)
    with pytest.raises(UserError, match=r"its entry 'a{199}\.\.\. is a int, not a tensor"):
        read_checkpoint(str(path))


def test_a_missing_file(tmp_path):
    torch.save(WEIGHTS, tmp_path / "model_final.pth")
    with pytest.raises(UserError) as error:
        read_checkpoint(str(tmp_path / "model_fnal.pth"))
    assert f"does not exist (looked for {tmp_path / 'model_fnal.pth'})" in str(error.value)
    assert f"the folder {tmp_path} has model_final.pth" in str(error.value)
    with pytest.raises(UserError, match="there is no folder"):
        read_checkpoint(str(tmp_path / "no" / "model.pth"))
    with pytest.raises(UserError, match="is a folder, not a file"):
        read_checkpoint(str(tmp_path))


def test_a_relative_path_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"model.pth does not exist \(looked for {tmp_path}/model"):
        read_checkpoint("model.pth")


def test_an_address_that_cannot_be_fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    address = "http://127.0.0.1:9/model.pth"  # nothing listens there
    with pytest.raises(UserError, match=f"{address} cannot be fetched"):
        read_checkpoint(address)


@pytest.mark.parametrize("form", ["zip", "old", "pickle"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_a_truncated_file(tmp_path, form, part):
    path = tmp_path / "weights.pth"
    weights = {f"layer{i}.weight": torch.rand(10, 10) for i in range(3)}
    if form == "pickle":
        path.write_bytes(pickle.dumps({k: v.numpy() for k, v in weights.items()}))
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UserError, match=r"bytes\) is truncated, damaged or no weights file"):
        read_checkpoint(str(path))


def test_a_zip_with_a_garbled_list_of_tensors(tmp_path):
    """What torch says of it ends with the advice to run the file."""
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)
    data = bytearray(path.read_bytes())
    data[data.find(b"\x80\x02") + 2] = 255  # no instruction of a pickle
    path.write_bytes(data)
    with pytest.raises(UserError, match="is truncated, damaged or no weights file") as error:
        read_checkpoint(str(path))
    assert "weights_only" not in str(error.value)


def test_a_device_is_no_file():
    with pytest.raises(UserError, match="/dev/null is no regular file"):
        read_checkpoint("/dev/null")


def test_a_page_of_html_and_a_text_are_no_weights(tmp_path):
    for content, message in [
        (b"<!DOCTYPE html><html>404</html>", "weights.pth is a web page, not weights: the address"),
        (
            b"version https://git-lfs.github.com/spec",
            "truncated, damaged or no weights file at all",
        ),
    ]:
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(UserError, match=message):
            read_checkpoint(str(tmp_path / "weights.pth"))


def test_a_zip_that_is_no_checkpoint(tmp_path):
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(UserError, match="is a zip archive, but not a checkpoint"):
        read_checkpoint(str(path))


def test_a_torchscript_program_is_no_weights_file(tmp_path):
    path = tmp_path / "weights.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(UserError, match="is a TorchScript program"):
        read_checkpoint(str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(2), "holds a Tensor, not a mapping"),
        ([1, 2], "holds a list, not a mapping"),
        ({}, "holds no weights: its mapping is empty"),
        ({"model": {}}, "holds no weights: its mapping is empty"),
        ({"epoch": 3}, "holds no weights: its entry 'epoch' is a int, not a tensor"),
        ({"a.\x1b[31mb": torch.ones(1)}, r"has a weight called 'a\.\\x1b\[31mb', which no program"),
        ({"model": {"a.b": "text"}}, "its entry 'a.b' is a str, not a tensor"),
        ({"model": {"a.b": {"c": torch.ones(1)}}}, "its entry 'a.b' is a dict, not a tensor"),
    ],
)
def test_content_that_is_no_weights(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(UserError, match=message):
        read_checkpoint(str(path))


def test_an_array_of_objects_is_no_weights(tmp_path):
    path = tmp_path / "weights.pkl"
    path.write_bytes(pickle.dumps({"a.b": np.array([{}, None], dtype=object)}))
    with pytest.raises(UserError, match=r"an array of the type O8"):
        read_checkpoint(str(path))


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    torch.save(WEIGHTS, path)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fcos.checkpoint.reading.open_file", refuse, raising=False)
    with pytest.raises(UserError, match="cannot be read: Permission denied"):
        read_checkpoint(str(path))
