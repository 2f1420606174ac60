"""Which proposals are chosen, by hand."""

import math

import pytest
import torch

from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals

# Overlap of the first two: 80 of 120, an IoU of 2 / 3.
NEAR = [[0.0, 0, 10, 10], [2, 0, 12, 10], [40, 40, 50, 50]]


def top(boxes, logits, size=(60, 60), nms=0.5, pre=100, post=100, least=0.0, training=False):
    boxes = [torch.tensor(level)[None] for level in boxes]
    logits = [torch.tensor(level)[None] for level in logits]
    (found,) = find_top_rpn_proposals(boxes, logits, [size], nms, pre, post, least, training)
    return found


def test_near_repetitions_are_left_out():
    found = top([NEAR], [[1.0, 2, 0]])
    assert found.image_size == (60, 60)
    assert found.proposal_boxes.tensor.tolist() == [NEAR[1], NEAR[2]]
    assert found.objectness_logits.tolist() == [2, 0]
    assert len(top([NEAR], [[1.0, 2, 0]], nms=0.7)) == 3


def test_levels_do_not_suppress_each_other():
    found = top([NEAR[:1], NEAR[1:]], [[1.0], [2.0, 0]])
    assert found.objectness_logits.tolist() == [2, 1, 0]


def test_before_nms_it_is_the_best_of_each_level_afterwards_of_all():
    boxes = [[[x, 0, x + 10.0, 10] for x in (0, 11, 22)], [[x, 20, x + 10.0, 30] for x in (0, 11)]]
    logits = [[1.0, 2, 3], [10.0, 20]]
    assert top(boxes, logits, pre=1).objectness_logits.tolist() == [20, 3]
    assert top(boxes, logits, pre=2).objectness_logits.tolist() == [20, 10, 3, 2]
    assert top(boxes, logits, post=3).objectness_logits.tolist() == [20, 10, 3]


def test_boxes_are_clipped_and_small_ones_left_out():
    boxes = [[[-10.0, 5, 20, 90], [55, 0, 90, 9], [-20, 0, 0, 9]]]
    found = top(boxes, [[3.0, 2, 1]])
    assert found.proposal_boxes.tensor.tolist() == [[0, 5, 20, 60], [55, 0, 60, 9]]
    # Sides of 5 pixels are not longer than 5.
    assert top(boxes, [[3.0, 2, 1]], least=5).objectness_logits.tolist() == [3]


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_what_is_not_finite(value):
    boxes = [[[0.0, 0, 10, value], [40, 40, 50, 50]]]
    assert top(boxes, [[1.0, 2]]).objectness_logits.tolist() == [2]
    assert top([NEAR], [[value, 2.0, 1]]).objectness_logits.tolist() == [2, 1]
    for wrong in ((boxes, [[1.0, 2]]), ([NEAR], [[value, 2.0, 1]])):
        with pytest.raises(FloatingPointError, match="diverged"):
            top(*wrong, training=True)


def test_several_images_with_a_size_of_their_own():
    boxes, logits = torch.tensor([NEAR, NEAR]), torch.tensor([[1.0, 2, 0], [5, 4, 3]])
    first, second = find_top_rpn_proposals(
        [boxes], [logits], [(60, 60), (60, 45)], 0.5, 9, 9, 0.0, True
    )
    assert first.objectness_logits.tolist() == [2, 0]
    assert second.proposal_boxes.tensor.tolist() == [NEAR[0], [40, 40, 45, 50]]
