"""From batches of pixels to lines; who gets which batch."""

import json
import logging

import numpy as np
import pytest
import torch
import torch.distributed as dist

from detectron2.structures import Boxes, Instances
from fcos.predict.detector import Detector
from fcos.predict.many.work import LineMaker, Progress, claims, read_sizes
from fcos.utils.errors import UserError


class Predictor:
    """Finds one object in each image, in as many as fit into its memory."""

    def __init__(self, room):
        self.room = room
        self.batches = []

    def detect_batch(self, images):
        self.batches.append(len(images))
        if sum(image.size for image in images) > self.room:
            raise torch.cuda.OutOfMemoryError
        return [self.find(image) for image in images]

    @staticmethod
    def find(image):
        return Instances(
            image.shape[:2],
            pred_boxes=Boxes(torch.tensor([[0.0, 1, 4, 3]])),
            scores=torch.tensor([0.5]),
            pred_classes=torch.tensor([1]),
        )


def pixels(height, width):
    return np.zeros((height, width, 3), np.uint8)


def test_lines_by_hand():
    make_lines = LineMaker(Detector(Predictor(10**6), category_ids=[3, 7]))
    lines = make_lines([(4, "a.png", pixels(5, 6)), (9, "b.png", "Image b.png is broken.")])
    assert {image: json.loads(line) for image, line in lines.items()} == {
        4: {
            "image": 4,
            "height": 5,
            "width": 6,
            "results": [
                {"image_id": 4, "category_id": 7, "bbox": [0, 1, 4, 2], "score": 0.5}
                | {"file_name": "a.png"}
            ],
        },
        9: {"image": 9, "problem": "Image b.png is broken."},
    }


def test_nothing_to_detect_in():
    predictor = Predictor(0)
    assert list(LineMaker(Detector(predictor, [0, 1]))([(1, "a", "Broken.")])) == [1]
    assert predictor.batches == []


def test_batches_that_do_not_fit_are_halved(caplog):
    make_lines = LineMaker(Detector(Predictor(room=2 * 30), [0, 1]))
    batch = [(i, f"{i}.png", pixels(2, 5)) for i in range(5)] + [(5, "big.png", pixels(9, 5))]
    with caplog.at_level(logging.WARNING):
        lines = make_lines(batch)
    assert sorted(lines) == [0, 1, 2, 3, 4, 5]
    assert all(b'"score": 0.5' in lines[i] for i in range(5))
    problem = "Image big.png, of 5x9, does not fit into the GPU's memory."
    assert json.loads(lines[5])["problem"] == problem
    assert caplog.text.count("such batches are halved") == 1


def test_a_batch_that_cannot_be_done_is_named(caplog):
    predictor = Predictor(0)
    predictor.detect_batch = None  # calling it is a TypeError
    with caplog.at_level(logging.ERROR), pytest.raises(TypeError):
        make_lines = LineMaker(Detector(predictor, [0, 1]))
        make_lines([(0, "a.png", pixels(2, 5)), (1, "b.png", pixels(2, 5))])
    assert "This went wrong with a.png, b.png. An image that is taken away is" in caplog.text


def test_every_batch_is_claimed_once():
    store = dist.HashStore()
    first, second = claims(5, store), claims(5, store)
    taken = [next(first), next(second), next(second), *first, *second]
    assert taken == [0, 1, 2, 3, 4]


class GoneStore:
    def add(self, name, number):
        raise dist.DistNetworkError("Connection reset by peer")


def test_a_main_process_that_is_gone_is_one_sentence(monkeypatch):
    with pytest.raises(UserError, match=r"Another process ended before its time. The same command"):
        next(claims(5, GoneStore()))
    progress = Progress(np.zeros(3, bool))
    progress.store = GoneStore()
    with pytest.raises(UserError, match="Another process ended before its time"):
        progress.add(1)
    monkeypatch.setattr("detectron2.utils.comm.all_gather", lambda _: GoneStore().add("", 1))
    with pytest.raises(UserError, match="Another process ended before its time"):
        progress.close()


def test_sizes_in_one_process(tmp_path):
    from PIL import Image

    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    paths = [str(tmp_path / "a.png"), str(tmp_path / "gone.png")]
    assert read_sizes(paths, threads=2).tolist() == [[20, 30], [0, 0]]
    assert read_sizes([], threads=1).shape == (0, 2)
