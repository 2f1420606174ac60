"""Intervals: AP of images that are drawn again, against images that are written down again."""

import math

import numpy as np
import pytest

from fcos.evaluation.cocoeval import GroundTruth
from fcos.evaluation.figures import figures
from fcos.evaluation.resampling import (
    Interval,
    Outcomes,
    draw_images,
    interval,
    intervals_of_differences,
    resampled,
)
from tests.evaluation.diagnosis import slow

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@pytest.fixture(autouse=True)
def few_drawings():
    """All drawings; elsewhere there are few."""


@pytest.fixture(params=["hotcoco", "pycocotools"])
def library(request, monkeypatch):
    if request.param == "pycocotools":
        monkeypatch.setitem(__import__("sys").modules, "hotcoco", None)
    else:
        pytest.importorskip("hotcoco")


def repeated(contents, results, weights):
    """The data set in which an image stands as often as it is drawn, each time under a new id."""
    new = {"images": [], "annotations": [], "categories": contents["categories"]}
    found = []
    for image, times in zip(contents["images"], weights, strict=True):
        for _ in range(times):
            id_ = len(new["images"]) + 1
            new["images"].append({**image, "id": id_})
            for old, target in ((contents["annotations"], new["annotations"]), (results, found)):
                of_image = [x for x in old if x["image_id"] == image["id"]]
                target += [{**x, "image_id": id_} for x in of_image]
    return new, found


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_a_drawing_is_the_data_set_with_repeated_images(library, task):
    contents, results = slow.scene(3, num_images=6, with_masks=task == "segm", crowds=1)
    truth = GroundTruth(contents, "scene", task == "segm")
    outcomes = Outcomes(truth, truth.columns(results), task, 100)
    weights = np.array([[1] * 6, [0, 3, 1, 0, 2, 0], [2, 0, 0, 2, 1, 1], [6, 0, 0, 0, 0, 0]])
    got = resampled(outcomes, weights.astype(np.int32))
    for number, times in enumerate(weights.tolist()):
        new, found = repeated(contents, results, times)
        again = GroundTruth(new, "again", task == "segm")
        evaluated = again.evaluate(again.columns(found), task, 100)
        want = figures(evaluated)
        for name in NAMES:
            assert got[name][number] == pytest.approx(want[name], abs=1e-9, nan_ok=True), name
        of_class = [figures(evaluated, k)["AP"] for k in range(3)]
        assert got["classes"][number] == pytest.approx(of_class, abs=1e-9, nan_ok=True)
    assert 0 < got["AP"][0] < 100


def test_the_limit_of_detections_is_kept():
    contents, _ = slow.scene(0, num_images=1)
    box = [0.0, 0.0, 10.0, 10.0]
    thing = {"id": 1, "image_id": 7, "category_id": 2, "bbox": box, "area": 100, "iscrowd": 0}
    contents["annotations"] = [thing]
    wrong = {"image_id": 7, "category_id": 2, "bbox": [50.0, 50.0, 9.0, 9.0], "score": 0.9}
    results = [wrong] * 12 + [{**wrong, "bbox": box, "score": 0.1}]
    truth = GroundTruth(contents, "scene")
    one = np.ones((1, 1), dtype=np.int32)
    found = [
        resampled(Outcomes(truth, truth.columns(results), "bbox", limit), one)["AP50"][0]
        for limit in (12, 13)
    ]
    assert found == pytest.approx([0, 100 / 13])


def test_drawings():
    contents, results = slow.scene(1)
    truth = GroundTruth(contents, "scene")
    outcomes = Outcomes(truth, truth.columns(results), "bbox", 100)
    weights = draw_images([outcomes])
    assert weights.shape == (1000, 8) and (weights.sum(axis=1) == 8).all()
    # How often an image is drawn has the variance of a binomial distribution, 8 * 1/8 * 7/8.
    assert weights.var(axis=0) == pytest.approx(np.full(8, 0.875), rel=0.15)
    assert (draw_images([outcomes]) == weights).all()
    outcomes.num_detections = 10**6
    assert draw_images([outcomes, outcomes]).shape == (200, 8)


def test_an_interval_is_the_middle_of_the_drawings():
    values = np.array([*range(1001), math.nan])
    assert interval(values) == Interval(pytest.approx(25), pytest.approx(975))
    assert interval(np.full(3, math.nan)) is None


def test_the_spread_is_that_of_the_mean():
    """One object on each image, found or not: AP50 is nearly the share that is found."""
    number, found = 400, 300
    images = [{"id": i} for i in range(number)]
    box = [0.0, 0.0, 10.0, 10.0]
    annotations = [
        {"id": i, "image_id": i, "category_id": 1, "bbox": box, "area": 100} for i in range(number)
    ]
    contents = {"images": images, "annotations": annotations, "categories": [{"id": 1}]}
    results = [{"image_id": i, "category_id": 1, "bbox": box, "score": 0.9} for i in range(found)]
    truth = GroundTruth(contents, "share")
    outcomes = Outcomes(truth, truth.columns(results), "bbox", 100)
    values = resampled(outcomes, draw_images([outcomes]))["AP50"]
    # In percent, sqrt(0.75 * 0.25 / 400) is 2.2; images that count once at most would give 1.7.
    assert values.std() == pytest.approx(100 * math.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_differences_are_of_the_same_drawings():
    contents, results = slow.scene(2, num_images=30)
    truth = GroundTruth(contents, "scene")
    columns = truth.columns(results)
    (same,) = intervals_of_differences(truth, [columns, columns], "bbox", 100)
    assert same["AP"] == Interval(0, 0) and same["APl"] is None  # no object is large
    worse = truth.columns(results[::5])
    (got,) = intervals_of_differences(truth, [columns, worse], "bbox", 100)
    assert got["AP"].lower < got["AP"].upper < 0
    assert intervals_of_differences(truth, [columns], "bbox", 100) == []
