"""The best score to cut at, by hand and beside a loop that matches anew at every score."""

import numpy as np
import pytest
from pycocotools import mask as mask_api

from fcos.evaluation.cocoeval import GroundTruth
from fcos.evaluation.cuts import best_cut, cuts_of
from fcos.evaluation.thresholds import choose_thresholds
from tests.evaluation.test_cocoeval import scene


def cuts(*found, objects):
    scores, right = zip(*found, strict=True) if found else ((), ())
    return cuts_of(np.array(scores, float), np.array(right, bool), objects)


# precision 1, 1/2, 2/3, 3/4, 3/5; recall 1/4, 1/4, 2/4, 3/4, 3/4; F1 2/5, 2/6, 4/7, 6/8, 6/9
FOUND = [(0.5, True), (0.9, True), (0.7, False), (0.6, True), (0.4, False)]


def test_by_hand():
    of = cuts(*FOUND, objects=4)
    assert of.scores.tolist() == [0.9, 0.7, 0.6, 0.5, 0.4]
    assert of.precision.tolist() == [1, 1 / 2, 2 / 3, 3 / 4, 3 / 5]
    assert of.recall.tolist() == [1 / 4, 1 / 4, 2 / 4, 3 / 4, 3 / 4]
    assert of.f1.tolist() == [2 / 5, 2 / 6, 4 / 7, 6 / 8, 6 / 9]
    assert of.scores[best_cut(of)] == 0.5


@pytest.mark.parametrize(
    ("wanted", "score"),
    [
        ({"precision": 0.75}, 0.5),  # equal to it is enough
        ({"precision": 0.76}, 0.9),
        ({"precision": 0.6}, 0.4),  # the lowest, though 0.7 in between does not reach it
        ({"precision": 1.0}, 0.9),
        ({"recall": 0.25}, 0.9),  # the highest
        ({"recall": 0.26}, 0.6),
        ({"recall": 0.75}, 0.5),
        ({"recall": 0.76}, None),
    ],
)
def test_a_wanted_precision_or_recall(wanted, score):
    of = cuts(*FOUND, objects=4)
    best = best_cut(of, **wanted)
    assert (None if best is None else of.scores[best]) == score


def test_a_precision_that_no_score_reaches():
    assert best_cut(cuts((0.9, False), (0.8, True), objects=1), precision=0.51) is None


def test_detections_of_one_score_are_cut_together():
    of = cuts((0.5, True), (0.5, False), (0.5, True), (0.4, False), objects=2)
    assert (of.scores.tolist(), of.kept.tolist(), of.right.tolist()) == ([0.5, 0.4], [3, 4], [2, 2])


def test_of_equal_f1_the_highest_score():
    of = cuts((0.9, True), (0.8, False), (0.7, True), objects=1 + 2)  # 2/4, 2/5, 4/6
    assert of.scores[best_cut(of)] == 0.7
    of = cuts((0.9, True), (0.8, False), (0.7, False), (0.6, True), objects=2)  # 2/3, ..., 4/6
    assert of.scores[best_cut(of)] == 0.9


def test_nothing_to_choose_from():
    for of in (cuts(objects=3), cuts(objects=0), cuts((0.9, False), objects=0)):
        assert best_cut(of) is best_cut(of, precision=0.1) is best_cut(of, recall=0.1) is None
    assert cuts((0.9, False), objects=0).recall.tolist() == [0]
    with pytest.raises(ValueError, match="precision and recall: expected at most one"):
        best_cut(cuts(objects=1), precision=0.5, recall=0.5)


# ---- every class of a data set -----------------------------------------------------------------


def counts_at(score, objects, results):
    """Match the results of a class from a score on; return how many are right, and how many wrong.

    COCO's rules: the highest score first, to the free object with the highest IoU of at least 0.5;
    else a crowd may take it, measured by the share of the detection in it, and it does not count.
    """
    right = wrong = 0
    for image in {r["image_id"] for r in results}:
        mine = [r for r in results if r["image_id"] == image and r["score"] >= score]
        mine = sorted(mine, key=lambda r: -r["score"])[:100]
        there = [o for o in objects if o["image_id"] == image]
        free = [o for o in there if not o["iscrowd"]]
        crowds = [o["bbox"] for o in there if o["iscrowd"]]
        for result in mine:
            ious = [mask_api.iou([result["bbox"]], [o["bbox"]], [0])[0, 0] for o in free]
            if ious and max(ious) >= 0.5:
                # Of equal ones the last, as COCO's loop has it.
                best = max(range(len(ious)), key=lambda i: (ious[i], i))
                free.pop(best)
                right += 1
            elif not any(mask_api.iou([result["bbox"]], [c], [1])[0, 0] >= 0.5 for c in crowds):
                wrong += 1
    return right, wrong


def slow_best(objects, results, wanted):
    """(score, precision, recall) over all scores, or None."""
    number = sum(not o["iscrowd"] for o in objects)
    best, counts = None, (0, 0)
    for score in sorted({r["score"] for r in results}, reverse=True):
        before, counts = counts, counts_at(score, objects, results)
        if counts == before or not counts[0]:  # a detection on a crowd changes nothing
            continue
        right, wrong = counts
        precision, recall = right / (right + wrong), right / number
        if "precision" in wanted:
            better = precision >= wanted["precision"]
        elif "recall" in wanted:
            better = best is None and recall >= wanted["recall"]
        else:
            f1 = 2 * right / (right + wrong + number)
            better = best is None or f1 > best[0]
            if better:
                best = (f1, score, precision, recall)
            continue
        if better:
            best = (0, score, precision, recall)
    return best and best[1:]


@pytest.mark.parametrize("wanted", [{}, {"precision": 0.6}, {"recall": 0.3}], ids=str)
@pytest.mark.parametrize("seed", range(12))
def test_every_class_beside_a_slow_loop(seed, wanted):
    contents, results = scene(seed)
    truth = GroundTruth(contents, "scene")
    if not results:
        return
    places = {class_: 3 - class_ for class_ in range(4)}  # the model numbers them otherwise
    matches = truth.matches(truth.columns(results), 100)
    found = choose_thresholds(matches, places, "scene", square_root=True, **wanted)
    for class_, of in enumerate(found.classes):
        id_ = truth.category_ids[places[class_]]
        objects = [o for o in contents["annotations"] if o["category_id"] == id_]
        mine = [r for r in results if r["category_id"] == id_]
        assert of.objects == sum(not o["iscrowd"] for o in objects)
        best = slow_best(objects, mine, wanted)
        if best is None:
            assert of.score is None
            continue
        score, precision, recall = best
        assert of.score == score
        assert (of.precision, of.recall) == pytest.approx((precision, recall))


def test_there_is_something_in_the_scenes():
    chosen = []
    for seed in range(12):
        contents, results = scene(seed)
        truth = GroundTruth(contents, "scene")
        if results:
            matches = truth.matches(truth.columns(results), 100)
            found = choose_thresholds(matches, dict.fromkeys(range(0)), "s", square_root=True)
            assert found.classes == ()
            found = choose_thresholds(matches, {k: k for k in range(4)}, "s", square_root=True)
            chosen += [class_.score for class_ in found.classes]
    assert sum(score is not None for score in chosen) > 10 < chosen.count(None)
