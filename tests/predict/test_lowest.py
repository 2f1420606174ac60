"""The scores that are cut at: given, of the checkpoint, or the default; what is said of them."""

import dataclasses
import json
import logging
import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from detectron2.structures import Boxes, Instances
from fcos.checkpoint import ClassThreshold, ScoreThresholds, add_thresholds
from fcos.predict import Predictor
from fcos.predict.lowest import LowestScores
from fcos.utils.errors import UserError
from fcos_cli import demo, detect
from tests.helpers import tiny_cfg, write_model

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
CLASSES = (ClassThreshold(0.62), ClassThreshold(None), ClassThreshold(0.41))
FOUND = ScoreThresholds("best F1", "pets_val", True, False, CLASSES)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A detector that finds something in everything, whose file has thresholds."""
    cfg, folder = tiny_cfg(), tmp_path_factory.mktemp("model")
    cfg.MODEL.FCOS.NMS_POST_TOPK = 1000  # low scores too
    write_model(folder, cfg)
    add_thresholds(cfg.MODEL.WEIGHTS, FOUND)
    return cfg


@pytest.fixture
def cfg(model, tmp_path):
    """Of a copy of it."""
    shutil.copytree(os.path.dirname(model.MODEL.WEIGHTS), tmp_path, dirs_exist_ok=True)
    cfg = model.clone()
    cfg.MODEL.WEIGHTS = str(tmp_path / "model.pth")
    return cfg


def everything(cfg):
    found = Predictor(cfg, threshold=0)(IMAGE)
    for class_, score in enumerate((0.62, 0.5, 0.41)):  # there is something to leave out, and left
        scores = found.scores[found.pred_classes == class_]
        assert (scores < score).any() and (scores >= score).any()
    return found


def same(found, wanted):
    assert len(found) == len(wanted)
    for field in ("scores", "pred_classes"):
        assert found.get(field).equal(wanted.get(field))
    return True


# ---- in a program ------------------------------------------------------------------------------


@pytest.mark.parametrize("default", [0.0, 0.5])
def test_those_of_the_checkpoint_class_by_class(cfg, default):
    found = everything(cfg)
    least = torch.tensor([0.62, 0.5, 0.41])[found.pred_classes]
    assert same(Predictor(cfg, default=default)(IMAGE), found[found.scores >= least])


def test_a_given_one_wins(cfg):
    found = everything(cfg)
    assert same(Predictor(cfg, threshold=0.45)(IMAGE), found[found.scores >= 0.45])


def test_a_file_without_any(cfg):
    found = everything(cfg)
    cfg.MODEL.WEIGHTS = cfg.MODEL.WEIGHTS.replace("model.pth", "nameless.pth")
    assert same(Predictor(cfg)(IMAGE), found)
    assert same(Predictor(cfg, default=0.5)(IMAGE), found[found.scores >= 0.5])


def test_scores_that_are_products_are_cut_at_the_same_detections(cfg):
    found = Predictor(cfg)(IMAGE)
    cfg.MODEL.FCOS.SQRT_SCORE = False
    products = Predictor(cfg)(IMAGE)
    # The default of class 1 is one of the score that is reported.
    found, products = (x[x.pred_classes != 1] for x in (found, products))
    assert len(products) == len(found) and products.pred_classes.equal(found.pred_classes)
    torch.testing.assert_close(products.scores.sqrt(), found.scores)


def test_a_damaged_entry_does_not_matter_where_a_threshold_is_given(cfg):
    content = torch.load(cfg.MODEL.WEIGHTS, weights_only=True)
    torch.save({**content, "score_thresholds": 3}, cfg.MODEL.WEIGHTS)
    with pytest.raises(UserError, match="^The score thresholds in .*model.pth are damaged: "):
        Predictor(cfg)
    Predictor(cfg, threshold=0.5)


@pytest.mark.parametrize("augmented", [False, True])
def test_scores_of_augmented_detections_are_others(cfg, caplog, augmented):
    add_thresholds(cfg.MODEL.WEIGHTS, dataclasses.replace(FOUND, augmented=augmented))
    cfg.merge_from_list(["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (48,)])
    with caplog.at_level(logging.WARNING):
        Predictor(cfg, threshold=0.5)
        assert not caplog.messages
        Predictor(cfg)
    said = "were found without test-time augmentation (TEST.AUG.ENABLED), with which scores are"
    assert (said in caplog.text) == (not augmented)
    caplog.clear()
    cfg.TEST.AUG.ENABLED = False
    with caplog.at_level(logging.WARNING):
        Predictor(cfg)
    assert ("found with test-time augmentation" in caplog.text) == augmented


def test_a_class_that_the_thresholds_do_not_have():
    found = Instances((9, 9), scores=torch.tensor([0.3, 0.3, 0.2]))
    found.pred_boxes, found.pred_classes = Boxes(torch.zeros(3, 4)), torch.tensor([0, 5, 5])
    lowest = LowestScores(0.25, (0.4,))
    assert lowest.keep(found).pred_classes.tolist() == [5]
    assert lowest.of_classes(3) == [0.4, 0.25, 0.25] and lowest.of_classes(1) == [0.4]


@pytest.mark.parametrize(
    ("lowest", "said", "origin"),
    [
        (LowestScores(0.3, is_given=True), "a score of at least 0.3", "as given"),
        (LowestScores(0.5), "a score of at least 0.5", "the default; the checkpoint has none of"),
        (
            LowestScores(0.5, (0.314, 0.52), "best F1"),
            "at least the score of their class (by best F1: 0.31-0.52)",
            "from the checkpoint",
        ),
        (
            LowestScores(0.5, (0.314, None), "best F1"),
            "at least the score of their class (by best F1: 0.31), 0.5 for 1 class that has none",
            "from the checkpoint",
        ),
    ],
)
def test_what_is_said(lowest, said, origin):
    assert str(lowest) == said and lowest.origin.startswith(origin)


# ---- the programs ------------------------------------------------------------------------------

FOR_EVALUATIONS = "Lower scores are left out: for an evaluation, use --confidence-threshold 0."


@pytest.fixture
def run(cfg, tmp_path, monkeypatch, caplog):
    """Run a program on the image; return what it found and what it logged."""
    cv2.imwrite(str(tmp_path / "a.png"), IMAGE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fcos.predict.demo.show_log", lambda *_: None)
    monkeypatch.setattr("fcos.predict.many.running.show_log", lambda *_: None)
    caplog.set_level("INFO", logger="fcos.predict")

    def run(program, *words, weights="model.pth"):
        caplog.clear()
        output = ["--json", "demo.json"] if program is demo else ["--output", "many"]
        file = "demo.json" if program is demo else "many/detections.json"
        argv = ["--config-file", "config.yaml", "--input", "a.png", *output, *words]
        assert program.main([*argv, "--opts", "MODEL.WEIGHTS", weights]) == 0
        found = json.loads((tmp_path / file).read_text())
        return [(d["category_id"], d["score"]) for d in found], caplog.text

    return run


def pairs(found):
    return list(zip(found.pred_classes.tolist(), found.scores.tolist(), strict=True))


@pytest.mark.parametrize("program", [demo, detect], ids=["demo", "detect"])
def test_programs_cut_at_the_scores_of_the_checkpoint(run, cfg, program):
    found, said = run(program)
    assert found == pairs(Predictor(cfg, default=0.5)(IMAGE)) and found
    assert (
        "Kept: detections with at least the score of their class (by best F1: 0.41-0.62), 0.5 for "
        "1 class that has none, from the checkpoint." in said
    )
    assert FOR_EVALUATIONS in said


@pytest.mark.parametrize("program", [demo, detect], ids=["demo", "detect"])
def test_programs_cut_at_a_given_score(run, cfg, program):
    found, said = run(program, "--confidence-threshold", "0.7")
    whole = Predictor(cfg, threshold=0)(IMAGE)
    assert found == pairs(whole[whole.scores >= 0.7]) and found
    assert "Kept: detections with a score of at least 0.7, as given." in said
    assert FOR_EVALUATIONS in said


@pytest.mark.parametrize("program", [demo, detect], ids=["demo", "detect"])
def test_programs_without_scores_in_the_checkpoint(run, cfg, program):
    found, said = run(program, weights="nameless.pth")
    whole = Predictor(cfg, threshold=0)(IMAGE)
    assert found == pairs(whole[whole.scores >= 0.5]) and found
    assert "with a score of at least 0.5, the default; the checkpoint has none of its own." in said


@pytest.mark.parametrize("program", [demo, detect], ids=["demo", "detect"])
def test_files_for_an_evaluation(run, program):
    _, said = run(program, "--confidence-threshold", "0")
    assert "with a score of at least 0, as given." in said and "for an evaluation" not in said


def test_a_run_with_other_scores_is_another_run(run, cfg, capfd):
    run(detect)
    run(detect)  # goes on
    words = ["--config-file", "config.yaml", "--input", "a.png", "--output", "many"]
    assert detect.main([*words, "--confidence-threshold", "0.5"]) == 1
    assert "confidence_threshold was [0.62, 0.5, 0.41]" in capfd.readouterr().err


def test_a_run_that_was_begun_with_the_default(run, tmp_path):
    """As runs of a checkpoint without scores: the number alone is among the settings."""
    run(detect, weights="nameless.pth")
    settings = json.loads((tmp_path / "many/shards/run.json").read_text())["settings"]
    assert settings["confidence_threshold"] == 0.5
    run(detect, "--confidence-threshold", "0.5", weights="nameless.pth")


def test_labels_say_it(run, tmp_path, caplog):
    _, said = run(detect, "--labels", "voc")
    assert "Detections with at least the score of their class (by best F1: 0.41-0.62), " in said


def test_a_low_score_of_the_checkpoint_lowers_no_threshold_of_probabilities(cfg, run):
    """They were found with the one of the config: below it, nothing was measured."""
    classes = tuple(ClassThreshold(0.01) for _ in range(3))
    add_thresholds(cfg.MODEL.WEIGHTS, dataclasses.replace(FOUND, classes=classes))
    found, _ = run(demo)
    assert found == pairs(Predictor(cfg, threshold=0)(IMAGE))
    assert len(run(demo, "--confidence-threshold", "0.01")[0]) > len(found)
