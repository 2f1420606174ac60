"""The numbers are those of pycocotools, on random scenes with all that is awkward."""

import contextlib
import copy
import io
import sys

import numpy as np
import pytest
from pycocotools import mask as mask_api
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fcos.evaluation.cocoeval import DetectionColumns, GroundTruth
from fcos.evaluation.figures import METRICS, class_figures, figures
from fcos.utils.errors import UserError

HEIGHT, WIDTH = 120, 150


def box_in(rng):
    w, h = rng.uniform(2, 118, 2).tolist()
    return [rng.uniform(0, WIDTH - w), rng.uniform(0, HEIGHT - h), w, h]


def outline(box):
    x, y, w, h = box
    return [[x + w / 2, y, x + w, y + h / 2, x + w / 2, y + h, x, y + h / 3]]


def run_lengths(box):
    mask = mask_api.frPyObjects(outline(box), HEIGHT, WIDTH)[0]
    return {"size": mask["size"], "counts": mask["counts"].decode()}


def scene(seed):
    """Images and categories without order, crowds, images without objects or detections, ties."""
    rng = np.random.default_rng(seed)
    image_ids = rng.permutation(100)[: rng.integers(2, 9)].tolist()
    category_ids = rng.permutation(90)[:4].tolist()
    objects, results = [], []
    for image_id in image_ids:
        for _ in range(rng.integers(0, 7)):
            box, is_crowd = box_in(rng), bool(rng.random() < 0.2)
            objects.append(
                {"id": len(objects) + 1, "image_id": image_id, "iscrowd": int(is_crowd)}
                | {"category_id": category_ids[rng.integers(3)], "bbox": box}
                | {"area": box[2] * box[3] * 0.5}
                | {"segmentation": run_lengths(box) if is_crowd else outline(box)}
            )
        near = [o for o in objects if o["image_id"] == image_id]
        for _ in range(rng.integers(0, 40) * (rng.random() < 0.8)):
            box, category = box_in(rng), category_ids[1 + rng.integers(3)]  # never the first
            if near and rng.random() < 0.7:
                like = near[rng.integers(len(near))]
                box = (np.array(like["bbox"]) * rng.normal(1, 0.06, 4)).clip(1).tolist()
                category = like["category_id"]
            score = round(float(rng.random()), 1 + int(rng.integers(3)))
            results.append(
                {"image_id": image_id, "category_id": category, "bbox": box, "score": score}
                | {"segmentation": run_lengths(box)}
            )
    contents = {
        "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in image_ids],
        "categories": [{"id": i, "name": f"class {i}"} for i in category_ids],
        "annotations": objects,
    }
    return contents, results


def by_pycocotools(contents, results, task, max_dets):
    unused = "bbox" if task == "segm" else "segmentation"
    results = [{k: v for k, v in copy.deepcopy(r).items() if k != unused} for r in results]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(contents)
        coco.createIndex()
        evaluated = COCOeval(coco, coco.loadRes(results), task)
        evaluated.params.maxDets = [1, 10, max_dets]
        evaluated.evaluate()
        evaluated.accumulate()
    return evaluated


@pytest.mark.parametrize("task", ["bbox", "segm"])
@pytest.mark.parametrize("max_dets", [12, 100, 300])
@pytest.mark.parametrize("seed", range(8))
def test_equal_to_pycocotools(seed, max_dets, task):
    contents, results = scene(seed)
    before = copy.deepcopy((contents, results))
    truth = GroundTruth(contents, "a.json", with_masks=True)
    got = truth.evaluate(truth.columns(results), task, max_dets)
    want = by_pycocotools(contents, results, task, max_dets)
    np.testing.assert_allclose(got.precision, want.eval["precision"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got.recall, want.eval["recall"], rtol=0, atol=1e-12)
    assert (got.precision > 0).any()
    if max_dets == 100:  # pycocotools' own summary knows no other limit
        with contextlib.redirect_stdout(io.StringIO()):
            want.summarize()
        stats = [value / 100 for value in figures(got).values()]
        stats = [-1 if np.isnan(value) else value for value in stats]
        np.testing.assert_allclose(stats, want.stats, rtol=0, atol=1e-9)
    for index, of_class in enumerate(class_figures(got)):
        precision = want.eval["precision"][:, :, index, 0, -1]
        mean = precision[precision > -1].mean() * 100 if (precision > -1).any() else np.nan
        assert of_class["AP"] == pytest.approx(mean, rel=0, abs=1e-9, nan_ok=True)
    assert (contents, results) == before


def test_the_scenes_have_what_is_awkward():
    scenes = [scene(seed) for seed in range(8)]
    assert any(o["iscrowd"] for contents, _ in scenes for o in contents["annotations"])
    for of in (lambda c, r: {o["image_id"] for o in c["annotations"]}, lambda c, r: ids_of(r)):
        assert any(len(of(c, r)) < len(c["images"]) for c, r in scenes)
    assert all(
        contents["categories"][3]["id"] not in {o["category_id"] for o in contents["annotations"]}
        for contents, _ in scenes
    )
    sizes = [o["area"] for contents, _ in scenes for o in contents["annotations"]]
    assert min(sizes) < 32**2 < np.median(sizes)
    # The number of detections makes a difference.
    counts = np.unique(ids_of(scenes[0][1], all_=True), return_counts=True)[1]
    assert counts.max() > 12


def ids_of(results, all_=False):
    ids = [result["image_id"] for result in results]
    return ids if all_ else set(ids)


@pytest.fixture(params=["hotcoco", "pycocotools"])
def library(request, monkeypatch):
    """The one that evaluates: pycocotools does where hotcoco is not installed."""
    if request.param == "pycocotools":
        monkeypatch.setitem(sys.modules, "hotcoco", None)
    return request.param


@pytest.mark.parametrize("max_dets", [12, 100])
def test_which_detections_are_right(library, max_dets):
    contents, results = scene(3)
    truth = GroundTruth(contents, "a.json")
    want = by_pycocotools(contents, results, "bbox", max_dets)
    right, wrong = set(), set()
    for entry in want.evalImgs:
        if entry is None or entry["aRng"] != [0, 1e10]:
            continue
        for place, id_ in enumerate(entry["dtIds"]):
            if not entry["dtIgnore"][0][place]:
                (right if entry["dtMatches"][0][place] > 0 else wrong).add(id_ - 1)
    got = truth.matches(truth.columns(results), max_dets)
    assert set(np.flatnonzero(got.is_right)) == right
    assert set(np.flatnonzero(got.is_wrong)) == wrong
    assert 0 < len(right) < len(wrong) < len(results) - len(right)  # some are on crowds
    assert [got.image_ids[place] for place in got.images] == [r["image_id"] for r in results]
    assert got.scores.tolist() == [r["score"] for r in results]
    objects = [o["image_id"] for o in contents["annotations"] if not o["iscrowd"]]
    assert got.num_objects.tolist() == [objects.count(id_) for id_ in got.image_ids]


def one_object(**changes):
    box = [10.0, 10.0, 40.0, 40.0]
    thing = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "area": 800.0, "iscrowd": 0}
    return {
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [thing | {"segmentation": outline(box)} | changes],
    }


