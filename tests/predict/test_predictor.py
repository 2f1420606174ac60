"""The predictor, beside detectron2's own."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data.transforms import ResizeShortestEdge
from detectron2.engine import DefaultPredictor
from detectron2.modeling import build_model
from fcos.checkpoint import AdetCheckpointer, stored_text
from fcos.modeling import OneStageDetectorWithTTA
from fcos.predict.predictor import Predictor, resized
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg
from tests.imagined_gpu import ImaginedGpu, pretend

IMAGE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model of random weights that detects something, and its backbone alone."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = build_model(tiny_cfg())
    torch.nn.init.constant_(model.proposal_generator.fcos_head.cls_logits.bias, 1.0)
    checkpointer = AdetCheckpointer(model, str(folder))
    checkpointer.class_names = ["cat", "dog", "bird"]
    checkpointer.save("whole")
    checkpointer.config = stored_text(tiny_cfg())
    checkpointer.save("with_config")
    backbone = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.bottom_up")}
    torch.save({"model": backbone}, folder / "backbone.pth")
    return folder


@pytest.fixture
def cfg(weights):
    cfg = tiny_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 96, 200
    cfg.MODEL.WEIGHTS = str(weights / "whole.pth")
    return cfg


@pytest.mark.parametrize("pixel_format", ["BGR", "RGB"])
def test_equals_detectron2s_predictor(cfg, pixel_format):
    cfg.INPUT.FORMAT = pixel_format
    found = Predictor(cfg)(IMAGE)
    want = DefaultPredictor(cfg)(IMAGE)["instances"]
    assert len(found) == len(want) > 0 and found.image_size == want.image_size == (60, 90)
    assert torch.equal(found.pred_boxes.tensor, want.pred_boxes.tensor)
    assert torch.equal(found.scores, want.scores)
    assert torch.equal(found.pred_classes, want.pred_classes)


def test_with_augmentation_the_views_are_made_from_the_image_itself(cfg):
    cfg.merge_from_list(["TEST.AUG.ENABLED", True, "TEST.AUG.MIN_SIZES", (48, 96)])
    cfg.INPUT.FORMAT = "RGB"
    predictor = Predictor(cfg)
    image = torch.as_tensor(IMAGE[:, :, ::-1].transpose(2, 0, 1).copy())
    (want,) = OneStageDetectorWithTTA(cfg, predictor.model)([{"image": image}])
    found = predictor(IMAGE)
    assert len(found) == len(want["instances"]) > 0 and found.image_size == (60, 90)
    assert torch.equal(found.pred_boxes.tensor, want["instances"].pred_boxes.tensor)
    assert torch.equal(found.scores, want["instances"].scores)


def test_class_names_come_with_the_weights(cfg):
    assert Predictor(cfg).class_names == ["cat", "dog", "bird"]


def test_the_weights_alone_are_enough(cfg, weights):
    path = str(weights / "with_config.pth")
    found = Predictor(weights=path, threshold=0.2)
    want = Predictor(tiny_cfg(), weights=path, threshold=0.2)
    assert found.class_names == want.class_names == ["cat", "dog", "bird"]
    assert torch.equal(found(IMAGE).scores, want(IMAGE).scores) and len(want(IMAGE))
    assert Predictor(cfg, weights=path).class_names == ["cat", "dog", "bird"]
    assert cfg.MODEL.WEIGHTS.endswith("whole.pth")  # not changed
    with pytest.raises(UserError, match="whole.pth carries no config: give --config-file"):
        Predictor(weights=str(weights / "whole.pth"))
    with pytest.raises(UserError, match=r"Which detector\? Name its trained weights"):
        Predictor()


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.WEIGHTS", "", r"MODEL\.WEIGHTS is empty, so there is no trained model"),
        ("MODEL.FCOS.NUM_CLASSES", 5, r"is a detector of 3 classes, but .*NUM_CLASSES is 5"),
        ("TEST.AUG.MIN_SIZES", (), r"TEST\.AUG\.MIN_SIZES is \(\): set it to a list of 1 to 1000"),
        ("MODEL.PIXEL_STD", [1.0] * 4, r"MODEL\.PIXEL_STD is \[.*\]: set it to a list of 3"),
        ("INPUT.FORMAT", "L", r"INPUT\.FORMAT is 'L': set it to one of 'BGR', 'RGB'"),
    ],
)
def test_configs_that_cannot_predict(cfg, key, value, message):
    cfg.merge_from_list([key, value, "TEST.AUG.ENABLED", key.startswith("TEST.AUG")])
    with pytest.raises(UserError, match=message):
        Predictor(cfg)


@pytest.mark.parametrize("shape", [(1, 900, 3), (900, 1, 3)])
def test_an_image_a_pixel_wide(cfg, shape):
    assert Predictor(cfg)(np.zeros(shape, np.uint8)).image_size == shape[:2]


def test_a_config_of_no_detector(cfg):
    cfg.MODEL.FCOS.NORM = "IN"
    with pytest.raises(UserError, match=r"^MODEL\.FCOS\.NORM is 'IN': set it to one of 'none', "):
        Predictor(cfg)


def test_a_backbone_alone_is_no_model(cfg, weights, caplog):
    cfg.MODEL.WEIGHTS = str(weights / "backbone.pth")
    with pytest.raises(UserError, match=r"Detection needs weights for the whole model"):
        Predictor(cfg)
    # Nor a line for each parameter; that the file is loaded may be said.
    assert all(record.levelno < logging.WARNING for record in caplog.records)


def equal(found, wanted, tolerance=0.0):
    assert len(found) == len(wanted) > 0 and found.image_size == wanted.image_size
    torch.testing.assert_close(found.scores, wanted.scores, atol=tolerance, rtol=0)
    a, b = found.pred_boxes.tensor, wanted.pred_boxes.tensor
    torch.testing.assert_close(a, b, atol=100 * tolerance, rtol=0)


def test_a_batch_of_images_of_one_size_is_its_images(cfg):
    predictor = Predictor(cfg)
    images = [IMAGE, IMAGE[:, ::-1], IMAGE[::-1]]
    for found, image in zip(predictor.detect_batch(images), images, strict=True):
        equal(found, predictor(image), 1e-5)


def test_a_batch_of_images_of_different_sizes(cfg):
    """Each result is in pixels of its own image; without GN, nothing but padding differs."""
    predictor = Predictor(cfg)
    images = [IMAGE, IMAGE[:40, :30], IMAGE[:30, :80]]
    found = predictor.detect_batch(images)
    for result, image in zip(found, images, strict=True):
        height, width = image.shape[:2]
        assert result.image_size == (height, width) and len(result) > 0
        boxes = result.pred_boxes.tensor
        assert boxes.min() >= 0 and (boxes <= torch.tensor([width, height] * 2)).all()
    assert predictor.detect_batch([]) == []


def test_a_faster_copy_predicts_the_same(cfg):
    predictor = Predictor(cfg, "float32")
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in predictor.model.modules())
    equal(predictor(IMAGE), Predictor(cfg)(IMAGE), 1e-4)
    with pytest.raises(UserError, match="--optimize float16 needs a GPU"):
        Predictor(cfg, "float16")


def test_the_size_of_batches_comes_from_the_config(cfg):
    cfg.TEST.IMS_PER_BATCH = 3
    assert Predictor(cfg).batch_size == 3
    cfg.TEST.IMS_PER_BATCH = 0
    with pytest.raises(UserError, match=r"TEST\.IMS_PER_BATCH is 0: set it to 1 or more"):
        Predictor(cfg)


@pytest.mark.parametrize(
    "image",
    [IMAGE[:, :, 0], IMAGE[:0], IMAGE.astype(np.float32), np.zeros((4, 4, 4), np.uint8)],
    ids=["gray", "empty", "float", "four channels"],
)
def test_images_of_another_kind(cfg, image):
    with pytest.raises(ValueError, match=r"image: expected \(H, W, 3\) uint8, got \("):
        Predictor(cfg)(image)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        ("a.jpg", r"'a\.jpg' of type str"),
        (None, "None of type NoneType"),
        (torch.zeros(3, 60, 90, dtype=torch.uint8), r"tensor\(.* of type Tensor"),
        (Image.fromarray(IMAGE), "<PIL.* of type Image"),
        ([IMAGE], r"\[.*\] of type list"),
    ],
)
def test_images_that_are_no_arrays(cfg, image, told):
    with pytest.raises(
        TypeError,
        match=r"^image: expected an array, \(H, W, 3\) uint8, as fcos\.data\.read_bgr "
        rf"returns it, got (?s:{told})$",
    ):
        Predictor(cfg).detect_batch([IMAGE, image])


@pytest.mark.parametrize("optimize", [None, "float32"])
def test_on_a_gpu(cfg, optimize, monkeypatch):
    """From the file to results on the CPU, on a GPU that is only imagined."""
    want = Predictor(cfg)(IMAGE)
    cfg.MODEL.DEVICE = "cuda"
    pretend(monkeypatch)
    with ImaginedGpu():
        predictor = Predictor(cfg, optimize)
        assert all(p.is_cuda for p in predictor.model.parameters())
        found = predictor(IMAGE)
    assert len(found) == len(want) > 0 and type(found.scores) is torch.Tensor
    torch.testing.assert_close(found.scores, want.scores, rtol=0, atol=1e-5)


def test_of_each_side_a_pixel_stays():
    image, augmentation = np.full((2, 900, 3), 7, np.uint8), ResizeShortestEdge([96] * 2, 200)
    assert resized(image, augmentation).shape == (1, 200, 3)
    assert resized(image.swapaxes(0, 1), augmentation).shape == (200, 1, 3)
    assert (resized(image, ResizeShortestEdge([0] * 2, 200)) == image).all()
