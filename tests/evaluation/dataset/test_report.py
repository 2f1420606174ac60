"""The page on data sets: what it shows, what its advice does, and what it refuses."""

import json
import re

import pytest
import yaml

from detectron2.modeling import build_model
from fcos.config.defaults import read_cfg
from fcos_cli.data import main
from tests.evaluation.dataset.conftest import scenes
from tests.evaluation.test_compare import Checker


def run(capsys, project, *words, code=0, config=None):
    arguments = [config or project.config, *words, "--output", project.output]
    assert main(["report", *map(str, arguments)]) == code
    return capsys.readouterr()


def numbers_of(project):
    return json.loads(project.output.with_suffix(".json").read_text(encoding="utf-8"))


@pytest.fixture
def usual(project):
    project.write("train", scenes(6, 10, 60))
    project.write("val", scenes(3, 10, 60, seed=1))
    return project


def test_the_page_stands_alone_and_shows_the_figures(usual, capsys):
    out = run(capsys, usual).out
    text = usual.output.read_text(encoding="utf-8")
    page = Checker(text)
    assert "script" not in page.tags and "link" not in page.tags
    assert "url(" not in text and "@import" not in text and "://" not in text
    sources = [source for source in page.sources if not source.startswith("#")]
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,", source) for source in sources)
    numbers = numbers_of(usual)
    assert numbers["learnt"]["objects"] == 30
    assert sum(numbers["learnt"]["fates"].values()) == 30
    recall = numbers["learnt"]["best_possible_recall"]
    assert f"{recall:.2f} %" in page.text and f"Best possible recall: {recall:.2f} %" in out
    assert [row["objects"] for row in numbers["data_sets"]] == [30, 15]
    assert sum(row["training_objects"] for row in numbers["classes"]) == 30
    assert sum(row["objects"] for row in numbers["levels"]) >= numbers["learnt"]["fates"]["learnt"]
    assert "train0.png" in page.text  # what training sees
    tiles = page.tags.count("img")
    assert tiles >= 2 + 2 * 8 + 16


def test_the_same_command_writes_the_same_bytes(usual, capsys):
    pages = []
    for _ in range(2):
        run(capsys, usual)
        pages.append(usual.output.read_bytes())
    assert pages[0] == pages[1]


def test_names_are_escaped(usual, capsys):
    text = (usual.root / "train.json").read_text().replace('"red"', '"<script>red & $x$"')
    for split in ("train", "val"):
        content = json.loads((usual.root / f"{split}.json").read_text())
        content["categories"] = json.loads(text)["categories"]
        (usual.root / f"{split}.json").write_text(json.dumps(content))
    run(capsys, usual)
    page = Checker(usual.output.read_text(encoding="utf-8"))
    assert "script" not in page.tags and "<script>red & $x$" in page.text


def test_advice_on_small_objects_does_what_it_says(project, capsys):
    project.write("train", scenes(30, 4, 12, objects=4))
    project.write("val", scenes(2, 4, 12, seed=1))
    # The images are shrunk, so that most objects are smaller than the stride of P3.
    options = ["INPUT.MIN_SIZE_TRAIN", "[64]", "INPUT.MAX_SIZE_TRAIN", "96"]
    run(capsys, project, *options)
    first = numbers_of(project)
    tried, before = first["tried"], first["learnt"]["best_possible_recall"]
    assert tried["before"]["learnt"] == before < 60
    assert tried["after"]["learnt"] > before + 20
    titles = [advice["title"] for advice in first["advice"]]
    assert titles[:2] == ["Which level learns which size", "Size of the images"]
    for advice in first["advice"]:
        assert any(abs(advice["after"][k] - v) > 0.4 for k, v in advice["before"].items())

    advised = project.root / "advised.yaml"
    advised.write_text(tried["config"])
    run(capsys, project, config=advised)
    second = numbers_of(project)
    assert second["learnt"]["best_possible_recall"] == tried["after"]["learnt"]
    assert second["tried"]["before"] == tried["after"]
    build_model(read_cfg(str(advised)))  # a detector that can be trained

    # Given to the command line, one after the other, each has the figure that it announced.
    for advice in first["advice"]:
        options += [word.strip('"') for word in re.findall(r'"[^"]*"|\S+', advice["options"])]
        run(capsys, project, *options)
        found = numbers_of(project)["tried"]["before"]
        assert found == advice["after"]
        assert "_BASE_" not in advice["yaml"] and yaml.safe_load(advice["yaml"])


def test_a_data_set_that_is_declared_on_the_command_line(usual, capsys):
    custom = read_cfg(str(usual.config)).DATASETS.CUSTOM
    run(capsys, usual, "DATASETS.CUSTOM", str({name: dict(d) for name, d in custom.items()}))
    saved = usual.root / "saved.yaml"
    saved.write_text(numbers_of(usual)["tried"]["config"])
    assert custom == read_cfg(str(saved)).DATASETS.CUSTOM
    assert list(custom) == ["cells_train", "cells_val"]


def test_overlapping_classes_are_advised_to_learn_near_the_middle(project, capsys):
    # A small object in the lower corner of each large one, of the other class and on one level.
    scene = [(4, 4, 60, 60, 0), (44, 44, 40, 40, 1)]
    project.write("train", [scene] * 4)
    project.write("val", [scene])
    run(capsys, project)
    numbers = numbers_of(project)
    both = numbers["ambiguous"]["all_of_the_box"], numbers["ambiguous"]["near_the_middle"]
    assert both[0]["between_classes"] > both[1]["between_classes"]
    assert "CENTER_SAMPLE True" in numbers["advice"][-1]["options"]
    assert numbers["tried"]["after"]["between"] == both[1]["between_classes"]


