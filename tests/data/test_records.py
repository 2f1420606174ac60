import math

import pytest

from detectron2.structures import BoxMode
from fcos.data.boxes import is_degenerate
from fcos.data.records_of_dicts import records_of_dicts


@pytest.mark.parametrize(
    ("xyxy", "want"),
    [
        ([0, 0, 20, 10], False),  # the whole image
        ([-5, -5, 1, 1], False),  # 1 px of it inside
        ([3, 3, 3.5, 3.5], False),
        ([3, 3, 3.002, 8], False),
        ([3, 3, 3.0005, 8], True),  # no loader keeps it
        ([3, 3, 3, 8], True),  # no width
        ([3, 3, 8, 3], True),  # no height
        ([8, 3, 3, 8], True),  # negative width
        ([20, 0, 25, 5], True),  # touches the right side from outside
        ([-5, 0, 0, 5], True),
        ([0, 10, 5, 15], True),
        ([0, -5, 5, 0], True),
        ([math.nan, 0, 5, 5], True),
        ([0, 0, 5, math.nan], True),
    ],
)
def test_degenerate(xyxy, want):
    assert is_degenerate(xyxy, width=20, height=10) is want


def test_boxes_are_understood_in_both_forms():
    # The same numbers: as x, y, width, height inside, as x1, y1, x2, y2 without width.
    box = [5, 2, 5, 6]
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0},
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0},
    ]
    image = {"width": 20, "height": 10, "annotations": annotations}
    assert kept(image) == annotations[:1]
    assert kept({"annotations": annotations}) == annotations[:1]
    assert kept({"width": 20, "height": 10}) == []
    assert image["annotations"] == annotations


def kept(image):
    (record,) = records_of_dicts("some", [image], ["a"]).dicts(for_training=True)
    return record["annotations"]
