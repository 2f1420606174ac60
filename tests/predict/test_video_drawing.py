"""Detections on the frames of a video: one colour for one object."""

import cv2
import numpy as np
import pytest
import torch

from detectron2.structures import Boxes, Instances
from fcos.predict.draw import FrameDrawing
from fcos.predict.predictor import Predictor
from fcos_cli import demo
from tests.helpers import tiny_cfg, write_model

HEIGHT, WIDTH, SIDE = 160, 320, 60
GREY = np.full((HEIGHT, WIDTH, 3), 100, np.uint8)
# Where the two objects of a frame begin, from left to right and from right to left.
PLACES = [((10 + 8 * number, 20), (240 - 8 * number, 80)) for number in range(3)]


@pytest.fixture(autouse=True)
def same_colours():
    """detectron2 draws the colours of new objects from numpy's state; two could be the same."""
    np.random.seed(1)


def instances(places, with_masks=False, size=(HEIGHT, WIDTH)):
    boxes = torch.tensor([[x, y, x + SIDE, y + SIDE] for x, y in places]).view(-1, 4)
    found = Instances(
        size,
        pred_boxes=Boxes(boxes.float()),
        pred_classes=torch.zeros(len(places), dtype=torch.int64),
        scores=torch.full((len(places),), 0.9),
    )
    if with_masks:
        found.pred_masks = torch.zeros(len(places), *size, dtype=torch.bool)
        for mask, (x, y) in zip(found.pred_masks, places, strict=True):
            mask[y : y + SIDE, x : x + SIDE] = True
    return found


def colour_at(picture, place, factor):
    """The hue at an object's lower side, which no label covers, as a direction off the greys."""
    x, y = place[0] + SIDE // 2, place[1] + SIDE
    around = picture[(y - 3) * factor : (y + 3) * factor, (x - 5) * factor : (x + 5) * factor]
    rows = np.median(around.astype(float), axis=1)
    hues = rows - rows.mean(axis=1, keepdims=True)
    strongest = hues[np.linalg.norm(hues, axis=1).argmax()]
    return strongest / np.linalg.norm(strongest)


@pytest.mark.parametrize("with_masks", [False, True])
def test_objects_keep_their_colours(with_masks):
    draw = FrameDrawing(["cat"])
    colours = []
    for places in PLACES:
        picture = draw(GREY, instances(places[::-1] if colours else places, with_masks))
        assert picture.shape == (2 * HEIGHT, 2 * WIDTH, 3)
        colours.append([colour_at(picture, place, 2) for place in places])
    first, second = colours[0]
    assert first @ second < 0.95
    for one, other in colours[1:]:
        assert one @ first > 0.99
        assert other @ second > 0.99


def test_a_frame_of_the_drawings_own_size_is_not_enlarged():
    frame = np.zeros((360, 640, 3), np.uint8)
    before = frame.copy()
    found = instances([(30, 30)], with_masks=True, size=(360, 640))
    picture = FrameDrawing(["cat"])(frame, found)
    assert picture.shape == frame.shape
    assert (frame == before).all()
    assert found.image_size == (360, 640)
    assert found.pred_boxes.tensor.tolist() == [[30, 30, 30 + SIDE, 30 + SIDE]]


def test_a_frame_without_detections_stays_as_it_is():
    picture = FrameDrawing(["cat"])(GREY, instances([]))
    assert (picture == 100).all()


def test_demo_draws_one_object_of_a_video_in_one_colour(tmp_path, monkeypatch):
    """From a video to a video; the detector knows the white squares of its frames."""
    clip = str(tmp_path / "clip.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (WIDTH, HEIGHT))
    for places in PLACES:
        frame = GREY.copy()
        for x, y in places:
            frame[y : y + SIDE, x : x + SIDE] = 255
        writer.write(frame)
    writer.release()

    def find_squares(self, images):
        found = []
        for image in images:
            _, _, boxes, _ = cv2.connectedComponentsWithStats(
                (image[:, :, 1] > 200).astype("uint8")
            )
            found.append(instances([(x, y) for x, y, *_ in boxes[1:].tolist()]))
        return found

    monkeypatch.setattr(Predictor, "detect_batch", find_squares)
    model = write_model(tmp_path, tiny_cfg())
    output = str(tmp_path / "drawn.avi")
    argv = f"--config-file {model / 'config.yaml'} --video-input {clip} --output {output}"
    assert demo.main(argv.split()) == 0
    capture = cv2.VideoCapture(output)
    pictures = [capture.read()[1] for _ in PLACES]
    colours = [
        [colour_at(picture, place, 2) for place in places]
        for picture, places in zip(pictures, PLACES, strict=True)
    ]
    for frame in colours[1:]:
        for colour, first in zip(frame, colours[0], strict=True):
            assert colour @ first > 0.9
    assert colours[0][0] @ colours[0][1] < 0.9
