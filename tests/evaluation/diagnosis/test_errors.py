"""Costs of errors and confusions, against loops and by hand."""

import numpy as np
import pytest

from fcos.evaluation.diagnosis.confusion import confusions, count_confusions, shown_part
from fcos.evaluation.diagnosis.errors import KINDS, error_costs
from fcos.evaluation.diagnosis.subject import Subject
from fcos.evaluation.figures import figures
from fcos.evaluation.truth import read_truth
from tests.evaluation.diagnosis import slow

pytest.importorskip("hotcoco")


def subject_of(root, contents, results, is_mask=False):
    truth = read_truth("scene", slow.write_scene(root, contents), "")
    task = "segm" if is_mask else "bbox"
    return Subject(truth, truth.objects.columns(results), task, 100)


@pytest.mark.parametrize("is_mask", [False, True])
@pytest.mark.parametrize("crowds", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_costs_of_errors_are_those_of_a_loop(tmp_path, seed, crowds, is_mask):
    contents, results = slow.scene(seed, with_masks=is_mask, crowds=crowds)
    subject = subject_of(tmp_path, contents, results, is_mask)
    got = error_costs(subject)
    base, want = slow.tide(contents, results, is_mask)
    assert got.ap50 == pytest.approx(100 * base, abs=1e-9)
    assert {cost.kind: cost.number for cost in got.costs} == {k: n for k, (n, _) in want.items()}
    assert sum(number for number, _ in want.values()) > 20
    for cost in got.costs:
        assert cost.cost == pytest.approx(100 * want[cost.kind][1], abs=1e-9), cost.kind
    # Without crowds, the errors are those of the evaluation's own AP50.
    evaluated = subject.truth.evaluate(results, subject.task, 100)
    assert figures(evaluated)["AP50"] == pytest.approx(got.ap50, abs=1e-9)


def box(x, score, category=2, side=10):
    return {"image_id": 7, "category_id": category, "bbox": [x, 0, side, side], "score": score}


def test_each_kind_by_hand(tmp_path):
    contents, _ = slow.scene(0, num_images=1)
    objects = [(0, 2), (20, 2), (40, 3), (60, 3), (80, 3)]  # x and class
    contents["annotations"] = [
        {"id": n, "image_id": 7, "category_id": c, "bbox": [x, 0, 10, 10], "area": 100}
        | {"iscrowd": 0}
        for n, (x, c) in enumerate(objects)
    ]
    results = [
        box(0, 0.9),  # right
        box(1, 0.8),  # IoU 9/11 with the same object: duplicate
        box(25, 0.7),  # IoU 5/15 with the second: localisation
        box(40, 0.6),  # on a 3: classification
        box(65, 0.5),  # IoU 5/15 with a 3: both
        {**box(0, 0.4), "bbox": [0, 50, 10, 10]},  # background
    ]  # the objects at 60 and 80 are missed: "both" mends nothing
    got = error_costs(subject_of(tmp_path, contents, results))
    assert {cost.kind: cost.number for cost in got.costs} == dict.fromkeys(KINDS, 1) | {"missed": 2}
    # Class 2 has 2 objects: precision 1 up to recall 0.5, 51 of 101 points; class 3 has AP 0.
    assert got.ap50 == pytest.approx(100 * (51 / 101 + 0) / 2)
    by_kind = {cost.kind: cost.cost for cost in got.costs}
    # Found, wrong, found: the other 50 points have precision 2/3.
    assert by_kind["localisation"] == pytest.approx(100 * (50 / 101 * 2 / 3) / 2)
    # One of the three objects of class 3 is found: recall 1/3, 34 points.
    assert by_kind["classification"] == pytest.approx(100 * (34 / 101) / 2)
    # No wrong detection lies before the one right one, and no recall is gained.
    assert by_kind["duplicate"] == by_kind["background"] == by_kind["both"] == 0
    assert by_kind["missed"] == 0  # class 3 still has an object that is not found
    assert got.worst.kind == "classification"


@pytest.mark.parametrize("is_mask", [False, True])
@pytest.mark.parametrize("crowds", [0, 1])
@pytest.mark.parametrize("score", [0.0, 0.5])
def test_confusions_are_those_of_a_loop(tmp_path, score, crowds, is_mask):
    contents, results = slow.scene(5, num_images=12, with_masks=is_mask, crowds=crowds)
    got = count_confusions(subject_of(tmp_path, contents, results, is_mask), score)
    assert got.tolist() == slow.confusion(contents, results, score, is_mask).tolist()
    inner = got[:-1, :-1]
    assert inner.sum() > np.trace(inner) > 0 and got[-1].any() and got[:, -1].any()


def test_more_detections_than_the_limit_of_an_image(tmp_path):
    """The limit is of an image and class: 101 classes' detections may all count."""
    contents, _ = slow.scene(0, num_images=1)
    contents["annotations"] = contents["annotations"][:1] or [
        {"id": 1, "image_id": 7, "category_id": 2, "bbox": [0, 0, 5, 5], "area": 25, "iscrowd": 0}
    ]
    results = [box(50, 0.9 - i / 1000, slow.IDS[i % 3]) for i in range(150)]
    got = count_confusions(subject_of(tmp_path, contents, results), 0.0)
    assert got[:, :-1].sum() == 150
    got = count_confusions(subject_of(tmp_path, contents, [box(50, 0.5)] * 150), 0.0)
    assert got[:, :-1].sum() == 100


def test_which_confusions_are_named_and_shown():
    matrix = np.array([[5, 2, 0, 1], [3, 4, 0, 0], [0, 0, 9, 0], [1, 1, 1, 0]])
    assert confusions(matrix) == [(1, 0, 3), (0, 1, 2)]
    assert shown_part(matrix, 3) == [0, 1, 2] and shown_part(matrix, 2) == [0, 1]
    assert confusions(np.diag([1, 2, 0])) == []


def test_detections_on_crowds_only_leave_nothing_to_judge(tmp_path):
    contents, _ = slow.scene(0, num_images=1)
    thing = {"image_id": 7, "category_id": 2, "bbox": [0, 0, 50, 50], "area": 2500}
    contents["annotations"] = [
        {**thing, "id": 1, "iscrowd": 1},
        {**thing, "id": 2, "iscrowd": 0, "bbox": [60, 60, 9, 9]},
    ]
    got = error_costs(subject_of(tmp_path, contents, [box(5, 0.9)]))
    assert got.ap50 == 0 and [cost.number for cost in got.costs] == [0, 0, 0, 0, 0, 1]
    matrix = count_confusions(subject_of(tmp_path, contents, [box(5, 0.9)]), 0.0)
    assert matrix.sum() == matrix[0, -1] == 1