def test_more_objects_than_detections(usual, capsys):
    run(capsys, usual, "MODEL.FCOS.NMS_POST_TOPK", 2)
    advice = numbers_of(usual)["advice"][-1]
    assert advice["options"] == "MODEL.FCOS.NMS_POST_TOPK 50"
    assert (advice["before"], advice["after"]) == ({"countable": 40.0}, {"countable": 100.0})


def test_where_nothing_helps_there_is_no_advice(project, capsys):
    scene = [(8, 8, 40, 40, 0), (80, 40, 40, 40, 1)]
    for split in ("train", "val"):
        project.write(split, [scene])
    run(capsys, project)
    numbers = numbers_of(project)
    assert numbers["advice"] == [] and numbers["learnt"]["best_possible_recall"] == 100
    assert "no change that was tried improves a figure" in project.output.read_text("utf-8")


def test_missing_images_are_said_on_the_page(project, capsys):
    project.write("train", scenes(3, 10, 60), with_images=False)
    project.write("val", scenes(2, 10, 60, seed=1))
    run(capsys, project)
    page = Checker(project.output.read_text(encoding="utf-8"))
    assert "Training would refuse this:" in page.text and "does not exist" in page.text
    assert "3 images could not be drawn" in page.text
    assert numbers_of(project)["learnt"]["objects"] == 15


def test_the_samples_are_those_of_the_training(usual, capsys):
    """The crop halves the image, and another seed begins with other images."""
    crop = ["INPUT.CROP.ENABLED", "True", "INPUT.CROP.SIZE", "[0.5, 0.5]", "INPUT.CROP.TYPE"]
    names = []
    for seed in (3, 4):
        run(capsys, usual, *crop, "relative", "INPUT.MIN_SIZE_TRAIN", "[48]", "SEED", seed)
        page = Checker(usual.output.read_text(encoding="utf-8"))
        names.append(re.findall(r"(train\d\.png), 64 \N{MULTIPLICATION SIGN} 48", page.text))
        assert "INPUT.CROP relative [0.5, 0.5]" in page.text and f"SEED is {seed}." in page.text
    assert len(names[0]) == 16 and names[0] != names[1]


def test_augmentations_are_named_and_seen(usual, capsys):
    pages = []
    for names in ([], ["RandomInvert"]):
        run(capsys, usual, "INPUT.AUGMENTATIONS", names)
        pages.append(Checker(usual.output.read_text(encoding="utf-8")))
    counts = [page.text.count("INPUT.AUGMENTATIONS") for page in pages]
    assert counts == [1, 2]  # among the options, and if there are any, among what is done
    assert pages[0].sources[-16:] != pages[1].sources[-16:]


def test_images_that_training_skips_are_not_in_the_figures(usual, capsys):
    (usual.root / "train" / "train1.png").write_bytes(b"no image")
    run(capsys, usual)
    assert "train1.png" in numbers_of(usual)["refused"]
    run(capsys, usual, "DATALOADER.SKIP_UNREADABLE", "True")
    numbers = numbers_of(usual)
    assert (numbers["refused"], numbers["learnt"]["images"]) == ("", 5)


def test_masks_are_drawn_as_training_has_them(project, capsys):
    for split in ("train", "val"):
        project.write(split, scenes(2, 10, 60), masks=True)
    pictures = []
    for mask_on in (False, True):
        options = ["MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.MASK_ON", mask_on]
        options += ["MODEL.ROI_HEADS.NAME", "FCOSMaskROIHeads"]
        run(capsys, project, *options)
        pictures.append(Checker(project.output.read_text(encoding="utf-8")).sources)
    differ = [one != other for one, other in zip(*pictures, strict=True)]
    assert sum(differ) == 16 == sum(differ[-16:])  # what training sees, the last pictures


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda p: ["MODEL.FCOS.POS_RADIUS"], "Options are pairs of KEY and VALUE"),
        (lambda p: ["DATASETS.TRAIN", "()"], "DATASETS.TRAIN is empty"),
        (lambda p: ["MODEL.PROPOSAL_GENERATOR.NAME", "RPN"], "the page is on what FCOS learns"),
        (lambda p: ["MODEL.META_ARCHITECTURE", "RetinaNet"], "the page is on what FCOS learns"),
        (lambda p: ["DATASETS.TRAIN", "('cels',)"], "Data set 'cels' is not registered"),
        (lambda p: ["MODEL.FCOS.SIZES_OF_INTEREST", "[8]"], "SIZES_OF_INTEREST has 1 limits"),
        (lambda p: ["INPUT.AUGMENTATIONS", "['RandomSolarise']"], "RandomSolarise"),
        (lambda p: p.write("train", [[], []]) or [], "cells_train: no image has an object"),
        (lambda p: (p.root / "val.json").unlink() or [], "val.json does not exist"),
    ],
)
def test_what_cannot_be_reported_on_is_one_sentence(usual, capsys, change, sentence):
    options = change(usual)
    error = run(capsys, usual, *options, code=1).err
    assert error.startswith("Error: ") and sentence in error and error.count("\n") == 1
    assert not usual.output.exists()


def test_a_missing_config_is_one_sentence(usual, capsys):
    error = run(capsys, usual, config=usual.root / "none.yaml", code=1).err
    assert error == f"Error: The config file {usual.root}/none.yaml does not exist.\n"


def test_the_output_must_be_a_page_and_no_input(usual, capsys):
    usual.output = usual.root / "page.pdf"
    assert "which ends in .html" in run(capsys, usual, code=1).err
    usual.output = usual.root / "train.html"
    before = (usual.root / "train.json").read_bytes()
    assert "would overwrite" in run(capsys, usual, code=1).err
    assert (usual.root / "train.json").read_bytes() == before
