"""The file of detections, as pycocotools reads it."""

import json
import os

import pytest
import torch
from pycocotools.coco import COCO

from detectron2.structures import Boxes, Instances
from fcos.predict.detector import Detector
from fcos.predict.results import ResultsFile
from fcos.utils.errors import UserError


def detections():
    return Instances(
        (60, 80),
        pred_boxes=Boxes(torch.tensor([[10.0, 20, 30, 60], [1.5, 2, 3, 4]])),
        scores=torch.tensor([0.75, 0.5]),
        pred_classes=torch.tensor([1, 0]),
    )


def coco_results(instances, image_id, file_name):
    return Detector(None, category_ids=(3, 7)).results(instances, image_id, file_name)


def test_results_by_hand():
    assert coco_results(detections(), 5, "a.jpg") == [
        {"image_id": 5, "file_name": "a.jpg", "category_id": 7, "score": 0.75,
         "bbox": [10.0, 20.0, 20.0, 40.0]},
        {"image_id": 5, "file_name": "a.jpg", "category_id": 3, "score": 0.5,
         "bbox": [1.5, 2.0, 1.5, 2.0]},
    ]  # fmt: skip
    assert coco_results(detections()[:0], 5, "a.jpg") == []


def test_masks_are_written_as_run_lengths():
    instances = detections()
    instances.pred_masks = torch.zeros(2, 60, 80, dtype=torch.bool)
    instances.pred_masks[0, 20:60, 10:30] = True
    result = json.loads(json.dumps(coco_results(instances, 5, "a.jpg")))[0]
    assert result["segmentation"]["size"] == [60, 80]


def test_pycocotools_reads_the_file(tmp_path):
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 60, "width": 80} for i in (5, 6)]
    categories = [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}]
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    file = str(tmp_path / "results.json")
    results = ResultsFile(file)
    results.add(coco_results(detections(), 5, "5.jpg"))
    results.add(coco_results(detections()[:0], 6, "6.jpg"))
    results.close()
    loaded = COCO(str(truth)).loadRes(file)
    found = loaded.loadAnns(loaded.getAnnIds(imgIds=[5], catIds=[7]))
    assert [(a["bbox"], a["score"], a["area"]) for a in found] == [([10, 20, 20, 40], 0.75, 800)]
    assert loaded.getAnnIds(imgIds=[6]) == []


def test_earlier_results_are_replaced_but_nothing_else(tmp_path):
    file = tmp_path / "results.json"
    file.write_text('[{"score": 1}]')
    ResultsFile(str(file)).close()
    assert json.loads(file.read_text()) == []
    file.write_text('{"images": []}')
    with pytest.raises(UserError, match=r"results\.json holds something else than detections"):
        ResultsFile(str(file))
    with pytest.raises(UserError, match="holds something else than detections"):
        ResultsFile(str(tmp_path))


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(UserError, match=r"Nothing can be written to .*plain: File exists\."):
        ResultsFile(str(tmp_path / "plain" / "results.json"))
    results = ResultsFile(str(tmp_path / "new" / "results.json"))
    os.rmdir(tmp_path / "new")
    with pytest.raises(UserError, match=r"new/results\.json cannot be written: No such file"):
        results.close()
