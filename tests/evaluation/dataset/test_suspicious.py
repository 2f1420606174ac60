"""Each kind of suspicious label: found where it is planted, and only there."""

import numpy as np
import pytest

from fcos.config.defaults import read_cfg
from fcos.data import register_custom_datasets
from fcos.evaluation.dataset.splits import read_splits
from fcos.evaluation.dataset.suspicious import notes_on_classes, shared_images, suspicious_labels

USUAL = [(x, y, 20, 16, (x // 30) % 2) for x in (5, 35, 65) for y in (5, 35, 65)]


def splits_of(project, train, val=(USUAL,)):
    project.write("train", train)
    project.write("val", val)
    cfg = read_cfg(str(project.config))
    register_custom_datasets(cfg)
    return read_splits(cfg)


def test_usual_labels_are_not_suspicious(project):
    assert suspicious_labels(splits_of(project, [USUAL] * 6)[0]) == []


@pytest.mark.parametrize(
    "planted, title",
    [
        ((0.2, 0.3, 0.5, 0.4, 0), "within 1 pixel of the image's corner"),
        ((100, 60, 60, 20, 0), "reach beyond their image"),
        ((5.2, 5.1, 20, 16, 0), "The same box twice"),
        ((5, 5, 20, 16, 1), "The same box with two classes"),
        ((100, 60, 2, 12, 0), "less than 3 pixels"),
        ((0, 0, 128, 96, 0), "95 % of their image"),
        ((40, 60, 70, 6, 0), "Shapes unlike"),
        ((30, 10, 88, 70, 0), "Sizes unlike"),
    ],
)
def test_a_planted_label_is_found(project, planted, title):
    train = [USUAL, [*USUAL, planted], *([USUAL] * 4)]
    found = {each.title: each for each in suspicious_labels(splits_of(project, train)[0])}
    [named] = [name for name in found if title in name]
    names = found[named].names(5)
    assert any(name == "annotation 19 (train1.png)" for name in names)
    # Of two classes in one box both are named; else the planted one alone.
    assert len(names) == (2 if "two classes" in title else 1)


def test_x2_and_y2_in_place_of_sizes_reach_beyond(project):
    corners = [(x, y, x + w, y + h, c) for x, y, w, h, c in USUAL]
    [split, _] = splits_of(project, [corners])
    found = {each.title: len(each.which) for each in suspicious_labels(split)}
    assert found["Boxes that reach beyond their image"] >= 5


def test_classes_that_are_rare_or_on_one_side(project):
    project.names = ["a", "b", "c", "d"]
    train = [[(5, 5, 20, 16, 0)] * 12 + [(40, 5, 20, 16, 1)]]
    splits = splits_of(project, train, [[(5, 5, 20, 16, 1), (40, 5, 20, 16, 2)]])
    assert notes_on_classes(splits, project.names) == [
        "a is never evaluated: DATASETS.TEST has no object of it.",
        "b has 1 object to learn from, which is hardly enough.",
        "c has no object to learn from, but 1 to be found.",
        "d has no object to learn from at all.",
    ]


def test_images_that_training_and_evaluation_share(project):
    splits = splits_of(project, [USUAL] * 3, [USUAL] * 2)
    assert shared_images(splits).pairs == []
    (project.root / "val" / "val1.png").write_bytes(
        (project.root / "train" / "train2.png").read_bytes()
    )
    shared = shared_images(splits)
    assert [[path.rsplit("/", 1)[1] for path in pair] for pair in shared.pairs] == [
        ["train2.png", "val1.png"]
    ]
    assert (shared.same_file, shared.compared) == (0, {"training": 3, "evaluation": 2})


def test_one_file_in_both_is_found_without_reading_it(project):
    splits = splits_of(project, [USUAL] * 3)
    splits.append(type(splits[0])("again", False, splits[0].data, splits[0].objects))
    for path in (project.root / "train").iterdir():
        path.unlink()
    shared = shared_images(splits)
    assert (shared.same_file, len(shared.pairs)) == (3, 3)


def test_without_objects_nothing_is_suspicious(project):
    [_, val] = splits_of(project, [USUAL], [[]])
    assert suspicious_labels(val) == [] and np.array_equal(val.objects.per_image, [0])
