"""Step 4 with fixed shapes, beside the step itself."""

import dataclasses

import pytest
import torch
from torchvision.ops import nms

from fcos.export import dense
from fcos.modeling.fcos.fcos_inference import DetectionRules, detect_batch

COUNTS = (48, 12)  # locations of two levels: 6 x 8 and 3 x 4
SIZE = (44, 60)
C = 3


def scene(seed=0, bias=-1.0):
    """Random outputs of a head; boxes reach beyond the image, and some have no width."""
    g = torch.Generator().manual_seed(seed)
    points, cls, ltrb, ctr = [], [], [], []
    for stride, (rows, columns) in ((8, (6, 8)), (16, (3, 4))):
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        points.append(torch.stack((x, y), -1).reshape(-1, 2) * float(stride) + stride // 2)
        cls.append(torch.randn(1, rows * columns, C, generator=g) * 2 + bias)
        ltrb.append((torch.randn(1, rows * columns, 4, generator=g) * 12 + 8).relu())
        ctr.append(torch.randn(1, rows * columns, generator=g))
    return dense.Levels(points, cls, ltrb, ctr)


def dense_detections(levels, size, **rules):
    rules = DetectionRules(**rules)
    found = dense.candidates(levels, torch.tensor([size]), rules)
    found = dense.best_apart(found, dense.suppress, C, rules)
    real = found.scores[0] >= 0
    return [part[0][real] for part in found]


RULES = [
    {},
    {"score_threshold": 0.3},
    {"score_threshold": 0.0, "post_nms_topk": 1000},
    {"nms_threshold": 0.1, "post_nms_topk": 7},
    {"pre_nms_topk": 5},
    {"pre_nms_topk": 5, "rank_by_class": True},
    {"threshold_with_centerness": True, "score_threshold": 0.2},
    {"clip_before_nms": True},
    {"drop_empty": True},
    {"clip_before_nms": True, "drop_empty": True, "nms_threshold": 0.3},
    {"square_root": False},
    {"inclusive_pixels": True, "nms_threshold": 0.3},
]


@pytest.mark.parametrize("rules", RULES, ids=str)
def test_equals_the_step_of_the_detector(rules):
    for seed in range(4):
        levels = scene(seed)
        outputs = (torch.cat(part, dim=1) for part in levels[1:])
        points = torch.cat(levels.points)
        (want,) = detect_batch(points, *outputs, COUNTS, [SIZE], DetectionRules(**rules))
        boxes, scores, classes = dense_detections(levels, SIZE, **rules)
        assert len(want.boxes) > 5
        torch.testing.assert_close(boxes, want.boxes, rtol=0, atol=0)
        torch.testing.assert_close(scores, want.scores, rtol=0, atol=1e-6)
        assert classes.equal(want.classes)


@pytest.mark.parametrize("rules", RULES[1:], ids=str)
def test_every_rule_matters_here(rules):
    """Or the test above could not tell whether it is obeyed."""
    plain, ruled = (
        [dense_detections(scene(seed), SIZE, **r) for seed in range(4)] for r in ({}, dict(rules))
    )
    assert any(
        len(a[1]) != len(b[1]) or not a[1].equal(b[1]) or not a[0].equal(b[0])
        for a, b in zip(plain, ruled, strict=True)
    )


def test_every_rule_is_looked_at():
    """A new one needs a row above, and with it a place in the step for files."""
    names = {name for rules in RULES for name in rules}
    assert names == {field.name for field in dataclasses.fields(DetectionRules)}


def test_a_level_with_fewer_pairs_than_asked_for():
    cls = torch.tensor([[[0.0, -9.0], [2.0, 1.0]]])  # only 0, 2 and 1 pass
    rules = DetectionRules(score_threshold=0.05, pre_nms_topk=6)
    location, class_, product = dense.best_of_level(cls, torch.zeros(1, 2), rules)
    assert product.shape == (1, 6)
    assert (product[0, 3:] == dense.NONE).all()
    assert location[0, :3].tolist() == [1, 1, 0]
    assert class_[0, :3].tolist() == [0, 1, 0]
    # sigmoid(2) / 2, sigmoid(1) / 2 and sigmoid(0) / 2
    torch.testing.assert_close(
        product[0, :3], torch.tensor([0.4404, 0.3655, 0.25]), atol=1e-4, rtol=0
    )


def test_equal_to_the_threshold_does_not_pass():
    rules = DetectionRules(score_threshold=0.5, pre_nms_topk=1)
    _, _, product = dense.best_of_level(torch.zeros(1, 1, 1), torch.zeros(1, 1), rules)
    assert product.tolist() == [[dense.NONE]]


def test_nothing_passes():
    boxes, scores, classes = dense_detections(scene(bias=-50.0), SIZE)
    assert boxes.shape == (0, 4) and len(scores) == len(classes) == 0


def test_suppression_by_image_and_class_with_many_of_both():
    """Moving boxes apart in float32 would leave none of their digits: 64 x 1000 groups."""
    g = torch.Generator().manual_seed(0)
    n, k, c = 64, 30, 1000
    corner = torch.rand(n, k, 2, generator=g) * 20
    boxes = torch.cat((corner, corner + 1e4 + torch.rand(n, k, 2, generator=g) * 7e3), dim=2)
    scores = torch.rand(n, k, generator=g)
    scores[:, ::7] = dense.NONE
    classes = 998 + torch.randint(0, 2, (n, k), generator=g)
    keep = dense.suppress(boxes, scores, classes, c, 0.8, 100)
    want = torch.zeros_like(keep)
    for image in range(n):
        for class_ in (998, 999):
            place = ((classes[image] == class_) & (scores[image] >= 0)).nonzero()[:, 0]
            want[image, place[nms(boxes[image, place], scores[image, place], 0.8)]] = True
    assert keep.equal(want)
    assert n * 2 < keep.sum() < (scores >= 0).sum()


def test_clip_by_the_size_of_each_image():
    boxes = torch.tensor([[[-3.0, -4, 50, 60]], [[-3.0, -4, 50, 60]]])
    clipped = dense.clip(boxes, torch.tensor([[30, 40], [55, 45]]))
    assert clipped.tolist() == [[[0, 0, 40, 30]], [[0, 0, 45, 55]]]
