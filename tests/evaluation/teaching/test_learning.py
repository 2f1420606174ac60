"""Which location learns which box."""

import pytest
import torch

from fcos.evaluation.teaching import learnt_boxes
from fcos.modeling.fcos import FCOSTargets, feature_sizes
from fcos.modeling.fcos.fcos_targets import ltrb_distances
from tests.helpers import STRIDES, ground_truth


def test_by_hand(scene):
    learnt = learnt_boxes(scene.boxes, scene.targets, scene.sizes)
    assert learnt.box.tolist() == [0, 1, 1, 0, 0, 2]
    assert learnt.candidates.tolist() == [1, 2, 1, 1, 1, 0]


def test_center_sampling_by_hand(scene):
    """Less than 0.6 * 8 px from (8, 8) are four locations; from (16, 4) the two next to it."""
    targets = FCOSTargets(strides=(8,), sizes_of_interest=(), center_radius=0.6)
    learnt = learnt_boxes(scene.boxes, targets, scene.sizes)
    assert learnt.box.tolist() == [0, 1, 1, 0, 0, 2]
    targets = FCOSTargets(strides=(8,), sizes_of_interest=(), center_radius=0.5)  # 4 px: none
    learnt = learnt_boxes(scene.boxes, targets, scene.sizes)
    assert learnt.box.tolist() == [2] * 6 and learnt.candidates.tolist() == [0] * 6


@pytest.mark.parametrize("radius", [None, 1.5])
def test_is_what_training_learns(radius):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(12, 2, generator=generator) * 300
    boxes = torch.cat((corner, corner + 4 + torch.rand(12, 2, generator=generator) * 200), dim=1)
    sizes = feature_sizes((320, 416), STRIDES)
    targets = FCOSTargets(num_classes=12, center_radius=radius)
    learnt = learnt_boxes(boxes, targets, sizes)
    labels, ltrb_px = targets.fcos_target_single_image(sizes, ground_truth(boxes, range(12)))
    assert learnt.box.tolist() == labels.tolist()  # the class of a box is its index
    is_positive = labels < 12
    assert torch.equal(learnt.candidates > 0, is_positive)
    assert radius or (learnt.candidates > 1).any()
    points = torch.cat(targets.get_points(sizes))[is_positive]
    assert torch.equal(ltrb_distances(points, boxes[learnt.box[is_positive]]), ltrb_px[is_positive])


def test_without_boxes(scene):
    learnt = learnt_boxes(torch.zeros(0, 4), scene.targets, scene.sizes)
    assert learnt.box.tolist() == [0] * 6 and learnt.candidates.tolist() == [0] * 6