def found(truth, task="bbox", **changes):
    result = {"image_id": 1, "category_id": 1, "bbox": [10.0, 10.0, 40.0, 40.0], "score": 0.9}
    return figures(truth.evaluate(truth.columns([result | changes]), task, 100))["AP"]


def test_an_object_with_id_0_can_be_found(library):
    # To pycocotools, where the id of a match is 0 where there is none, it would be missed.
    assert found(GroundTruth(one_object(id=0), "a.json")) == pytest.approx(100)


def test_ids_that_are_names(library):
    contents = one_object(image_id="x")
    contents["images"] = [{"id": "x"}, {"id": "y"}]
    assert found(GroundTruth(contents, "a.json"), image_id="x") == pytest.approx(100)
    assert found(GroundTruth(contents, "a.json"), image_id="y") == 0


def test_a_missing_iscrowd_means_no_crowd():
    contents = one_object()
    del contents["annotations"][0]["iscrowd"]
    assert found(GroundTruth(contents, "a.json")) == pytest.approx(100)


@pytest.mark.parametrize("change", [{"image_id": 7}, {"category_id": 7}])
def test_annotations_of_what_is_not_listed_are_left_out(change):
    assert np.isnan(found(GroundTruth(one_object(**change), "a.json")))


def test_the_size_of_a_mask_is_not_that_of_its_box(library):
    # A frame of few pixels and a large box, above the small object: false among small ones only.
    contents = one_object(area=800.0)
    frame = np.zeros((HEIGHT, WIDTH), dtype=np.uint8, order="F")
    frame[0:119, 0:119], frame[1:118, 1:118] = 1, 0
    encoded = mask_api.encode(frame)
    frame = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    truth = GroundTruth(contents, "a.json", with_masks=True)
    both = DetectionColumns(
        images=np.zeros(2, int),
        classes=np.zeros(2, int),
        boxes=np.array([[10, 10, 40, 40], [0, 0, 119, 119]]),
        scores=np.array([0.8, 0.9]),
        masks=[run_lengths([10.0, 10.0, 40.0, 40.0]), frame],
    )
    assert figures(truth.evaluate(both, "segm", 100))["APs"] == pytest.approx(50)
    assert figures(truth.evaluate(both, "bbox", 100))["APs"] == pytest.approx(100)


@pytest.mark.parametrize("key", ["bbox", "area", "segmentation"])
def test_an_annotation_that_lacks_something(key):
    contents = one_object()
    del contents["annotations"][0][key]
    message = rf"^a\.json: annotation 1 has no {key}, which the evaluation needs\.$"
    with pytest.raises(UserError, match=message):
        GroundTruth(contents, "a.json", with_masks=True)
    if key == "segmentation":
        GroundTruth(contents, "a.json")


def test_masks_that_are_not_there():
    truth = GroundTruth(one_object(), "a.json", with_masks=True)
    with pytest.raises(ValueError, match="masks are to be evaluated, but the detections have none"):
        found(truth, "segm")
    with pytest.raises(ValueError, match="task: expected 'bbox' or 'segm', got 'box'"):
        found(truth, "box")


def test_no_detections(library):
    truth = GroundTruth(one_object(), "a.json")
    got = figures(truth.evaluate(truth.columns([]), "bbox", 100))
    assert list(got) == list(METRICS) and got["AP"] == got["AR"] == 0
    assert not truth.matches(truth.columns([]), 100).is_right.any()


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_without_hotcoco_the_figures_are_the_same(task, monkeypatch, caplog, capsys):
    contents, results = scene(5)
    got = {}
    for library in ("hotcoco", "pycocotools"):
        if library == "pycocotools":
            assert caplog.messages == []
            monkeypatch.setitem(sys.modules, "hotcoco", None)
        truth = GroundTruth(contents, "a.json", with_masks=True)
        got[library] = truth.evaluate(truth.columns(results), task, 300)
        assert isinstance(truth._coco, COCO) == (library == "pycocotools")
    for name in ("precision", "recall"):
        fast, slow = (getattr(got[library], name) for library in got)
        np.testing.assert_allclose(slow, fast, rtol=0, atol=1e-12)
    (line,) = caplog.messages
    assert line.startswith("hotcoco cannot be imported (") and "pycocotools evaluates" in line
    assert capsys.readouterr().out == ""
