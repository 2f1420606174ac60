"""A detector from its weights alone: which config they bring along, and what stays behind."""

import functools
import json
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_model
from fcos.checkpoint import (
    CONFIG,
    AdetCheckpointer,
    convert,
    detector_cfg,
    inspect,
    read_checkpoint,
    stored_text,
)
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg
from tests.published import shapes_of


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A checkpoint with its config in an empty folder, where the user is."""
    monkeypatch.chdir(tmp_path)
    return write(tiny_cfg())


@functools.cache
def model(has_scales):
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.USE_SCALE = has_scales
    return build_model(cfg)


def write(cfg, config=None):
    checkpointer = AdetCheckpointer(model(cfg.MODEL.FCOS.USE_SCALE), ".")
    checkpointer.class_names = ["cat", "dog", "bird"]
    checkpointer.config = stored_text(cfg) if config is None else config
    checkpointer.save("trained", tag=False)
    return "trained.pth"


def test_the_weights_are_enough(trained, caplog):
    caplog.set_level(logging.INFO)
    cfg = detector_cfg(trained)
    assert cfg.MODEL.RESNETS.DEPTH == 18 and trained == cfg.MODEL.WEIGHTS
    assert caplog.messages == ["The config is the one in trained.pth."]
    cfg = detector_cfg("", None, ["MODEL.WEIGHTS", trained, "INPUT.MIN_SIZE_TEST", "64"])
    assert (cfg.MODEL.RESNETS.DEPTH, cfg.INPUT.MIN_SIZE_TEST) == (18, 64)


def test_a_config_file_wins(trained):
    with open("other.yaml", "w") as file:
        file.write("MODEL: {RESNETS: {DEPTH: 34}}\n")
    cfg = detector_cfg(trained, "other.yaml")
    assert (34, trained) == (cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.WEIGHTS)


def test_options_are_checked_as_those_of_a_file(trained):
    with pytest.raises(UserError, match="set it to 100 or less"):
        detector_cfg(trained, None, ["MODEL.FCOS.NUM_STACKED_CONVS", "101"])


def test_weights_twice(trained):
    with pytest.raises(UserError, match=r"named twice, trained.pth and MODEL.WEIGHTS other.pth\."):
        detector_cfg(trained, None, ["MODEL.WEIGHTS", "other.pth"])


def test_nothing_is_named():
    with pytest.raises(UserError, match=r"Which detector\? Name its trained weights, such as"):
        detector_cfg()


def test_detectron2_reads_the_file(trained):
    other = build_model(tiny_cfg())
    extra = DetectionCheckpointer(other).load(trained)
    assert extra["class_names"] == ["cat", "dog", "bird"] and "DEPTH: 18" in extra[CONFIG]
    for name, value in read_checkpoint(trained)["model"].items():
        assert torch.equal(other.state_dict()[name], value)


def test_the_machine_of_the_training_stays_behind(trained, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    cfg = tiny_cfg()
    cfg.MODEL.DEVICE, cfg.SOLVER.AMP.ENABLED, cfg.OUTPUT_DIR = "cuda:3", True, "/there/output"
    write(cfg)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = detector_cfg(trained)
    assert found.MODEL.DEVICE == "cpu" and not found.SOLVER.AMP.ENABLED
    assert found.OUTPUT_DIR == "./output"
    assert caplog.messages[-1] == "MODEL.DEVICE is cpu: torch finds no cuda:3 here."
    assert detector_cfg(trained, None, ["MODEL.DEVICE", "cuda"]).MODEL.DEVICE == "cuda"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    found = detector_cfg(trained)
    assert found.MODEL.DEVICE == "cuda"
    for folder, kept in [("../up", "./output"), ("output/mine", "output/mine")]:
        cfg.OUTPUT_DIR = folder
        write(cfg, config="")
        Path("config.yaml").write_text(cfg.dump())
        assert kept == detector_cfg(trained).OUTPUT_DIR


def test_a_damaged_config_names_the_way_out(trained):
    write(tiny_cfg(), config="MODEL: {NROM: 1}")
    with pytest.raises(UserError, match=r"The config in trained.pth cannot be used: name another"):
        detector_cfg(trained)
    with open("mine.yaml", "w") as file:
        file.write(tiny_cfg().dump())
    assert detector_cfg(trained, "mine.yaml").MODEL.RESNETS.DEPTH == 18


# ---- weights without a config ------------------------------------------------------------------


def test_the_config_beside_an_older_checkpoint(trained, caplog):
    caplog.set_level(logging.INFO)
    os.mkdir("run")
    shutil.move(write(tiny_cfg(), config=""), "run/model_final.pth")
    caplog.clear()
    with open("run/config.yaml", "w") as file:
        file.write(tiny_cfg().dump())
    cfg = detector_cfg("run")  # the folder of the training
    assert os.path.join("run", "model_final.pth") == cfg.MODEL.WEIGHTS
    assert cfg.MODEL.RESNETS.DEPTH == 18
    assert caplog.messages == [f"The config is {os.path.join('run', 'config.yaml')}."]


@pytest.mark.parametrize(
    ("key", "config", "message"),
    [
        ("torchvision_R_50", "published/torchvision/R_50_FPN.yaml", ""),
        ("adet_R_50_1x", None, "several fit it, which detect other things: give --config-file"),
    ],
)
def test_the_config_that_the_shapes_tell(key, config, message, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    weights = {name: torch.zeros(1).expand(shape) for name, shape in shapes_of(key).items()}
    read = "fcos.checkpoint.detector_config.read_checkpoint"
    monkeypatch.setattr(read, lambda path: {"model": weights})  # 130 MB otherwise
    if config:
        assert detector_cfg("published.pth").MODEL.FCOS.LOCATION == "corner"
        assert f"of those that come with fcos, configs/{config} fits it." in caplog.text
    else:
        with pytest.raises(UserError, match=message):
            detector_cfg("published.pth")


def test_neither_config_nor_known_shapes(trained):
    write(tiny_cfg(), config="")
    message = r"^trained.pth carries no config: give --config-file, the one that it was trained"
    with pytest.raises(UserError, match=message):
        detector_cfg(trained)


def test_a_folder_without_a_checkpoint(trained):
    os.mkdir("empty")
    with pytest.raises(UserError, match=r"^empty is a folder with neither model_best.pth nor mod"):
        detector_cfg("empty")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n", "a.png is an image, not weights; name the weights first"),
        ("a.jpg", b"\xff\xd8\xff\xe0", "a.jpg is an image, not weights"),
        ("model.pth", b"<html>", "model.pth is a web page, not weights: the address or the"),
        ("a.yaml", b"SEED: 1\n", "a.yaml is a config, not weights: give it by --config-file."),
        ("a.pth", b"text", r"The weights file a.pth \(4 bytes\) is truncated, damaged or no"),
    ],
)
def test_what_is_no_weights_file(name, content, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        detector_cfg(name)


# ---- other layouts -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "target"),
    [
        *((family, "a.pth") for family in ("adelaidet", "original", "mmdetection", "detectron2")),
        ("torchvision", "a.safetensors"),
    ],
)
def test_a_converted_file_carries_it(trained, family, target):
    if target.endswith("safetensors"):
        pytest.importorskip("safetensors")
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.USE_SCALE = False  # which detectron2's has not
    write(cfg)
    convert(trained, target, family)
    content = read_checkpoint(target)
    assert content["class_names"] == ["cat", "dog", "bird"]
    assert content[CONFIG] == stored_text(cfg)
    found = detector_cfg(target)
    assert found.MODEL.RESNETS.DEPTH == 18 and not found.MODEL.FCOS.USE_SCALE
    assert "config        carried by the file" in inspect(target)


def test_torchvision_has_no_place_for_it(trained):
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.USE_SCALE = False
    write(cfg)
    convert(trained, "a.pth", "torchvision")
    assert read_checkpoint("a.pth").keys() == {"model"}


def test_a_hostile_safetensors_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    header["__metadata__"] = {CONFIG: "[" * 50_000}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    pytest.importorskip("safetensors")
    with pytest.raises(UserError, match="damaged"):
        detector_cfg("a.safetensors")
