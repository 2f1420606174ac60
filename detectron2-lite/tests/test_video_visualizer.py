"""VideoVisualizer: colors that stay with the objects."""

import numpy as np
import pytest
import torch
from test_visualizer import Animals

import detectron2
from detectron2.structures import Boxes, Instances
from detectron2.utils.video_visualizer import VideoVisualizer
from detectron2.utils.visualizer import ColorMode

FRAME = np.full((100, 100, 3), 100, np.uint8)
CAT, DOG = 0, 1
LEFT, RIGHT = (10, 10, 50, 50), (60, 60, 90, 90)

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="detectron2 does it differently"
)


def frame_of(*objects, with_masks=False):
    """Instances of (box, class)."""
    instances = Instances((100, 100))
    boxes = torch.tensor([box for box, _ in objects], dtype=torch.float32).reshape(-1, 4)
    instances.pred_boxes = Boxes(boxes)
    instances.pred_classes = torch.tensor([kind for _, kind in objects], dtype=torch.int64)
    instances.scores = torch.full((len(objects),), 0.9)
    if with_masks:
        masks = torch.zeros(len(objects), 100, 100, dtype=torch.bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = True
        instances.pred_masks = masks
    return instances


@pytest.fixture(params=["boxes", "masks"])
def draw(request):
    """Draws the next frame; returns the color of each object, by its label and middle."""
    np.random.seed(0)  # detectron2 draws new colors from numpy's state, where two may be the same
    video = VideoVisualizer(Animals())

    def draw_next(*objects):
        instances = frame_of(*objects, with_masks=request.param == "masks")
        output = video.draw_instance_predictions(FRAME, instances)
        colors = {}
        for patch in output.ax.patches:
            extent = patch.get_path().transformed(patch.get_patch_transform()).get_extents()
            middle = (round((extent.x0 + extent.x1) / 2), round((extent.y0 + extent.y1) / 2))
            colors[middle] = tuple(np.round(patch.get_edgecolor()[:3], 4))
        return [
            colors[round((x0 + x1) / 2), round((y0 + y1) / 2)] for (x0, y0, x1, y1), _ in objects
        ]

    return draw_next


def test_colors_follow_the_objects(draw):
    left, right = draw((LEFT, CAT), (RIGHT, DOG))
    assert left != right
    assert draw((RIGHT, DOG), (LEFT, CAT)) == [right, left]
    moved = (14, 10, 54, 50)
    assert draw((moved, CAT)) == [left]
    assert draw((RIGHT, DOG)) == [right]


def test_another_class_is_another_object(draw):
    (cat,) = draw((LEFT, CAT))
    assert draw((LEFT, DOG)) != [cat]


@pytest.mark.parametrize("shift, is_same", [(8, True), (12, False)])
def test_enough_overlap_is_needed(shift, is_same, draw):
    # IoU 32 / 48 = 0.67 and 28 / 52 = 0.54; what counts is more than 0.6.
    (color,) = draw((LEFT, CAT))
    assert (draw(((10 + shift, 10, 50 + shift, 50), CAT)) == [color]) is is_same


@pytest.mark.parametrize("frames, is_known", [(7, True), (8, False)])
def test_an_object_that_is_away_for_some_frames(frames, is_known, draw):
    (color,) = draw((LEFT, CAT))
    for _ in range(frames):
        draw((RIGHT, DOG))
    (again,) = draw((LEFT, CAT))
    assert (again == color) is is_known


def test_an_object_that_stays_keeps_its_color(draw):
    (color,) = draw((LEFT, CAT))
    assert all(draw((LEFT, CAT)) == [color] for _ in range(20))


def test_one_color_goes_to_one_object_the_best_match(draw):
    (color,) = draw((LEFT, CAT))
    near = (10, 10, 50, 46)
    first, second = draw((near, CAT), (LEFT, CAT))
    assert second == color
    assert first != color


def colors_of(output):
    """Edge colors of the boxes, in the order of their left sides."""
    patches = sorted(output.ax.patches, key=lambda patch: patch.get_extents().x0)
    return [tuple(np.round(patch.get_edgecolor()[:3], 4)) for patch in patches]


@pytest.fixture
def draw_numbered():
    """Draws objects with numbers; returns the colors from left to right."""
    metadata = Animals()
    metadata.max_num_instances = 3
    video = VideoVisualizer(metadata)

    def draw(objects, **fields):
        instances = frame_of(*objects)
        for name, values in fields.items():
            instances.set(name, values)
        return colors_of(video.draw_instance_predictions(FRAME, instances))

    return draw


def test_numbers_of_a_tracker_count_instead_of_overlap(draw_numbered):
    left, right = draw_numbered([(LEFT, CAT), (RIGHT, CAT)], ID=[7, 8])
    assert left != right
    assert draw_numbered([(LEFT, CAT), (RIGHT, CAT)], ID=[8, 7]) == [right, left]
    (third,) = draw_numbered([(LEFT, CAT)], ID=[9])
    assert third not in (left, right)


def test_no_more_numbers_than_there_are_colors_for(draw_numbered):
    four = [((10 + 20 * k, 10, 20 + 20 * k, 30), CAT) for k in range(4)]
    with pytest.raises(AssertionError):
        draw_numbered(four, ID=[1, 2, 3, 4])


def test_colors_can_be_given(draw_numbered):
    red, blue = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
    objects = [(LEFT, CAT), (RIGHT, CAT)]
    assert draw_numbered(objects, COLOR=[red, blue], ID=[1, 2]) == [red, blue]


def test_objects_that_are_new_can_be_left_out(draw_numbered):
    objects = [(LEFT, CAT), (RIGHT, CAT)]
    both = draw_numbered(objects, ID=[1, 2], ID_period=[1, 1])
    assert draw_numbered(objects, ID=[1, 2], ID_period=[0, 2]) == both[1:]
    assert draw_numbered(objects, ID=[1, 2], ID_period=[0, 0]) == []


def test_labels_and_modes():
    video = VideoVisualizer(Animals())
    output = video.draw_instance_predictions(FRAME, frame_of((LEFT, CAT), (RIGHT, DOG)))
    assert [text.get_text() for text in output.ax.texts] == ["cat 90%", "dog 90%"]
    masks = video.draw_instance_predictions(FRAME, frame_of((LEFT, CAT), with_masks=True))
    assert len(masks.ax.patches) == 1  # without the box

    colored = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    video = VideoVisualizer(Animals(), ColorMode.IMAGE_BW)
    picture = video.draw_instance_predictions(colored, frame_of((LEFT, CAT))).get_image()
    assert (picture[60:, :, 0] == picture[60:, :, 1]).all()


def test_a_frame_of_nothing():
    video = VideoVisualizer(Animals())
    output = video.draw_instance_predictions(FRAME, frame_of())
    assert (output.get_image() == FRAME).all()


def test_more_objects_than_colors():
    video = VideoVisualizer(Animals())
    many = [((x, y, x + 4, y + 4), CAT) for x in range(0, 90, 9) for y in range(0, 90, 9)]
    assert len(video.draw_instance_predictions(FRAME, frame_of(*many)).ax.patches) == 100


@lite_only
def test_boxes_after_masks():
    video = VideoVisualizer(Animals())
    video.draw_instance_predictions(FRAME, frame_of((LEFT, CAT), with_masks=True))
    output = video.draw_instance_predictions(FRAME, frame_of((LEFT, CAT)))
    assert len(output.ax.patches) == 1


@lite_only
def test_what_is_left_out():
    with pytest.raises(ValueError, match="SEGMENTATION is not IMAGE or IMAGE_BW"):
        VideoVisualizer(Animals(), ColorMode.SEGMENTATION)
    with pytest.raises(NotImplementedError, match="VideoVisualizer.draw_sem_seg"):
        VideoVisualizer(Animals()).draw_sem_seg(FRAME, None)
