"""Boxes that are fractions, or corners in place of sizes."""

import numpy as np
import pytest

from detectron2.structures import BoxMode
from fcos.data.boxes import is_degenerate
from fcos.data.records import ImageRecord, ObjectRecord
from fcos.data.units import check_units
from fcos.utils.errors import UserError

WIDTH, HEIGHT = 200, 100


def images_with(boxes, mode=BoxMode.XYWH_ABS, width=WIDTH, height=HEIGHT):
    image = ImageRecord(1, "a.png", width, height)
    for number, box in enumerate(boxes):
        things = [
            number,
            1,
            list(map(float, box)),
            mode,
            is_degenerate(box, width, height),
            False,
            "",
        ]
        image.objects.append(ObjectRecord(*things))
    return [image]


def scene(number, rng):
    """Sound boxes of all places and sizes, as x, y, width, height."""
    low = rng.uniform(0, [WIDTH - 10, HEIGHT - 10], (number, 2))
    return np.c_[low, rng.uniform(5, [WIDTH, HEIGHT] - low)]


def corners_of(boxes):
    return np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]


@pytest.mark.parametrize("seed", range(20))
def test_sound_boxes(seed):
    boxes = scene(30, np.random.default_rng(seed))
    check_units("some", images_with(boxes))
    check_units("some", images_with(corners_of(boxes), BoxMode.XYXY_ABS))


@pytest.mark.parametrize("seed", range(20))
def test_corners_for_sizes(seed):
    boxes = corners_of(scene(30, np.random.default_rng(seed)))
    with pytest.raises(
        UserError,
        match=r"^Data set 'some': \d+ of 30 boxes reach far beyond their image or have no size, "
        r"such as \[.*\] \(annotation \d+, 200x100 pixels\); all are inside when their numbers are "
        r"read as x1, y1, x2, y2\. A bbox is x, y, width, height: write x2 - x1 and y2 - y1 in",
    ):
        check_units("some", images_with(boxes))


@pytest.mark.parametrize("seed", range(20))
def test_sizes_for_corners(seed):
    boxes = scene(30, np.random.default_rng(seed))
    with pytest.raises(
        UserError,
        match=r"read as x, y, width, height\. Set their bbox_mode to BoxMode\.XYWH_ABS\.$",
    ):
        check_units("some", images_with(boxes, BoxMode.XYXY_ABS))


def test_objects_as_large_as_their_image_may_be_a_little_larger():
    check_units("some", images_with([[3, 3, WIDTH, HEIGHT]] * 9))
    with pytest.raises(UserError):
        check_units("some", images_with([[30, 3, WIDTH, HEIGHT]] * 9))


def test_one_box_that_does_not_fit_either_way():
    boxes = corners_of(scene(30, np.random.default_rng(0)))
    boxes[4] = [WIDTH, 5, 20, 20]  # neither as corners nor as sizes
    check_units("some", images_with(boxes))
    boxes = corners_of(scene(200, np.random.default_rng(0)))
    boxes[4] = [WIDTH, 5, 20, 20]  # of 200, it is a slip
    with pytest.raises(UserError):
        check_units("some", images_with(boxes))


def test_of_few_boxes_nothing_is_said():
    box = [120, 60, 180, 90]
    check_units("some", images_with([box] * 4))
    with pytest.raises(UserError):
        check_units("some", images_with([box] * 5))
    check_units("some", [])


@pytest.mark.parametrize("mode", [BoxMode.XYWH_ABS, BoxMode.XYXY_ABS])
def test_fractions(mode):
    with pytest.raises(UserError) as caught:
        check_units("some", images_with([[0.3, 0.3, 0.4, 0.5], [0, 0, 1, 1], [1, 1, 50, 50]], mode))
    assert str(caught.value) == (
        "Data set 'some': 2 of 3 boxes are fractions of their image, such as [0.3, 0.3, 0.4, 0.5] "
        "(annotation 0, 200x100 pixels), where pixels are expected: multiply them by its width and "
        "height."
    )
    check_units("some", images_with([[0, 0, 1, 1], [1, 1, 50, 50], [1, 1, 50, 50]], mode))
    check_units("some", images_with([[0, 0, 1, 1]], mode, width=2, height=2))
    check_units("some", images_with([[0, 0, 0, 0]] * 3, mode))


def test_an_unknown_size_says_nothing():
    images = images_with([[0.3, 0.3, 0.4, 0.5]], width=float("inf"))
    check_units("some", images)
