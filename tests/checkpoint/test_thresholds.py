"""The scores to cut at in a checkpoint: written, read, shown, and refused."""

import dataclasses

import pytest
import torch

from fcos.checkpoint import (
    ClassThreshold,
    ScoreThresholds,
    add_thresholds,
    inspect,
    read_checkpoint,
    thresholds_in,
)
from fcos.checkpoint.writing import write_weights
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg, write_model

CLASSES = (
    ClassThreshold(0.3125, 0.9, 0.6, 1234, 5000),
    ClassThreshold(0.5078125, 1.0, 0.5, 19, 20),
    ClassThreshold(None, objects=0, detections=7),
)
FOUND = ScoreThresholds("best F1", "pets_val", True, False, CLASSES)


@pytest.fixture
def checkpoint(tmp_path):
    """A file with weights, the state of a training, and names of the classes."""
    path = str(tmp_path / "a.pth")
    momentum = {"state": {0: {"momentum_buffer": torch.randn(3)}}, "lr": 0.1}
    content = {"model": {"x.weight": torch.randn(4, 2)}, "trainer": momentum, "iteration": 7}
    torch.save({**content, "class_names": ["cat", "dog", "elk"]}, path)
    return path


def without(content):
    return {key: str(value) for key, value in content.items() if key != "score_thresholds"}


def test_they_come_back_and_all_else_stays(checkpoint):
    before = read_checkpoint(checkpoint)
    assert thresholds_in(before, checkpoint) is None
    add_thresholds(checkpoint, FOUND)
    after = read_checkpoint(checkpoint)
    assert thresholds_in(after, checkpoint) == FOUND
    assert without(after) == without(before)
    assert after["model"]["x.weight"].equal(before["model"]["x.weight"])
    other = dataclasses.replace(FOUND, rule="a recall of at least 0.9")
    add_thresholds(checkpoint, other)
    assert thresholds_in(read_checkpoint(checkpoint), checkpoint) == other


def test_the_same_ones_again_are_not_written(checkpoint, tmp_path):
    add_thresholds(checkpoint, FOUND)
    before = (tmp_path / "a.pth").stat()
    add_thresholds(checkpoint, FOUND)
    after = (tmp_path / "a.pth").stat()  # reading it changes the time of its last use
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_copy(checkpoint, tmp_path):
    before = (tmp_path / "a.pth").read_bytes()
    add_thresholds(checkpoint, FOUND, str(tmp_path / "b.pth"))
    assert (tmp_path / "a.pth").read_bytes() == before
    assert thresholds_in(read_checkpoint(str(tmp_path / "b.pth")), "b.pth") == FOUND


def test_a_file_without_a_place_for_them(tmp_path):
    pytest.importorskip("safetensors")
    path = str(tmp_path / "a.safetensors")
    write_weights(path, {"x.weight": torch.ones(1)})
    with pytest.raises(UserError, match="is not in the format of torch.save, the only one with"):
        add_thresholds(path, FOUND)
    with pytest.raises(UserError, match="does not exist"):
        add_thresholds(str(tmp_path / "gone.pth"), FOUND)


@pytest.mark.parametrize(
    "change",
    [
        {"classes": 3},
        {"classes": [{"score": 2.0}]},
        {"classes": [{"score": float("nan")}]},
        {"classes": [{"score": "0.5"}]},
        {"classes": [{"score": 0.5, "objects": "many"}]},
        {"classes": [{"threshold": 0.5}]},
        {"rule": None},
        {"more": 1},
    ],
)
def test_a_damaged_entry(checkpoint, change):
    content = {"score_thresholds": {**FOUND.entry()["score_thresholds"], **change}}
    with pytest.raises(UserError, match="^The score thresholds in a.pth are damaged: write them"):
        thresholds_in(content, "a.pth")
    # Writing mends it.
    torch.save({**torch.load(checkpoint, weights_only=True), **content}, checkpoint)
    add_thresholds(checkpoint, FOUND)
    assert thresholds_in(read_checkpoint(checkpoint), checkpoint) == FOUND


def test_scores_of_products_and_of_their_roots():
    assert FOUND.scores(square_root=True) == [0.3125, 0.5078125, None]
    assert FOUND.scores(square_root=False) == [0.3125**2, 0.5078125**2, None]
    of_products = dataclasses.replace(FOUND, square_root=False)
    assert of_products.scores(square_root=True) == [0.3125**0.5, 0.5078125**0.5, None]
    assert of_products.scores(square_root=False) == [0.3125, 0.5078125, None]


def test_what_is_shown():
    lines = FOUND.table(["cat", "dog", "elk"]).splitlines()
    assert set(lines.pop(2)) == {"-", " "}
    assert lines == [
        "Scores to cut at, by best F1 on pets_val at IoU 0.5",
        "class    score    precision    recall    F1    objects",
        "cat      0.312    0.90         0.60      0.72  1,234",
        "dog      0.508    1.00         0.50      0.67  19         "
        "from fewer than 20 objects: uncertain",
        "elk      -        -            -         -     0          0.5 is used: no objects",
    ]
    assert "\nclass 1  0.508" in FOUND.table(["cat", "dog"])  # names of other classes
    augmented = dataclasses.replace(FOUND, augmented=True)
    assert "IoU 0.5, with test-time augmentation\n" in augmented.table()


@pytest.mark.parametrize(
    ("class_", "why"),
    [
        (ClassThreshold(None, objects=3), "0.5 is used: nothing detected"),
        (ClassThreshold(None, objects=3, detections=1), "0.5 is used: not reached"),
        (ClassThreshold(None, detections=1), "0.5 is used: no objects"),
        (ClassThreshold(0.1, objects=20), ""),
    ],
)
def test_why_a_class_has_none(class_, why):
    assert class_.note == why


def test_inspect_shows_them(tmp_path):
    path = str(write_model(tmp_path, tiny_cfg()) / "model.pth")
    before = inspect(path)
    assert "Scores to cut at" not in before
    add_thresholds(path, FOUND)
    assert inspect(path) == f"{before}\n\n{FOUND.table(['cat', 'dog', 'bird'])}"
