"""Pictures of detections and ground truth."""

import numpy as np
import pycocotools.mask
import pytest
import torch

from detectron2.structures import Boxes, BoxMode, Instances
from fcos.predict.draw import class_colors, draw_instances, ground_truth_instances, side_by_side

NAMES = ("cat", "dog")


def instances(height, width, boxes, classes, **fields):
    return Instances(
        (height, width),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float32).view(-1, 4)),
        pred_classes=torch.tensor(classes, dtype=torch.int64),
        **fields,
    )


def difference(picture, image):
    return np.abs(picture.astype(int) - image.astype(int)).max(axis=2)


def test_colors_are_bright_and_differ():
    colors = class_colors(80)
    assert len({tuple(color) for color in colors}) == 80
    assert all(max(color) == 255 and min(color) < 60 for color in colors)
    assert all(type(c) is int for color in colors for c in color)


def test_a_box_is_drawn_where_it_lies_in_its_class_color():
    image = np.full((640, 640, 3), 128, np.uint8)
    detections = instances(640, 640, [100, 200, 500, 400], [1], scores=torch.tensor([0.75]))
    picture = draw_instances(image, detections, NAMES)
    assert picture.shape == image.shape
    changed = difference(picture, image) > 20
    assert changed[300, 97:104].any() and changed[300, 497:504].any()  # left and right side
    assert changed[397:404, 300].any()  # bottom
    assert not changed[:190].any() and not changed[450:].any() and not changed[250:390, 250].any()
    red, green, blue = class_colors(2)[1]
    assert np.abs(picture[300, 500].astype(int) - [blue, green, red]).max() < 30


def test_colors_can_be_chosen():
    image = np.full((640, 640, 3), 128, np.uint8)
    detections = instances(640, 640, [100, 200, 500, 400], [1], scores=torch.tensor([0.75]))
    picture = draw_instances(image, detections, NAMES, colors=[[255, 0, 0], [0, 0, 255]])
    assert np.abs(picture[300, 500].astype(int) - [255, 0, 0]).max() < 30  # blue, green, red


def test_a_small_picture_is_enlarged_by_a_whole_factor():
    for size, factor in [((240, 320), 2), ((300, 641), 1), ((640, 100), 1), ((60, 100), 7)]:
        image = np.zeros((*size, 3), np.uint8)
        picture = draw_instances(image, instances(*size, [], []), NAMES)
        assert picture.shape == (size[0] * factor, size[1] * factor, 3)


def test_nothing_detected_leaves_the_picture_as_it_is():
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    before = image.copy()
    picture = draw_instances(image, instances(480, 640, [], [], scores=torch.zeros(0)), NAMES)
    assert np.array_equal(picture, image) and np.array_equal(image, before)
    assert picture is not image


def test_drawing_is_the_same_every_time_and_draws_masks():
    image = np.full((480, 640, 3), 90, np.uint8)
    masks = torch.zeros(1, 480, 640, dtype=torch.bool)
    masks[0, 100:200, 100:300] = True
    detections = instances(480, 640, [100, 100, 300, 200], [0], scores=torch.tensor([0.9]))
    without = draw_instances(image, detections, NAMES)
    detections.pred_masks = masks
    pictures = [draw_instances(image, detections, NAMES) for _ in range(2)]
    assert np.array_equal(*pictures)
    assert difference(pictures[0], image)[180, 200] > 20 > difference(without, image)[180, 200]


def test_ground_truth_in_either_box_format_and_without_crowds():
    annotations = [
        {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1},
        {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0, "iscrowd": 0},
        {"bbox": [0, 0, 9, 9], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 1},
    ]
    truth = ground_truth_instances(annotations, 60, 80)
    assert truth.image_size == (60, 80)
    assert truth.pred_boxes.tensor.tolist() == [[10, 20, 40, 60], [10, 20, 30, 40]]
    assert truth.pred_classes.tolist() == [1, 0] and not truth.has("scores")
    empty = ground_truth_instances([], 60, 80)
    assert len(empty) == 0 and empty.pred_boxes.tensor.shape == (0, 4)


def test_ground_truth_is_drawn():
    image = np.zeros((480, 640, 3), np.uint8)
    box = {"bbox": [100, 100, 200, 100], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    picture = draw_instances(image, ground_truth_instances([box], 480, 640), NAMES)
    assert difference(picture, image)[150, 97:104].max() > 20


def test_ground_truth_with_masks():
    box = {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    stripe = np.zeros((60, 80), np.uint8)
    stripe[5:8, 10:30] = 1
    annotations = [
        box | {"segmentation": [[10, 20, 40, 20, 40, 60, 10, 60], [0, 0, 5, 0, 5, 5, 0, 5]]},
        box | {"segmentation": pycocotools.mask.encode(np.asfortranarray(stripe))},
        box,
        box | {"segmentation": [[0, 0, 9, 0, 9, 9]], "iscrowd": 1},
    ]
    masks = ground_truth_instances(annotations, 60, 80, with_masks=True).pred_masks
    assert masks.shape == (3, 60, 80) and masks.dtype == torch.bool
    parts = torch.zeros(60, 80, dtype=torch.bool)
    parts[20:60, 10:40] = parts[:5, :5] = True
    assert masks[0].equal(parts)
    assert masks[1].equal(torch.from_numpy(stripe).bool())
    assert not masks[2].any()
    assert ground_truth_instances([], 60, 80, with_masks=True).pred_masks.shape == (0, 60, 80)
    assert not ground_truth_instances(annotations, 60, 80).has("pred_masks")
    for truth in (annotations, []):  # they can be drawn
        truth = ground_truth_instances(truth, 60, 80, with_masks=True)
        draw_instances(np.zeros((60, 80, 3), np.uint8), truth, NAMES)


def test_side_by_side():
    left, right = np.full((40, 300, 3), 10, np.uint8), np.full((40, 300, 3), 20, np.uint8)
    both = side_by_side(left, right, "left", "right")
    assert both.shape == (40 + 28, 2 * 300 + 8, 3)
    assert (both[28:, :300] == 10).all() and (both[28:, 308:] == 20).all()
    assert (both[:, 300:308] == 255).all()
    for start in (0, 308):  # a title: dark on white
        assert both[:28, start : start + 300].min() < 100
    with pytest.raises(ValueError, match="shapes differ"):
        side_by_side(left, right[:20], "left", "right")
