"""Recall of proposals: by hand, and beside detectron2's own evaluator."""

import math

import numpy as np
import pytest
import torch

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from detectron2.utils import comm
from fcos.evaluation.proposals import ProposalEvaluator, best_overlaps
from fcos.utils.errors import UserError
from tests.evaluation.conftest import SIZE


def proposals(boxes, logits=None, size=(SIZE, SIZE)):
    boxes = torch.as_tensor(np.array(boxes), dtype=torch.float32).reshape(-1, 4)
    logits = torch.arange(len(boxes), 0, -1.0) if logits is None else torch.as_tensor(logits)
    return Instances(size, proposal_boxes=Boxes(boxes), objectness_logits=logits)


def around(data, image_id, number):
    """So many boxes, of which some are near the objects of an image, in no order."""
    rng = np.random.default_rng(image_id)
    objects = [a["bbox"] for a in data.annotations if a["image_id"] == image_id]
    corners = [np.array([x, y, x + w, y + h], float) for x, y, w, h in objects]
    boxes = [corner + rng.normal(0, 4, 4) for corner in corners for _ in range(3)]
    while len(boxes) < number:
        start = rng.uniform(0, 100, 2)
        boxes.append(np.array([*start, *(start + rng.uniform(5, 60, 2))]))
    return proposals(boxes, rng.normal(size=len(boxes)).astype(np.float32))


# ---- by hand ------------------------------------------------------------------------------------


def test_each_object_has_a_proposal_of_its_own():
    left, right = [0, 0, 10, 10], [20, 0, 30, 10]
    both = np.array([left, right], float)
    assert best_overlaps(both[:1], both).tolist() == [1, 0]
    # The second object could have the first proposal only, which the first object has.
    near = np.array([[0, 0, 10, 10], [0, 0, 10, 8]], float)
    assert best_overlaps(near[:1], near).tolist() == [1, 0]
    # The better pair comes first: 8/10, then the other object with what is left, 10 / 12.
    found = best_overlaps(np.array([[0, 0, 10, 10], [0, 0, 10, 12]], float), near[1:])
    assert found.tolist() == pytest.approx([0.8])
    found = best_overlaps(np.array([[0, 0, 10, 9], [0, 0, 10, 12]], float), near)
    assert found.tolist() == pytest.approx([0.9, 8 / 12])  # not 8/9 and 10/12


@pytest.mark.parametrize(("boxes", "objects"), [(0, 2), (2, 0), (0, 0)])
def test_nothing_to_match(boxes, objects):
    found = best_overlaps(np.ones((boxes, 4)), np.ones((objects, 4)))
    assert found.shape == (objects,)
    assert (found == 0).all()


def tiny_data(tmp_path, annotations):
    """Registers two images of 200 x 200 with annotations (image, box, area, iscrowd)."""
    import json

    contents = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 200, "width": 200} for i in (1, 2)],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": n, "image_id": i, "category_id": 1 + n % 2, "bbox": b, "area": a, "iscrowd": c}
            for n, (i, b, a, c) in enumerate(annotations, 1)
        ],
    }
    (tmp_path / "truth.json").write_text(json.dumps(contents))
    name = tmp_path.name
    register_coco_instances(name, {}, str(tmp_path / "truth.json"), str(tmp_path))
    return name


