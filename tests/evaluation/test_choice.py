"""Per-image F1, the best threshold, and the order of images."""

import numpy as np
import pytest

from fcos.evaluation.choice import Counts, best_score, choose_images, count_images
from fcos.evaluation.truth import read_truth


@pytest.fixture
def evaluate(data):
    truth = read_truth("pets", str(data.json_file), "")
    return lambda *found: truth.matches(data.detections(*found), 100)


def objects_of(data, image_id):
    return [a["id"] for a in data.annotations if a["image_id"] == image_id and not a["iscrowd"]]


@pytest.mark.parametrize(
    "counts, f1",
    [
        (Counts(3, 1, 2), 2 * 3 / (2 * 3 + 1 + 2)),
        (Counts(0, 0, 0), 1.0),  # nothing to find, nothing claimed
        (Counts(0, 2, 0), 0.0),
        (Counts(4, 0, 0), 1.0),
    ],
)
def test_f1_by_hand(counts, f1):
    assert counts.f1 == pytest.approx(f1)


def test_found_wrong_and_missed(data, evaluate):
    a, b, c, d = objects_of(data, 10)
    other = 3 if data.annotations[b - 1]["category_id"] == 2 else 2
    evaluated = evaluate(
        (a, 0.9),
        (a, 0.8),  # a second time: wrong
        (b, 0.7, other),  # of another class: wrong
        (c, 0.6),
        (d, 0.2),  # below the threshold: missed
        ((13, 5, 5, 20, 20), 0.5),
    )
    counts = count_images(evaluated, 0.5)
    assert np.flatnonzero(evaluated.is_wrong).tolist() == [1, 2, 5]  # whatever the score
    assert counts[10] == Counts(found=2, wrong=2, missed=2)
    assert counts[13] == Counts(found=0, wrong=1, missed=0)
    assert counts[11] == Counts(missed=4)  # neither has a detection there
    assert counts[14] == Counts(missed=3)  # the fourth is a crowd
    assert count_images(evaluated, 0.51)[13] == Counts()
    assert count_images(evaluated, 0.2)[10] == Counts(found=3, wrong=2, missed=1)


def test_detections_on_a_crowd_do_not_count(data, evaluate):
    crowd = next(a for a in data.annotations if a["iscrowd"])
    evaluated = evaluate((crowd["id"], 0.9), (crowd["id"], 0.8))
    assert count_images(evaluated, 0.1)[14] == Counts(missed=3)
    assert best_score(evaluated) == 0.0 and not evaluated.is_wrong.any()


def test_iou_has_to_be_half(data, evaluate):
    x, y, w, h = data.annotations[0]["bbox"]
    near, far = (10, x, y, 0.51 * w, h), (10, x, y, 0.49 * w, h)
    assert count_images(evaluate((near, 0.9)), 0)[10].found == 1
    assert count_images(evaluate((far, 0.9)), 0)[10].found == 0


def test_the_best_score_by_hand(data, evaluate):
    """19 objects. Kept 1: 2/20; 2: 2/21; 3: 4/22; 4 and 5, of one score: 6/24; 6: 6/25."""
    a, b, c, _ = objects_of(data, 10)
    wrong = (13, 5, 5, 20, 20)
    evaluated = evaluate((a, 0.9), (wrong, 0.8), (b, 0.7), (c, 0.6), (wrong, 0.6), (wrong, 0.5))
    assert best_score(evaluated) == 0.6
    evaluated = evaluate((a, 0.9), (wrong, 0.8), (wrong, 0.6))
    assert best_score(evaluated) == 0.9
    # A threshold of 0.8 keeps all 26 of that score, also those behind the hit: 4/46 < 2/20.
    evaluated = evaluate((b, 0.9), (a, 0.8), *[(wrong, 0.8)] * 25)
    assert best_score(evaluated) == 0.9


def test_images_are_ranked_by_the_difference_then_by_mistakes_then_by_id():
    one = {1: Counts(1, 0, 0), 2: Counts(0, 0, 2), 3: Counts(1, 0, 0), 4: Counts(1), 5: Counts(1)}
    two = {1: Counts(0, 5, 1), 2: Counts(0, 9, 2), 3: Counts(0, 9, 1), 4: Counts(1, 1), 5: Counts()}
    two[5] = Counts(0, 5, 1)
    chosen = choose_images([one, two], 10)
    # 2 has F1 0 in both; 4 differs by 1 - 2/3.
    assert [choice.image_id for choice in chosen] == [3, 1, 5, 4]
    assert [choice.difference for choice in chosen] == pytest.approx([1, 1, 1, 1 / 3])
    assert chosen[3].counts == (Counts(1), Counts(1, 1))
    assert [choice.image_id for choice in choose_images([one, two], 2)] == [3, 1]
    assert choose_images([two, two], 5) == []
