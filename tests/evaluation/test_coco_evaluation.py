"""The evaluator, beside detectron2's own."""

import json
import logging
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Instances
from detectron2.utils import comm
from fcos.evaluation.coco_evaluation import FastCOCOEvaluator
from fcos.evaluation.detections import ImageDetections, pack, unpack
from fcos.utils.errors import UserError
from tests.evaluation.conftest import IDS, Data
from tests.processes import run_in_two

BOTH = ("bbox", "segm")


def feed(evaluator, data, with_masks=True, change=lambda instances: instances, image_ids=None):
    """The detections of the same made-up detector, image by image."""
    evaluator.reset()
    for image in data.images if image_ids is None else [{"id": i} for i in image_ids]:
        rng = np.random.default_rng(image["id"])
        instances = change(data.detect(image["id"], rng, 0.05, with_masks))
        evaluator.process([{"image_id": image["id"]}], [{"instances": instances}])
    return evaluator.evaluate()


def fast(data, tasks=BOTH, folder="fast", **options):
    data.register()
    return FastCOCOEvaluator(data.name, tasks, str(data.root / folder), **options)


def detectron2s(data, tasks=BOTH, **options):
    data.register()
    return COCOEvaluator(data.name, tasks, False, str(data.root / "own"), **options)


def assert_same(got, want):
    assert list(got) == list(want)
    for task, metrics in want.items():
        assert list(got[task]) == list(metrics)
        assert got[task] == pytest.approx(dict(metrics), rel=0, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("max_dets", [100, 300])
def test_results_and_file_are_those_of_detectron2s_evaluator(data, max_dets):
    limit = None if max_dets == 100 else max_dets
    want = feed(detectron2s(data, max_dets_per_image=limit), data)
    got = feed(fast(data, max_dets=max_dets), data)
    assert_same(got, want)
    assert 1 < got["segm"]["AP"] < got["bbox"]["AP"] < 99 and "AP-elk" in got["bbox"]
    names = "coco_instances_results.json"
    written = (data.root / "fast" / names).read_text()
    assert written == (data.root / "own" / names).read_text()
    assert {r["category_id"] for r in json.loads(written)} == set(IDS)
    assert [path.name for path in (data.root / "fast").iterdir()] == [names]


def test_without_hotcoco_the_results_are_the_same(data, monkeypatch, caplog):
    want = feed(fast(data), data)
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    got = feed(fast(data), data)
    assert_same(got, want)
    assert len([m for m in caplog.messages if m.startswith("hotcoco cannot be imported")]) == 1


def test_boxes_alone(data):
    got = feed(fast(data, ("bbox",)), data, with_masks=False)
    assert_same(got, feed(detectron2s(data, ("bbox",)), data, with_masks=False))
    results = json.loads((data.root / "fast" / "coco_instances_results.json").read_text())
    assert all("segmentation" not in result for result in results)


def test_more_than_100_detections_count_if_asked_for(data):
    """150 wrong detections above the right ones of every image."""

    def crowded(instances):
        wrong = instances[torch.zeros(150, dtype=torch.long)]
        wrong.pred_boxes.tensor[:] = torch.tensor([0.0, 0.0, 3.0, 3.0])
        wrong.pred_classes[:], wrong.scores[:] = 0, 0.999
        return Instances.cat([wrong, instances])

    found = {
        limit: feed(fast(data, ("bbox",), max_dets=limit), data, False, crowded)["bbox"]
        for limit in (100, 200)
    }
    assert found[100]["AP-cat"] == 0 < found[200]["AP-cat"]
    assert found[100]["AP-dog"] == found[200]["AP-dog"] > 0


def test_what_is_logged(data, caplog):
    def said(evaluator):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            feed(evaluator, data)
        return [record.getMessage() for record in caplog.records]

    got, want = said(fast(data)), said(detectron2s(data))
    for task in BOTH:
        for start in (f"Evaluation results for {task}: \n", f"Per-category {task} AP: \n"):
            (table,) = [message for message in got if message.startswith(start)]
            assert table in want
        (summary,) = [m for m in got if m.startswith(f"COCO's summary for {task}:\n")]
        assert len(summary.split("\n")) == 13


def test_detections_nowhere(data):
    def nothing(instances):
        return instances[torch.zeros(0, dtype=torch.long)]

    def only_if_large(instances):
        return instances if len(instances) > 5 else nothing(instances)

    everywhere = feed(fast(data), data, change=nothing)
    assert_same(everywhere, feed(detectron2s(data), data, change=nothing))
    assert all(map(math.isnan, everywhere["segm"].values()))
    assert json.loads((data.root / "fast" / "coco_instances_results.json").read_text()) == []
    some = feed(fast(data), data, change=only_if_large)
    assert_same(some, feed(detectron2s(data), data, change=only_if_large))
    assert 0 < some["bbox"]["AP"] != feed(fast(data), data)["bbox"]["AP"]


def test_no_image_at_all(data):
    assert feed(fast(data), data, image_ids=[]) == {}


def test_an_image_that_comes_twice_counts_once(data):
    want = feed(fast(data), data)
    ids = [image["id"] for image in data.images]
    assert_same(feed(fast(data), data, image_ids=[*ids, ids[0], ids[4]]), want)


def test_a_test_set_without_annotations(data):
    content = json.loads(data.json_file.read_text())
    del content["annotations"]
    data.json_file.write_text(json.dumps(content))
    evaluator = fast(data)
    assert feed(evaluator, data) == {}
    assert json.loads((data.root / "fast" / "coco_instances_results.json").read_text())


@pytest.mark.parametrize("library", ["hotcoco", "pycocotools"])
def test_areas_that_are_missing_are_those_of_the_boxes(data, monkeypatch, library):
    if library == "pycocotools":
        monkeypatch.setitem(sys.modules, "hotcoco", None)
    for annotation in data.annotations:
        _, _, width, height = annotation["bbox"]
        annotation["area"] = width * height
    data.write()
    want = feed(detectron2s(data), data)
    for annotation in data.annotations:
        del annotation["area"]
    data.write()
    assert_same(feed(fast(data), data), want)
    assert want["bbox"]["APm"] != want["bbox"]["APs"]


def test_an_area_that_is_none(data):
    data.annotations[2]["area"] = "123"
    data.write()
    with pytest.raises(UserError, match=r"val\.json: annotation 3 has the area '123'; expected a"):
        fast(data)


def test_a_data_set_in_detectron2s_format(data):
    data.register()
    want = feed(fast(data), data)
    records = DatasetCatalog.get(data.name)
    DatasetCatalog.register("pets_own", lambda: records)
    MetadataCatalog.get("pets_own").thing_classes = ["cat", "dog", "elk"]
    data.name = "pets_own"
    got = feed(fast(data, folder="own_format"), data)
    assert (data.root / "own_format" / "pets_own_coco_format.json").exists()
    assert got["bbox"]["AP"] == pytest.approx(want["bbox"]["AP"])
    assert got["bbox"].keys() == want["bbox"].keys()


def test_detections_that_do_not_fit_the_data_set(data):
    def class_7(instances):
        instances.pred_classes[:] = 7
        return instances

    message = "class 7 on image 10, but data set 'pets' has 3 classes, from 0 on: MODEL.FCOS.NUM_C"
    with pytest.raises(UserError, match=message):
        feed(fast(data), data, change=class_7)
    evaluator = fast(data)
    instances = data.detect(10, np.random.default_rng(0), 0.05, True)
    with pytest.raises(UserError, match="'pets' has no image with image_id 99"):
        evaluator.process([{"image_id": 99}], [{"instances": instances}])


def test_classes_of_the_same_name_are_all_there(data, monkeypatch):
    want = feed(fast(data, ("bbox",)), data, with_masks=False)["bbox"]
    DatasetCatalog.remove(data.name)
    MetadataCatalog.remove(data.name)
    monkeypatch.setattr("tests.evaluation.conftest.NAMES", ("cat", "dog", "cat"))
    data.write()
    got = feed(fast(data, ("bbox",)), data, with_masks=False)["bbox"]
    keys = f"AP-cat (id {IDS[0]})", "AP-dog", f"AP-cat (id {IDS[2]})"
    assert [key for key in got if key.startswith("AP-")] == list(keys)
    assert [got[key] for key in keys] == [want[f"AP-{name}"] for name in ("cat", "dog", "elk")]


def test_names_that_are_not_those_of_the_file(data):
    evaluator = fast(data)
    metadata = MetadataCatalog.get(data.name)
    ids, names = metadata.thing_dataset_id_to_contiguous_id, ["cat", "dog"]
    MetadataCatalog.remove(data.name)
    MetadataCatalog.get(data.name).set(thing_classes=names, thing_dataset_id_to_contiguous_id=ids)
    evaluator._metadata = MetadataCatalog.get(data.name)
    with pytest.raises(UserError, match="2 names of classes, but its annotation file has 3"):
        feed(evaluator, data)


def test_a_folder_that_cannot_be_written(data):
    (data.root / "plain").touch()
    with pytest.raises(UserError, match="Nothing can be written to .*plain"):
        fast(data, folder="plain")


# ---- several processes -----------------------------------------------------------------------


@pytest.mark.parametrize("with_masks", [True, False])
def test_unpacking_undoes_packing(data, with_masks):
    images = {}
    for image in data.images:
        instances = data.detect(image["id"], np.random.default_rng(image["id"]), 0.05, with_masks)
        if image["id"] == 12:
            instances = instances[torch.zeros(0, dtype=torch.long)]
        images[image["id"]] = ImageDetections.of(instances)
    packed = pack(images)
    assert all(not isinstance(value, (dict, tuple)) for value in packed.values())
    unpacked = dict(unpack(packed))
    assert list(unpacked) == list(images)
    for image_id, found in images.items():
        for name in ("boxes", "scores", "classes"):
            np.testing.assert_array_equal(
                getattr(unpacked[image_id], name), getattr(found, name), strict=True
            )
        assert unpacked[image_id].masks == found.masks
        assert unpacked[image_id].size == found.size
    assert dict(unpack(pack({}))) == {}


def evaluate_a_share(root):
    data = Data(Path(root) / f"of{comm.get_rank()}")
    share = [[10, 12, 14], [11, 13, 15, 10]][comm.get_rank()]  # 10 pads the second
    results = feed(fast(data), data, image_ids=share)
    (Path(root) / f"results{comm.get_rank()}.json").write_text(json.dumps(results))


def test_two_processes_give_the_numbers_of_one(data):
    run_in_two(evaluate_a_share, str(data.root))
    first, second = (json.loads((data.root / f"results{i}.json").read_text()) for i in (0, 1))
    assert second == {}
    assert_same(first, feed(fast(data), data))
    written = json.loads((data.root / "of0" / "fast" / "coco_instances_results.json").read_text())
    alone = json.loads((data.root / "fast" / "coco_instances_results.json").read_text())
    assert sorted(written, key=json.dumps) == sorted(alone, key=json.dumps)
    assert not (data.root / "of1" / "fast" / "coco_instances_results.json").exists()
