"""DetectionCheckpointer: what it loads, what it refuses, how it saves."""

import logging
import os
import pickle
import re
import resource
import signal

import numpy as np
import pytest
import torch
from golden_values import golden_json
from torch import nn

import detectron2
from detectron2.checkpoint import DetectionCheckpointer, PeriodicCheckpointer
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_resnet_backbone

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a promise of detectron2-lite's own"
)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
        self.head = nn.Linear(3, 1)
        self.register_buffer("pixel_mean", torch.zeros(3, 1, 1))
        self.register_buffer("pixel_std", torch.ones(3, 1, 1))


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Model()


@pytest.fixture
def other_state():
    """The same names with other values."""
    return {name: torch.full_like(value, 7) for name, value in Model().state_dict().items()}


@pytest.fixture
def log(caplog):
    caplog.set_level(logging.INFO)
    for name in ("fvcore", "detectron2"):  # another test may have called setup_logger
        logging.getLogger(name).propagate = True
    return caplog


def is_loaded(model):
    return all((value == 7).all() for value in model.state_dict().values())


def pickled(path, content, protocol=None):
    path.write_bytes(pickle.dumps(content, protocol))
    return str(path)


def saved(path, content):
    torch.save(content, path)
    return str(path)


def test_round_trip(model, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model.head(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    checkpointer = DetectionCheckpointer(model, str(tmp_path), optimizer=optimizer)
    assert not checkpointer.has_checkpoint()
    checkpointer.save("model_0000009", iteration=9)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000009.pth"]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000009.pth"

    again = Model()
    its_optimizer = torch.optim.SGD(again.parameters(), lr=0.5, momentum=0.9)
    checkpointer = DetectionCheckpointer(again, str(tmp_path), optimizer=its_optimizer)
    assert checkpointer.resume_or_load("", resume=True) == {"iteration": 9}
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    assert its_optimizer.param_groups[0]["lr"] == 0.1
    assert len(its_optimizer.state_dict()["state"]) == 2


def test_weights_alone_leave_the_optimizer(model, other_state, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    path = saved(tmp_path / "a.pth", {"model": other_state, "optimizer": {}, "iteration": 3})
    rest = DetectionCheckpointer(model, optimizer=optimizer).resume_or_load(path, resume=False)
    assert rest == {"optimizer": {}, "iteration": 3}
    assert is_loaded(model)


def test_nothing_to_load(model):
    assert DetectionCheckpointer(model).load("") == {}


@pytest.mark.parametrize(
    "write",
    [
        lambda state, folder: saved(folder / "a.pth", {"model": state}),
        lambda state, folder: saved(folder / "a.pth", state),
        lambda state, folder: saved(
            folder / "a.pth", {"model": {f"module.{k}": v for k, v in state.items()}}
        ),
        lambda state, folder: pickled(
            folder / "a.pkl",
            {"model": {k: v.numpy() for k, v in state.items()}, "__author__": "somebody"},
        ),
    ],
    ids=["torch", "state_dict", "data_parallel", "model_zoo"],
)
def test_formats(model, other_state, tmp_path, write):
    DetectionCheckpointer(nn.DataParallel(model)).load(write(other_state, tmp_path))
    assert is_loaded(model)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol(model, other_state, tmp_path, protocol):
    arrays = {name: value.numpy() for name, value in other_state.items()}
    content = {
        "model": arrays,
        "__author__": "somebody",
        "AP": np.float64(38.5),
        "n": [1, (2, None)],
    }
    rest = DetectionCheckpointer(model).load(pickled(tmp_path / "a.pkl", content, protocol))
    assert is_loaded(model)
    assert rest == {"__author__": "somebody", "AP": 38.5, "n": [1, (2, None)]}


def test_report_of_keys_that_do_not_fit(model, log, tmp_path):
    state = {
        "head.weight": torch.full((1, 3), 7.0),
        "head.bias": torch.ones(5),
        "tail.x": torch.ones(1),
        "proposal_generator.anchor_generator.cell_anchors.0": torch.ones(3, 4),
    }
    DetectionCheckpointer(model).load(saved(tmp_path / "a.pth", {"model": state}))
    text = log.text
    assert (model.head.weight == 7).all()
    assert "head.bias" in text
    assert "(5,) in the checkpoint but (1,) in the model" in text
    assert re.search(r"not found in the checkpoint:\s.*backbone\.0\.", text)
    assert re.search(r"not used by the model:\s.*tail\.x", text)
    assert "pixel_mean" not in text  # a constant from the config
    assert "anchor" not in text  # published files have them, models make their own


def test_matching_heuristics(model, tmp_path):
    state = {
        "0.weight": torch.full((3, 2), 7.0),
        "weight": torch.full((3, 2), 5.0),  # ends the same name, but 0.weight is longer
        "head.weight": torch.full((1, 3), 7.0),
    }
    path = saved(tmp_path / "a.pth", {"model": state})
    DetectionCheckpointer(model).load(path)
    assert not (model.backbone[0].weight == 7).any()
    rest = DetectionCheckpointer(model).load(f"{path}?matching_heuristics=True")
    assert (model.backbone[0].weight == 7).all()
    assert (model.head.weight == 7).all()
    assert rest == {"matching_heuristics": True}


def test_ambiguous_name(model, tmp_path):
    """'weight' ends two names of its shape."""
    model = nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})
    path = saved(tmp_path / "a.pth", {"model": {"weight": torch.zeros(2, 2)}})
    with pytest.raises(ValueError):
        DetectionCheckpointer(model).load(f"{path}?matching_heuristics=True")


@pytest.mark.parametrize("wrap", [lambda blobs: {"blobs": blobs}, lambda blobs: blobs])
def test_imagenet_models_with_caffe2_names(tmp_path, wrap):
    """What Caffe2's names become, by detectron2; every value arrives."""
    table = golden_json("host_caffe2_names.json")["table"]
    cfg = get_cfg()
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res5"]
    # R-50 in everything but its widths, which take seconds to fill.
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.WIDTH_PER_GROUP = 4
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    model = nn.ModuleDict({"bottom_up": build_resnet_backbone(cfg, ShapeSpec(channels=3))})
    shapes = {name: value.shape for name, value in model["bottom_up"].state_dict().items()}
    random = np.random.RandomState(0)
    blobs = {old: random.rand(*shapes[new]).astype("float32") for old, new in table.items()}
    extra = {"fc1000_w": np.zeros((2, 2)), "conv1_w_momentum": np.zeros(1)}
    # Python 2 wrote the published files, with a protocol up to 2.
    DetectionCheckpointer(model).load(pickled(tmp_path / "R-50.pkl", wrap({**blobs, **extra}), 2))

    state = model["bottom_up"].state_dict()
    for old, new in table.items():
        assert np.array_equal(state.pop(new).numpy(), blobs[old]), old
    assert {name.rpartition(".")[2] for name in state} == {"running_mean", "running_var"}
    for name, value in state.items():
        assert (value == (1 if name.endswith("running_var") else 0)).all(), name


def test_python2_strings_in_a_pickle(model, tmp_path):
    """Python 2's str comes as text, also where it is an array's bytes."""
    one = b"\x00\x00\x80?"  # float32
    data = (
        b"(dp0\nS'conv1_b'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n"
        b"(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n(I1\n(I1\ntp8\n"
        b"cnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\nNNNI-1\nI-1\nI0\ntp13\nb"
        b"I00\nS'" + repr(one)[2:-1].encode() + b"'\np14\ntp15\nbs."
    )
    (tmp_path / "a.pkl").write_bytes(data)
    model = nn.Module()
    model.stem = nn.Module()
    model.stem.conv1 = nn.Linear(1, 1)
    DetectionCheckpointer(model).load(str(tmp_path / "a.pkl"))
    assert model.stem.conv1.bias.item() == 1.0


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@lite_only
@pytest.mark.parametrize("name", ["evil.pkl", "evil.pth"])
@pytest.mark.parametrize("key", ["model", "extra"])
def test_files_that_run_code_are_refused(model, other_state, tmp_path, name, key):
    content = {"model": dict(other_state), "__author__": "x", key: {"x": Evil(f"{tmp_path}/ran")}}
    if name.endswith("pkl"):
        content["model"] = {k: np.asarray(v) for k, v in content["model"].items() if k != "x"}
        content = {**content, key: {"x": Evil(f"{tmp_path}/ran")}}
    write = pickled if name.endswith("pkl") else saved
    with pytest.raises(ValueError, match=rf"{name}' was refused and nothing .*'(posix|nt)\.mkdir'"):
        DetectionCheckpointer(model).load(write(tmp_path / name, content))
    assert not (tmp_path / "ran").exists()
    assert not is_loaded(model)


@lite_only
@pytest.mark.parametrize("name", ["a.pth", "a.pkl"])
@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "garbage"])
def test_damaged_files(model, other_state, tmp_path, name, damage):
    path = tmp_path / name
    if name.endswith("pkl"):
        pickled(path, {k: v.numpy() for k, v in other_state.items()})
    else:
        saved(path, {"model": other_state})
    intact = path.read_bytes()
    path.write_bytes(
        {
            "truncated": intact[: len(intact) // 2],
            "empty": b"",
            "text": b"<html>not found</html>",
            "garbage": b"\x80\x02" + bytes(range(200)),
        }[damage]
    )
    with pytest.raises(ValueError, match=rf"{name}' cannot be read; it is truncated, or no"):
        DetectionCheckpointer(model).load(str(path))


@lite_only
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.ones(3), "holds a Tensor, not weights by name"),
        ({"model": [1]}, "'model' is a list, not weights by name"),
        ({"state_dict": {}}, "'state_dict' is a dict, not a tensor or array; weights are expected"),
        ({"model": {"a": 3}}, "'a' is a int, not a tensor"),
    ],
)
def test_files_without_weights(model, tmp_path, content, message):
    with pytest.raises(ValueError, match=re.escape("a.pth") + f"'.*{message}"):
        DetectionCheckpointer(model).load(saved(tmp_path / "a.pth", content))


