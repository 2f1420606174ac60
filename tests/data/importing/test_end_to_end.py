"""From a folder of labels to an evaluated detector with two commands, as a user types them."""

import json

import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos_cli.__main__ import main
from tests.data.importing.making import MAKERS, make_image, objects, write
from tests.tiny import ROOT

SMALL = """
MODEL.FCOS.NUM_STACKED_CONVS 1 MODEL.RESNETS.DEPTH 50
MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.RESNETS.RES2_OUT_CHANNELS 16
MODEL.RESNETS.WIDTH_PER_GROUP 4 SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 2 SOLVER.STEPS []
SOLVER.WARMUP_ITERS 1 TEST.EVAL_PERIOD 2 MODEL.FCOS.SCORE_THRESH_TEST 0.0 MODEL.DEVICE cpu
"""


@pytest.fixture
def train(tmp_path, capsys, monkeypatch):
    """Runs a training in ``tmp_path``, as it would be typed; returns what it evaluated."""
    known = set(DatasetCatalog.list())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))

    def train(words, output):
        assert main([*words, *SMALL.split()]) == 0
        lines = map(json.loads, (tmp_path / output / "metrics.json").read_text().splitlines())
        (figures,) = [line for line in lines if "bbox/AP" in line]
        return {key: value for key, value in figures.items() if key.startswith("bbox/")}

    yield train
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def make_labels(kind, source):
    names = [f"{i}" for i in range(6)]
    for name in names:
        make_image(source / f"{name}.png")
    MAKERS[kind](source, names)


@pytest.mark.parametrize("kind", MAKERS)
def test_from_labels_to_an_evaluated_detector(kind, train, tmp_path, capsys):
    output = tmp_path / "my_data"
    make_labels(kind, tmp_path / "pets")
    assert main(["data", "import", str(tmp_path / "pets"), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "Left out" not in said and "6 images, 12 objects, 2 classes (cat 6, dog 6)." in said
    assert objects(output) == {
        f"{i}.png": [("cat", [10, 20, 30, 40]), ("dog", [0, 0, 50, 40])] for i in range(6)
    }
    command = said.splitlines()[-1].removeprefix("Next: ").split()
    assert command == ["fcos", "train", "--config-file", str(output / "config.yaml")]
    assert str(ROOT) not in (output / "config.yaml").read_text()
    figures = train(command[1:], "output/my_data")
    assert all(0 <= figures[f"bbox/{name}"] <= 100 for name in ("AP", "AP-cat", "AP-dog"))
    assert (tmp_path / "output" / "my_data" / "model_best.pth").is_file()


def test_from_a_source_on_the_command_line(train, tmp_path, capsys):
    make_labels("voc", tmp_path / "pets")
    assert main(["data", "import", "pets", "--output", "my_data"]) == 0
    capsys.readouterr()
    words = ["train", "--config-file", "my_data/config.yaml", "OUTPUT_DIR", "direct"]
    custom = "{a: {VOC: pets, SPLIT: train}, b: {VOC: pets, SPLIT: val}}"
    words += ["DATASETS.CUSTOM", custom, "DATASETS.TRAIN", "['a']", "DATASETS.TEST", "['b']"]
    direct = train([*words, "SEED", "3"], "direct")
    words = ["train", "--config-file", "my_data/config.yaml", "SEED", "3"]
    imported = train(words, "output/my_data")
    # Trained and evaluated as on what is imported.
    paths = "direct/model_best.pth", "output/my_data/model_best.pth"
    first, second = (torch.load(path, weights_only=True)["model"] for path in paths)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert repr(direct) == repr(imported)  # with figures that are NaN


def test_the_flags_arrive(tmp_path, capsys):
    for i in range(10):
        make_image(tmp_path / "img" / f"{i}.png")
    rows = "".join(
        f"{i}.png,1,1,41,51,cat\n{i}.png,5,6,7,8,dog\n{i}.png,5,6,7,8,cow\n" for i in range(10)
    )
    write(tmp_path / "labels" / "boxes.csv", rows)
    words = ["data", "import", str(tmp_path / "labels"), "--output", str(tmp_path / "out")]
    words += ["--images", str(tmp_path / "img"), "--val-fraction", "0.4", "--seed", "3"]
    words += ["--drop", "dog", "--rename", "cat=pet", "cow=pet", "--batch", "2", "--copy-images"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "Split: 6 train, 4 val; split by image, seed 3" in said
    assert "20 objects, 1 class (pet 20)." in said and "iterations of 2 images" in said
    assert objects(tmp_path / "out")["0.png"] == [("pet", [1, 1, 40, 50]), ("pet", [5, 6, 2, 2])]
    assert (tmp_path / "out" / "images" / "0.png").is_file()
    assert main(words) == 1
    assert "Error: " in capsys.readouterr().err


@pytest.mark.parametrize("value", ["0", "1", "x"])
def test_a_fraction_that_is_none(value, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["data", "import", "a", "--output", "b", "--val-fraction", value])
    assert f"{value!r} is not a number between 0 and 1" in capsys.readouterr().err


def test_the_formats_to_choose_from_are_those_that_are_read():
    from fcos.data.importing.recognise import FORMATS
    from fcos_cli.data import FORMATS as CHOICES

    assert tuple(FORMATS) == CHOICES
