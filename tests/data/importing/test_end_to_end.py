"""From a folder of labels to an evaluated detector with two commands, as a user types them."""

import pytest

from fcos_cli.__main__ import main
from tests.data.importing.making import make_image, make_voc, objects, write
from tests.tiny import ROOT

SMALL = """
MODEL.FCOS.NUM_STACKED_CONVS 1 MODEL.RESNETS.DEPTH 50
MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.RESNETS.RES2_OUT_CHANNELS 16
MODEL.RESNETS.WIDTH_PER_GROUP 4 SOLVER.IMS_PER_BATCH 2 SOLVER.MAX_ITER 2 SOLVER.STEPS []
SOLVER.WARMUP_ITERS 1 TEST.EVAL_PERIOD 2 MODEL.FCOS.SCORE_THRESH_TEST 0.0 MODEL.DEVICE cpu
"""


def test_from_labels_to_an_evaluated_detector(tmp_path, capsys, monkeypatch):
    source = make_voc(tmp_path / "pets", 6)
    output = tmp_path / "my_data"
    assert main(["data", "import", str(source), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    command = said.splitlines()[-1].removeprefix("Next: ").split()
    assert command == ["fcos", "train", "--config-file", str(output / "config.yaml")]
    assert str(ROOT) not in (output / "config.yaml").read_text()
    monkeypatch.chdir(tmp_path)
    assert main([*command[1:], *SMALL.split()]) == 0
    shown = capsys.readouterr().out
    assert "copypaste: AP,AP50,AP75,APs,APm,APl" in shown
    assert (tmp_path / "output" / "my_data" / "model_best.pth").is_file()


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
