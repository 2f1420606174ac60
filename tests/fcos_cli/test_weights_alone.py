"""A trained checkpoint and a picture, in a folder that has nothing else."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.checkpoint import AdetCheckpointer, read_checkpoint, stored_text
from fcos_cli import checkpoint, demo, detect, export, train
from tests.helpers import tiny_cfg, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Weights with a config whose data set and GPU are on another machine."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = tiny_cfg()
    write_model(folder, cfg)
    cfg.MODEL.DEVICE = "cuda:7"
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = ("gone_val",)
    custom = "{gone_val: {JSON: gone.json, IMAGES: gone}}"
    cfg.merge_from_list(["DATASETS.CUSTOM", custom])
    content = torch.load(folder / "model.pth", weights_only=True)
    torch.save({**content, "fcos_config": stored_text(cfg)}, folder / "whole.pth")
    return folder / "whole.pth"


@pytest.fixture
def place(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    shutil.copy(model, "model.pth")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("a.png")
    return tmp_path


def test_demo(place, capsys):
    assert demo.main("model.pth a.png --output out --json found.json".split()) == 0
    assert (place / "out" / "a.png").is_file() and json.loads((place / "found.json").read_text())
    out = capsys.readouterr().out
    assert "The config is the one in model.pth." in out
    assert "MODEL.DEVICE is cpu: torch finds no cuda:7 here." in out


def test_detect(place):
    assert detect.main("model.pth --output found a.png".split()) == 0
    images = json.loads((place / "found" / "images.json").read_text())
    assert [c["name"] for c in images["categories"]] == ["cat", "dog", "bird"]


def test_export(place, capsys):
    words = "model.pth --format torchscript --output a.pt --image a.png".split()
    assert export.main(words) == 0, capsys.readouterr()
    assert "a.pt: torchscript" in capsys.readouterr().out


@pytest.mark.parametrize("words", ["eval model.pth", "eval MODEL.WEIGHTS model.pth"])
def test_eval_needs_its_data(place, words, capfd):
    assert train.main(["--eval-only", *words.split()[1:]]) == 1
    assert "Data set 'gone_val' is incomplete: datasets/gone.json does" in capfd.readouterr().err


def test_record_and_verify(place, capsys):
    words = ["record", "model.pth", "--out", "found.npz", "--image", "a.png"]
    assert checkpoint.main(words) == 0
    assert checkpoint.main(["verify", "model.pth", "--against", "found.npz"]) == 0
    out = capsys.readouterr().out
    assert "config      that of the recorded weights" in out and "result      the same" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.png", "a.png", "--output", "o"], "a.png is an image, not weights; name the weights"),
        (["model.pth", "b.png", "--output", "o"], "The input b.png does not exist."),
        (["gone.pth", "a.png", "--output", "o"], "The weights file gone.pth does not exist"),
        ([".", "a.png", "--output", "o"], ". is a folder with neither model_best.pth nor model_"),
        (["torchvision/R50", "a.png", "--output", "o"], "did you mean torchvision/R_50_FPN"),
    ],
)
def test_mistakes(place, words, message, capsys):
    assert demo.main(words) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and message in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "weights", "opts"),
    [
        ("model.pth", "model.pth", []),
        ("model.pth --config-file c.yaml SEED 1", "model.pth", ["SEED", "1"]),
        ("--config-file c.yaml model.pth SEED 1", "model.pth", ["SEED", "1"]),
        ("--config-file c.yaml MODEL.WEIGHTS m.pth", "", ["MODEL.WEIGHTS", "m.pth"]),
        ("SEED 1", "", ["SEED", "1"]),
        ("--resume", "", []),
    ],
)
def test_the_weights_in_the_words_of_eval(words, weights, opts):
    args = train.parse_args(["--eval-only", *words.split()])
    assert (args.weights, args.opts) == (weights, opts)


def test_a_training_takes_no_weights_by_a_word(capsys):
    with pytest.raises(SystemExit):
        train.parse_args(["model.pth", "--config-file", "c.yaml"])
    assert "to train from them, append MODEL.WEIGHTS model.pth" in capsys.readouterr().err


def test_every_checkpoint_of_a_checkpointer_with_a_config_has_it(place):
    checkpointer = AdetCheckpointer(torch.nn.Linear(1, 1), ".")
    checkpointer.config = "SEED: 1\n"
    checkpointer.save("a")
    assert read_checkpoint("a.pth")["fcos_config"] == "SEED: 1\n"
