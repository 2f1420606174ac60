"""What differs is found out, and what agrees within the tolerance agrees."""

import pytest
import torch

from benchmarks.agreement import (
    agree_detections,
    agree_numbers,
    agree_targets,
    agree_values,
)

NAN = float("nan")


def targets(labels, ltrb):
    return torch.tensor([labels]), torch.tensor([ltrb])


def test_targets_are_the_same_or_not():
    same = targets([3, 80], [[1.0, 2.0, 3.0, 4.0], [0.0] * 4])
    found = agree_targets(same, same)
    assert found.same
    assert found.text == "labels equal at all 2 locations, distances equal"
    other_label = targets([4, 80], [[1.0, 2.0, 3.0, 4.0], [0.0] * 4])
    found = agree_targets(same, other_label)
    assert not found.same
    assert found.text == "targets differ at 1 of 2 locations"
    # a hundredth of a pixel is allowed, two are not
    near = targets([3, 80], [[1.005, 2.0, 3.0, 4.0], [0.0] * 4])
    assert agree_targets(same, near).same
    assert not agree_targets(same, targets([3, 80], [[1.02, 2.0, 3.0, 4.0], [0.0] * 4])).same
    assert not agree_targets(same, targets([3], [[1.0, 2.0, 3.0, 4.0]])).same


@pytest.mark.parametrize(
    "other, same",
    [
        ({"a": torch.tensor([3.0, 4.0])}, True),
        ({"a": torch.tensor([3.0, 4.005])}, True),  # 0.005 of a norm of 5: 0.001
        ({"a": torch.tensor([3.0, 4.1])}, False),
        ({"a": torch.tensor([3.0, NAN])}, False),
        ({"b": torch.tensor([3.0, 4.0])}, False),
        ({"a": torch.tensor([3.0])}, False),
    ],
)
def test_values_within_a_part_of_their_norm(other, same):
    assert agree_values({"a": torch.tensor([3.0, 4.0])}, other, 2e-3).same is same


@pytest.mark.parametrize(
    "other, same",
    [
        ({"AP": 30.0, "APs": NAN}, True),
        ({"AP": 30.2, "APs": NAN}, False),
        ({"AP": 30.0, "APs": 1.0}, False),
        ({"AP": NAN, "APs": NAN}, False),
        ({"AP": 30.0}, False),
    ],
)
def test_numbers(other, same):
    found = agree_numbers({"AP": 30.0, "APs": NAN}, other, 0.1, "figures")
    assert found.same is same
    assert (found.text == "2 figures: equal") is same


def detections(number=100, **changes):
    boxes = torch.arange(number)[:, None] * 10.0 + torch.tensor([0.0, 0.0, 8.0, 8.0])
    values = {"boxes": boxes, "scores": torch.full((number,), 0.5)}
    values["classes"] = torch.zeros(number, dtype=torch.int64)
    return tuple({**values, **changes}.values())


def test_detections_pair_up_in_any_order():
    a = detections()
    order = torch.randperm(100)
    assert agree_detections([a], [tuple(x[order] for x in a)]).same


def test_detections_that_differ():
    a = detections()
    assert not agree_detections([a], [detections(boxes=a[0] + 1.0)]).same
    assert not agree_detections([a], [detections(scores=a[1] + 0.1)]).same
    assert not agree_detections([a], [detections(classes=a[2] + 1)]).same
    assert agree_detections([a], [detections(99)]).same  # 1 in 100 may differ
    assert not agree_detections([a], [detections(98)]).same
    assert not agree_detections([detections(98)], [a]).same


def test_a_detection_has_one_partner_only():
    twice = tuple(torch.cat((x, x)) for x in detections(50))
    assert not agree_detections([twice], [detections(100)]).same


def test_nothing_detected_is_no_agreement():
    found = agree_detections([detections(0)], [detections(0)])
    assert not found.same
    assert "compares nothing" in found.text
