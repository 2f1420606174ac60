"""docs/RECIPES.md: each block runs where its tool is installed; it finds what the detector does."""

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.engine import DefaultPredictor
from fcos.checkpoint import AdetCheckpointer
from fcos.export import export_detector
from fcos.export.torch_files import can_write_programs
from fcos.predict import Predictor
from tests.export.small import small_cfg, small_model

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "RECIPES.md").read_text()
NAMES = ["cat", "dog", "bird"]
needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime")),
    reason="onnx, onnxscript and onnxruntime are not installed",
)


def blocks(heading=None):
    """The Python of a recipe; of the page's introduction without a heading."""
    parts = re.split(r"^## (.*)$", PAGE, flags=re.M)
    text = dict(zip(parts[1::2], parts[2::2], strict=True))[heading] if heading else parts[0]
    return re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the recipes begin with: a config, weights, a picture and labels."""
    folder = tmp_path_factory.mktemp("recipes")
    output = folder / "output" / "my_data"
    output.mkdir(parents=True)
    cfg = small_cfg()
    cfg.MODEL.CHANNELS_LAST = False
    cells = {
        "JSON": f"{folder}/datasets/cells/train.json",
        "IMAGES": f"{folder}/datasets/cells/train",
    }
    cfg.merge_from_list(["DATASETS.CUSTOM", str({"cells_of_recipes": cells})])
    cfg.DATASETS.TEST = ("cells_of_recipes",)
    cfg.DATALOADER.NUM_WORKERS, cfg.OUTPUT_DIR = 0, str(output)
    (output / "config.yaml").write_text(cfg.dump())
    checkpointer = AdetCheckpointer(small_model(cfg), str(output))
    checkpointer.class_names = NAMES
    checkpointer.save("model_best")
    images = folder / "datasets" / "cells" / "train"
    images.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (96, 120, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / "street.jpg")
    for name in ("a.png", "b.png"):
        Image.fromarray(pixels).save(images / name)
    boxes = [(1, 1, [4, 5, 40, 50]), (1, 3, [30, 20, 60, 60]), (2, 2, [50, 40, 30, 30])]
    content = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png"}],
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            | {"area": box[2] * box[3], "iscrowd": 0}
            for i, (image, category, box) in enumerate(boxes, 1)
        ],
    }
    for image in content["images"]:
        image |= {"height": 96, "width": 120}
    (folder / "datasets" / "cells" / "train.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def names(folder, monkeypatch):
    """The variables after the first block of the page."""
    monkeypatch.chdir(folder)
    values = {}
    (block,) = blocks()
    exec(block, values)
    assert len(values["instances"]) > 20
    return values


def run(names, heading):
    for block in blocks(heading):
        exec(block, names)


def test_supervision(names):
    pytest.importorskip("supervision")
    run(names, "supervision")
    found, want = names["detections"], names["instances"]
    assert np.array_equal(found.xyxy, want.pred_boxes.tensor.numpy())
    assert np.array_equal(found.confidence, want.scores.numpy())
    assert np.array_equal(found.class_id, want.pred_classes.numpy())
    assert names["names"] == [NAMES[number] for number in want.pred_classes]
    assert (names["drawn"] != names["image"]).any()


def test_sahi(names):
    """A picture of one slice: the detector's own, above the threshold."""
    pytest.importorskip("sahi")
    from sahi.predict import get_prediction

    run(names, "SAHI: large pictures")
    assert names["found"].object_prediction_list  # the slice, and boxes merged
    found = get_prediction("street.jpg", names["model"]).object_prediction_list
    want = names["instances"]
    want = want[want.scores >= 0.5]
    assert len(found) == len(want) > 5
    boxes = torch.tensor([one.bbox.to_xyxy() for one in found])
    torch.testing.assert_close(boxes, want.pred_boxes.tensor, rtol=0, atol=0)
    assert [one.score.value for one in found] == want.scores.tolist()
    assert [one.category.name for one in found] == [NAMES[i] for i in want.pred_classes]


def test_the_predictor_of_detectron2_finds_the_same(names):
    """SAHI and others build it from the config.yaml of a training."""
    found = DefaultPredictor(names["cfg"])(names["image"])["instances"]
    want = names["instances"]
    assert torch.equal(found.pred_boxes.tensor, want.pred_boxes.tensor)
    assert torch.equal(found.scores, want.scores)


@pytest.fixture(scope="module")
def onnx_file(folder):
    if not can_write_programs():
        pytest.skip("this torch is too old to write ONNX")
    cfg = small_cfg("MODEL.WEIGHTS", str(folder / "output/my_data/model_best.pth"))
    image = str(folder / "street.jpg")
    export_detector(cfg, str(folder / "fcos.onnx"), "onnx", image=image)
    return folder / "fcos.onnx"