@lite_only
def test_paths_that_lead_nowhere(model, tmp_path):
    checkpointer = DetectionCheckpointer(model)
    with pytest.raises(FileNotFoundError, match=r"no\.pth' does not exist"):
        checkpointer.load(str(tmp_path / "no.pth"))
    with pytest.raises(OSError, match=r"'http://127\.0\.0\.1:9/a\.pth' could not be fetched"):
        checkpointer.load("http://127.0.0.1:9/a.pth")
    with pytest.raises(ValueError, match=r"a\.pth\?b=c': only \?matching_heuristics=True"):
        checkpointer.load("a.pth?b=c")


def test_published_files_come_from_the_cache(model, other_state, monkeypatch, tmp_path):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    (tmp_path / "detectron2").mkdir()
    saved(tmp_path / "detectron2" / "a.pth", {"model": other_state})
    DetectionCheckpointer(model).load("detectron2://a.pth")
    assert is_loaded(model)


def test_only_the_process_that_may_save_does(model, tmp_path):
    DetectionCheckpointer(model, str(tmp_path), save_to_disk=False).save("a")
    DetectionCheckpointer(model).save("a")
    assert not os.listdir(tmp_path)


def test_periodic(model, tmp_path):
    periodic = PeriodicCheckpointer(
        DetectionCheckpointer(model, str(tmp_path)), period=2, max_iter=5, max_to_keep=1
    )
    for iteration in range(5):
        periodic.step(iteration)
    assert sorted(os.listdir(tmp_path)) == [
        "last_checkpoint",
        "model_0000003.pth",
        "model_final.pth",
    ]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


@lite_only
def test_interrupted_save_leaves_the_earlier_checkpoint(model, tmp_path):
    checkpointer = DetectionCheckpointer(model, str(tmp_path))
    checkpointer.save("model", iteration=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    class Interrupted:
        def __reduce__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model", iteration=Interrupted())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@lite_only
def test_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    model = nn.Linear(100, 100)
    checkpointer = DetectionCheckpointer(model, str(tmp_path))
    checkpointer.save("model", iteration=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    # The system refuses to make a file longer than this, as it does when the disk is full.
    old_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, old_limit[1]))
    try:
        with pytest.raises(OSError, match=r"model\.pth' could not be written, and what was there"):
            checkpointer.save("model", iteration=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limit)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@lite_only
def test_folder_that_is_not_there(model, tmp_path):
    with pytest.raises(OSError, match=r"/no/a\.pth' could not be written"):
        DetectionCheckpointer(model, str(tmp_path / "no")).save("a")
