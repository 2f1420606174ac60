"""COCOEvaluator on proposals: against detectron2's figures and by hand."""

import json
import math
import pickle

import numpy as np
import pytest
import torch
from golden_values import GOLDEN, golden_json

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

TRUTH = golden_json("host_coco_dataset.json")
# By detectron2 0.6 (02b5c4e), of what made_up() gives.
EXPECTED = {
    "AR@100": 57.5,
    "ARs@100": 52.857137,
    "ARm@100": 58.333337,
    "ARl@100": 80.0,
    "AR@1000": 69.5,
    "ARs@1000": 71.428573,
    "ARm@1000": 67.5,
    "ARl@1000": 80.0,
}


@pytest.fixture
def register(tmp_path):
    """Registers an annotation file; returns the name of the data set."""
    names = []

    def register(file):
        names.append(f"proposals_{len(names)}")
        register_coco_instances(names[-1], {}, str(file), "")
        DatasetCatalog.get(names[-1])
        return names[-1]

    yield register
    for name in names:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name)


def proposals(boxes, logits, size=(100, 100)):
    return Instances(
        size,
        proposal_boxes=Boxes(torch.as_tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4)),
        objectness_logits=torch.as_tensor(logits),
    )


def made_up(image, number=150):
    """Boxes of which some are near an object of the image, in no order."""
    rng = np.random.default_rng(image["id"])
    boxes = []
    for annotation in TRUTH["annotations"]:
        if annotation["image_id"] == image["id"]:
            x, y, width, height = annotation["bbox"]
            corners = np.array([x, y, x + width, y + height])
            boxes += [corners + rng.normal(0, 0.1, 4) * ([width, height] * 2) for _ in range(4)]
    while len(boxes) < number:
        start = rng.uniform(0, 100, 2)
        boxes.append([*start, *(start + rng.uniform(5, 60, 2))])
    logits = rng.normal(size=len(boxes)).astype(np.float32)
    return proposals(boxes, logits, (image["height"], image["width"]))


def figures_of(evaluator, found):
    evaluator.reset()
    for image_id, one in found.items():
        evaluator.process([{"image_id": image_id}], [{"proposals": one}])
    return evaluator.evaluate()


def test_figures_of_detectron2(register):
    name = register(GOLDEN / "host_coco_dataset.json")
    found = {image["id"]: made_up(image) for image in TRUTH["images"]}
    figures = figures_of(COCOEvaluator(name, ("bbox",), False), found)
    assert list(figures) == ["box_proposals"]
    assert figures["box_proposals"] == pytest.approx(EXPECTED, abs=1e-4)
    assert list(figures["box_proposals"]) == list(EXPECTED)


def one_image(tmp_path, *objects):
    """An annotation file of boxes, each with its area and whether it is a crowd, in two images."""
    annotations = [
        {"id": n, "image_id": 1, "category_id": 1, "bbox": box, "area": area, "iscrowd": is_crowd}
        for n, (box, area, is_crowd) in enumerate(objects, 1)
    ]
    annotations.append({**annotations[0], "id": len(annotations) + 1, "image_id": 2})
    images = [{"id": i, "file_name": f"{i}.png", "height": 100, "width": 100} for i in (1, 2)]
    categories = [{"id": 1, "name": "cat"}]
    file = tmp_path / "truth.json"
    file.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    return file


def test_by_hand(register, tmp_path):
    small, medium = [10, 10, 20, 20], [40, 40, 50, 50]
    crowd = ([0, 0, 100, 100], 10000, 1)
    name = register(one_image(tmp_path, (small, 400, 0), (medium, 2500, 0), crowd))
    nowhere = [90, 0, 99, 9]
    boxes = [[10, 10, 30, 30], *[nowhere] * 99, [40, 40, 90, 76]]  # IoU 1, and 0.72 in the end
    found = {1: proposals(boxes, np.arange(101, 0, -1.0)), 2: proposals([], np.zeros(0))}
    figures = figures_of(COCOEvaluator(name, ("bbox",), False), found)["box_proposals"]
    # Of IoU 0.50, 0.55, ... 0.95, 0.72 passes 5. The object of the image without proposals is
    # forgotten.
    expected = {"AR@100": 50, "ARs@100": 100, "ARm@100": 0, "ARl@100": math.nan}
    expected |= {"AR@1000": 75, "ARs@1000": 100, "ARm@1000": 50, "ARl@1000": math.nan}
    assert figures == pytest.approx(expected, nan_ok=True)


def test_one_proposal_for_one_object(register, tmp_path):
    name = register(one_image(tmp_path, ([0, 0, 10, 10], 100, 0), ([0, 0, 10, 8], 80, 0)))
    evaluator = COCOEvaluator(name, ("bbox",), False)
    figures = figures_of(evaluator, {1: proposals([[0, 0, 10, 10]], [1.0])})
    assert figures["box_proposals"]["AR@100"] == pytest.approx(50)
    # 9/10 comes first and leaves 8/12, not 8/9 and 10/12: IoU up to 0.90 and up to 0.65.
    pair = proposals([[0, 0, 10, 9], [0, 0, 10, 12]], [1.0, 2.0])
    figures = figures_of(evaluator, {1: pair})
    assert figures["box_proposals"]["AR@100"] == pytest.approx(100 * (9 + 4) / 20)


def test_files(register, tmp_path):
    name = register(GOLDEN / "host_coco_dataset.json")
    found = {image["id"]: made_up(image, 3) for image in TRUTH["images"][:2]}
    figures_of(COCOEvaluator(name, ("bbox",), False, str(tmp_path / "out")), found)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"box_proposals.pkl", "instances_predictions.pth"}
    contents = pickle.loads((tmp_path / "out" / "box_proposals.pkl").read_bytes())
    assert set(contents) == {"boxes", "objectness_logits", "ids", "bbox_mode"}
    assert contents["ids"] == list(found)
    assert contents["bbox_mode"] == 0  # x1, y1, x2, y2
    for i, one in enumerate(found.values()):
        np.testing.assert_array_equal(contents["boxes"][i], one.proposal_boxes.tensor)
        np.testing.assert_array_equal(contents["objectness_logits"][i], one.objectness_logits)


def test_detections_and_proposals_together(register):
    name = register(GOLDEN / "host_coco_dataset.json")
    image = TRUTH["images"][0]
    one = made_up(image)
    detections = Instances(
        one.image_size,
        pred_boxes=one.proposal_boxes,
        scores=one.objectness_logits.sigmoid(),
        pred_classes=torch.zeros(len(one), dtype=torch.int64),
    )
    evaluator = COCOEvaluator(name, ("bbox",), False)
    evaluator.reset()
    evaluator.process([{"image_id": image["id"]}], [{"instances": detections, "proposals": one}])
    assert list(evaluator.evaluate()) == ["box_proposals", "bbox"]