@pytest.fixture
def registered():
    """Registrations are for good; these are taken back."""
    before = set(DatasetCatalog.list())
    yield
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_recall_by_hand(tmp_path, registered):
    """Three objects and a crowd; the first 100 proposals miss one that the 101st has."""
    small, large = [10, 10, 20, 20], [50, 50, 100, 100]
    truth = [(1, small, 400, 0), (1, large, 10000, 0), (1, [0, 0, 200, 200], 40000, 1)]
    evaluator = ProposalEvaluator(tiny_data(tmp_path, [*truth, (2, small, 400, 0)]))
    nowhere = [150, 0, 160, 10]
    # IoU 1 with the small object in the first place, 0.72 with the large one in the 101st.
    first = proposals([[10, 10, 30, 30], *[nowhere] * 99, [50, 50, 150, 122]])
    # IoU 0.52 with the object of the second image
    second = proposals([[10, 10, 30, 20.4]])
    evaluator.process(
        [{"image_id": 1}, {"image_id": 2}], [{"proposals": first}, {"proposals": second}]
    )
    figures = evaluator.evaluate()["box_proposals"]
    # Of the IoUs 0.50, 0.55, ... 0.95: 1 passes 10, 0.72 passes 5 and 0.52 passes 1.
    assert figures == pytest.approx(
        {
            "AR@100": 100 * (10 + 1) / 30,
            "ARs@100": 100 * (10 + 1) / 20,
            "ARm@100": math.nan,
            "ARl@100": 0,
            "AR@1000": 100 * (10 + 5 + 1) / 30,
            "ARs@1000": 100 * (10 + 1) / 20,
            "ARm@1000": math.nan,
            "ARl@1000": 100 * 5 / 10,
        },
        nan_ok=True,
    )


def test_the_best_proposals_count_wherever_they_stand(tmp_path, registered):
    evaluator = ProposalEvaluator(tiny_data(tmp_path, [(1, [10, 10, 20, 20], 400, 0)]))
    boxes = [[150, 0, 160, 10]] * 100 + [[10, 10, 30, 30]]
    for logits, recall in ((np.arange(101.0), 100), (-np.arange(101.0), 0)):
        evaluator.reset()
        evaluator.process([{"image_id": 1}], [{"proposals": proposals(boxes, logits)}])
        assert evaluator.evaluate()["box_proposals"]["AR@100"] == recall


def test_an_image_without_proposals_is_missed(tmp_path, registered):
    truth = [(1, [10, 10, 20, 20], 400, 0), (2, [10, 10, 20, 20], 400, 0)]
    evaluator = ProposalEvaluator(tiny_data(tmp_path, truth))
    evaluator.process([{"image_id": 1}], [{"proposals": proposals([[10, 10, 30, 30]])}])
    evaluator.process([{"image_id": 2}], [{"proposals": proposals([])}])
    assert evaluator.evaluate()["box_proposals"]["AR@1000"] == 50


def test_an_image_that_comes_twice_counts_once(data):
    data.register()
    once, twice = ProposalEvaluator(data.name), ProposalEvaluator(data.name)
    for image_id in (10, 11):
        for evaluator in (once, twice):
            evaluator.process([{"image_id": image_id}], [{"proposals": around(data, image_id, 50)}])
    twice.process([{"image_id": 10}], [{"proposals": around(data, 10, 50)}])
    assert twice.evaluate() == once.evaluate()


# ---- beside detectron2's ------------------------------------------------------------------------


def test_the_figures_are_those_of_detectron2s_evaluator(data):
    data.register()
    evaluators = COCOEvaluator(data.name, ("bbox",), False), ProposalEvaluator(data.name)
    for evaluator in evaluators:
        evaluator.reset()
        for image in data.images:
            found = around(data, image["id"], 130)
            evaluator.process([{"image_id": image["id"]}], [{"proposals": found}])
    want, got = (evaluator.evaluate()["box_proposals"] for evaluator in evaluators)
    assert list(got) == list(want)
    assert got == pytest.approx(want, abs=1e-4)
    assert 10 < got["AR@100"] < got["AR@1000"] < 90


# ---- what cannot be evaluated -------------------------------------------------------------------


def test_an_unknown_image(data):
    data.register()
    with pytest.raises(UserError, match="'pets' has no image with image_id 99"):
        ProposalEvaluator(data.name).process(
            [{"image_id": 99}], [{"proposals": proposals([[0, 0, 5, 5]])}]
        )


def test_nothing_was_found_or_nobody_asks(data, monkeypatch):
    data.register()
    evaluator = ProposalEvaluator(data.name)
    assert evaluator.evaluate() == {}
    evaluator.process([{"image_id": 10}], [{"proposals": around(data, 10, 5)}])
    monkeypatch.setattr(comm, "is_main_process", lambda: False)
    assert evaluator.evaluate() == {}
