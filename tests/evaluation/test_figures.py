"""AP and AR: equal to the evaluator's, and right by hand."""

import math

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

from fcos.evaluation.figures import (
    CURVES,
    METRICS,
    class_figures,
    curves,
    differences,
    figures,
    summary_lines,
    table_of_classes,
)
from fcos.evaluation.runs import open_folders, read_run
from fcos.evaluation.truth import read_truth
from tests.evaluation.conftest import IDS, NAMES


@pytest.fixture
def truth(data):
    return read_truth("pets", str(data.json_file), "")


@pytest.mark.parametrize("max_dets", [None, 300])
def test_figures_are_those_of_detectron2s_evaluator(data, max_dets):
    folder = data.root / "run"
    want = data.evaluate(folder, max_dets_per_image=max_dets)
    run = read_run(open_folders([str(folder), f"again={folder}"])[0], "pets")
    truth = read_truth("pets", str(data.json_file), "")
    for task in ("bbox", "segm"):
        evaluated = truth.evaluate(run.results, task, max_dets or 100)
        got = figures(evaluated)
        for name, of_class in zip(NAMES, class_figures(evaluated), strict=True):
            got[f"AP-{name}"] = of_class["AP"]
        assert {name: got[name] for name in want[task]} == pytest.approx(
            dict(want[task]), rel=0, abs=1e-9, nan_ok=True
        )
        assert 1 < got["AP"] < 99 and len(want[task]) == 9
    assert want["bbox"]["AP"] != want["segm"]["AP"]


def test_average_recall_is_that_of_pycocotools(data, truth):
    data.evaluate(data.root / "run")
    run = read_run(open_folders([str(data.root / "run"), f"b={data.root}"])[0], "pets")
    got = figures(truth.evaluate(run.results, "bbox", 100))
    evaluated = COCOeval(truth.coco, truth.coco.loadRes(run.results), "bbox")
    evaluated.evaluate()
    evaluated.accumulate()
    evaluated.summarize()
    want = [100 * value for value in evaluated.stats]  # in the order of METRICS
    assert list(got.values()) == pytest.approx(want, rel=0, abs=1e-9)
    assert all(value > 0 for value in want)


def test_the_summary_is_that_of_pycocotools(data, truth, capsys):
    found = data.detections((1, 0.9), (2, 0.8))  # nothing large: -1 in some lines
    data.annotations = data.annotations[:2]
    data.write()
    truth = read_truth("pets", str(data.json_file), "")
    lines = summary_lines(figures(truth.evaluate(found, "bbox", 100)), 100)
    evaluated = COCOeval(truth.coco, truth.coco.loadRes(found), "bbox")
    evaluated.evaluate()
    evaluated.accumulate()
    capsys.readouterr()
    evaluated.summarize()
    assert "\n".join(lines) + "\n" == capsys.readouterr().out
    assert lines[5].endswith("= -1.000")
    assert "maxDets=300 ] = " in summary_lines(figures(truth.evaluate(found, "bbox", 300)), 300)[0]


def test_the_table_of_classes_has_three_pairs_of_columns():
    rows = table_of_classes({"a": 1.0, "b": 2.0, "c": 3.0, "d": math.nan}).split("\n")
    assert rows[0].count("category") == 3 and len(rows) == 4
    assert rows[3].split()[1:4:2] == ["d", "nan"]


def test_average_precision_by_hand(data, truth):
    """Class 2 has 8 objects: a hit, a miss, a hit. Precision 1 up to recall 1/8, 2/3 up to 2/8."""
    ids = [a["id"] for a in data.annotations if a["category_id"] == 2 and not a["iscrowd"]][:2]
    found = data.detections((ids[0], 0.9), ((10, 0, 0, 5, 5), 0.8), (ids[1], 0.7))
    evaluated = truth.evaluate(found, "bbox", 100)
    number = len([a for a in data.annotations if a["category_id"] == 2 and not a["iscrowd"]])
    recalls = np.arange(101) / 100
    precision = np.where(recalls <= 1 / number, 1, np.where(recalls <= 2 / number, 2 / 3, 0))
    cat, dog, elk = class_figures(evaluated)
    assert [cat["AP"], cat["AP50"]] == pytest.approx([100 * precision.mean()] * 2)
    assert cat["AR"] == pytest.approx(100 * 2 / number)
    assert dog["AP"] == elk["AP"] == dog["AR"] == 0
    # The mean over three classes, of which two found nothing.
    assert figures(evaluated)["AP75"] == pytest.approx(100 * precision.mean() / 3)
    for curve in curves(evaluated).values():
        np.testing.assert_allclose(curve, precision / 3)


def test_the_area_under_a_curve_is_its_ap(data, truth):
    data.evaluate(data.root / "run")
    run = read_run(open_folders([str(data.root / "run"), f"b={data.root}"])[0], "pets")
    evaluated = truth.evaluate(run.results, "segm", 100)
    got = figures(evaluated)
    areas = {name: 100 * curve.mean() for name, curve in curves(evaluated).items()}
    want = [got[name] for name in ("AP50", "AP75", "AP")]
    assert areas == pytest.approx(dict(zip(CURVES, want, strict=True)))


def test_what_cannot_be_measured_is_nan(data):
    data.annotations = [a for a in data.annotations if a["category_id"] != IDS[2]]
    data.write()
    truth = read_truth("pets", str(data.json_file), "")
    elk = class_figures(truth.evaluate(data.detections((1, 0.9)), "bbox", 100))[2]
    assert list(elk) == list(METRICS) and all(map(math.isnan, elk.values()))
    data.annotations = []
    data.write()
    truth = read_truth("pets", str(data.json_file), "")
    found = [{"image_id": 10, "category_id": 2, "bbox": [0, 0, 9, 9], "score": 0.5}]
    evaluated = truth.evaluate(found, "bbox", 100)
    assert all(map(math.isnan, figures(evaluated).values()))
    assert all(np.isnan(curve).all() and len(curve) == 101 for curve in curves(evaluated).values())


def test_a_class_is_measured_over_no_more_than_max_dets(data, truth):
    """Ten wrong detections before the right one: it counts among 11, not among 10."""
    wrong = [((10, 0, 0, 5, 5), 0.9 - 0.01 * i) for i in range(10)]
    found = data.detections(*wrong, (1, 0.1))
    assert figures(truth.evaluate(found, "bbox", 10))["AP"] == 0
    assert figures(truth.evaluate(found, "bbox", 11))["AP"] > 0


def test_evaluating_changes_no_result(data, truth):
    found = data.detections((1, 0.9))
    before = [dict(result) for result in found]
    truth.evaluate(found, "bbox", 100)
    assert found == before


def test_differences_are_signed():
    got = differences(
        {"AP": 30.0, "AP50": 50.0, "APs": float("nan")}, {"AP": 32.5, "AP50": 40, "APs": 1}
    )
    assert got["AP"] == -2.5 and got["AP50"] == 10 and math.isnan(got["APs"])