def assert_close(found, want):
    """Up to rounding: two programs add the same numbers in different orders."""
    order = np.lexsort((found["boxes"][:, 0], -found["scores"]))
    assert len(order) == len(want)
    boxes, scores = want.pred_boxes.tensor.numpy(), want.scores.numpy()
    np.testing.assert_allclose(found["boxes"][order], boxes, atol=0.01)
    np.testing.assert_allclose(found["scores"][order], scores, atol=1e-5)
    assert np.array_equal(found["classes"][order], want.pred_classes.numpy())


@needs_onnx
def test_onnxruntime_and_openvino(names, onnx_file):
    run(names, "onnxruntime")
    assert_close(names["found"], names["instances"])
    pytest.importorskip("openvino")
    run(names, "OpenVINO")
    assert_close(names["by_openvino"], names["instances"])


def run_example(name, *words):
    command = [sys.executable, str(ROOT / "examples" / name), *words]
    return subprocess.run(command, capture_output=True, text=True)


@needs_onnx
def test_8_bits(names, onnx_file, folder):
    pytest.importorskip("nncf")
    pytest.importorskip("openvino")
    done = run_example("openvino_int8.py", "fcos.onnx", "datasets/cells/train", "int8.xml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "int8.xml: calibrated on 2 pictures."
    done = run_example("openvino_int8.py", "fcos.onnx", "output", "int8.xml")
    assert done.returncode == 1 and done.stderr.endswith("There are no pictures in output.\n")
    done = run_example("evaluate_file.py", "output/my_data/config.yaml", "int8.xml")
    assert done.returncode == 0, done.stderr
    ap, seconds = done.stdout.splitlines()[-2:]
    assert re.match(r"bbox: AP \d", ap) and "ms per image" in seconds


@needs_onnx
def test_the_ap_of_a_file_is_that_of_the_detector(names, onnx_file):
    from fcos.data import register_custom_datasets
    from fcos.engine import Trainer

    done = run_example("evaluate_file.py", "output/my_data/config.yaml", "fcos.onnx")
    assert done.returncode == 0, done.stderr
    register_custom_datasets(names["cfg"])
    want = Trainer.test(names["cfg"], names["predictor"].model)["bbox"]["AP"]
    assert f"bbox: AP {want:.2f}," in done.stdout


def loader_and_losses(names):
    """Run the data part of the Lightning recipe, and compute the losses of its batch."""
    exec(blocks("Lightning")[0], names)
    from fcos.modeling import ToTorchvision

    model = Predictor(names["cfg"]).model.train()
    (batch,) = names["loader"]
    return ToTorchvision(detector=model, labels=[1, 2, 3])(*batch)


def test_lightning(names):
    pytest.importorskip("lightning")
    want = loader_and_losses(names)
    run(names, "Lightning")
    logged = names["trainer"].logged_metrics
    assert logged.keys() == want.keys()
    before, after = Predictor(names["cfg"]).model, names["training"].model.detector
    changed = [
        not torch.equal(one, other)
        for one, other in zip(before.parameters(), after.parameters(), strict=True)
    ]
    assert any(changed)
    # The first step had the losses of the detector itself.
    training = names["Training"]().train()
    assert training.model.training
    (batch,) = names["loader"]
    training.log_dict = lambda values: logged.update(values)
    training.training_step(batch, 0)
    for name, value in want.items():
        assert logged[name] == value


def test_accelerate(names):
    pytest.importorskip("accelerate")
    loader_and_losses(names)
    torch.manual_seed(3)
    run(names, "Accelerate")
    assert all(loss.isfinite() for loss in names["losses"].values())
    assert names["model"].detector.backbone.bottom_up.stem.weight.grad is None


def test_models_of_torchvision(names):
    run(names, "Models of torchvision")
    assert "AP" in names["results"]["bbox"]


def test_gradio(names, monkeypatch):
    """What the page draws: the boxes above the threshold, each with its class and score."""
    pytest.importorskip("gradio")
    words = ["app.py", "output/my_data/config.yaml", "output/my_data/model_best.pth"]
    monkeypatch.setattr(sys, "argv", words)
    detect = runpy.run_path(str(ROOT / "examples" / "app.py"))["detect"]
    picture, parts = detect(names["image"][:, :, ::-1], 0.5)
    want = names["instances"]
    want = want[want.scores >= 0.5]
    boxes = want.pred_boxes.tensor.round().int().tolist()
    labels = [f"{NAMES[i]} {s:.2f}" for i, s in zip(want.pred_classes, want.scores, strict=True)]
    assert parts == list(zip(map(tuple, boxes), labels, strict=True)) and len(parts) > 5
    assert (picture[:, :, ::-1] == names["image"]).all()
    assert detect(None, 0.5) is None
