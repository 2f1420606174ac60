"""python -m fcos.export, and the example that runs its file."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

import fcos.export.exporting
from detectron2.modeling import build_model
from fcos.checkpoint import (
    AdetCheckpointer,
    ClassThreshold,
    ScoreThresholds,
    add_thresholds,
)
from fcos.config import get_cfg
from fcos.export.torch_files import can_write_programs
from fcos.predict.predictor import Predictor
from fcos_cli.export import main
from tests.export.small import MASKS, noise, small_cfg, small_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

EXAMPLE = Path(__file__).parents[2] / "examples" / "onnx_detect.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """a.yaml, weights of it, and an image that needs no resizing."""
    folder = tmp_path_factory.mktemp("export")
    cfg = small_cfg()
    (folder / "a.yaml").write_text(cfg.dump())
    checkpointer = AdetCheckpointer(small_model(cfg), str(folder))
    checkpointer.class_names = ["cat", "dog", "bird"]
    checkpointer.save("model")
    cv2.imwrite(str(folder / "a.png"), noise(96, 120, 3).numpy())
    return folder


def run(folder, file_format, output, *more, opts=()):
    weights = () if "MODEL.WEIGHTS" in opts else ("MODEL.WEIGHTS", str(folder / "model.pth"))
    return main(
        ["--config-file", str(folder / "a.yaml"), "--format", file_format]
        + ["--output", str(folder / output), *more, "--opts", *weights, *opts]
    )


@pytest.fixture(scope="module")
def onnx_file(folder):
    if not can_write_programs():
        pytest.skip("this torch is too old to write ONNX")
    assert run(folder, "onnx", "made/a.onnx", "--image", str(folder / "a.png")) == 0
    return folder / "made" / "a.onnx"


def test_an_onnx_file_and_what_is_in_it(onnx_file):
    model = onnx.load(onnx_file)
    about = {entry.key: entry.value for entry in model.metadata_props}
    rules = json.loads(about.pop("detection_rules"))
    assert about == {
        "class_names": '["cat", "dog", "bird"]',
        "input_format": "BGR",
        "input_type": "uint8",
        "min_size": "96",
        "max_size": "160",
        "output": "detections",
        "score_threshold": "0.05",
        "confidence_thresholds": "[0.5, 0.5, 0.5]",
        "nms_threshold": "0.6",
        "max_detections": "40",
        "strides": "[8, 16]",
    }
    assert rules["pre_nms_topk"] == 60 and rules["square_root"] is True
    assert [value.name for value in model.graph.input] == ["images"]
    assert not list(onnx_file.parent.glob("*.unfinished"))


def test_the_example_needs_neither_torch_nor_this_package(onnx_file, folder):
    blocked = "import sys; sys.modules['torch'] = sys.modules['fcos'] = None; import runpy; "
    program = f"{blocked} sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0])"
    command = [sys.executable, "-c", program, str(EXAMPLE), str(onnx_file)]
    done = subprocess.run(
        [*command, str(folder / "a.png"), str(folder / "drawn.png")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    cfg = get_cfg()
    cfg.merge_from_file(str(folder / "a.yaml"))
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    image = cv2.imread(str(folder / "a.png"))
    want = Predictor(cfg, default=0.5)(image)
    names = ["cat", "dog", "bird"]
    lines = [
        f"{names[label]} {score:.2f} {' '.join(str(round(side)) for side in box)}"
        for box, score, label in zip(
            want.pred_boxes.tensor.tolist(), want.scores, want.pred_classes, strict=True
        )
    ]
    assert done.stdout.splitlines() == lines and len(lines) > 5
    assert (cv2.imread(str(folder / "drawn.png")) != image).any()
    result = subprocess.run([*command, "gone.png", "b.png"], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == "gone.png is no image that can be read."
    assert "Traceback" not in result.stderr
    nowhere = str(folder / "no" / "b.png")
    result = subprocess.run(
        [*command, str(folder / "a.png"), nowhere], capture_output=True, text=True
    )
    assert (result.returncode, result.stderr) == (1, f"{nowhere} cannot be written.\n")
    result = subprocess.run([*command, "a.png"], capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith("Detect with an ONNX file of")


def test_the_scores_of_the_checkpoint_go_along(folder):
    """And a given score wins."""
    classes = tuple(ClassThreshold(score) for score in (0.3125, None, 0.75))
    found = ScoreThresholds("best F1", "pets", True, False, classes)
    add_thresholds(str(folder / "model.pth"), found, str(folder / "with.pth"))
    weights = ["MODEL.WEIGHTS", str(folder / "with.pth")]
    for words, scores in (
        ((), [0.3125, 0.5, 0.75]),
        (("--confidence-threshold", "0.2"), [0.2] * 3),
    ):
        assert run(folder, "torchscript", "with.pt", *words, opts=weights) == 0
        files = {"metadata.json": ""}
        torch.jit.load(str(folder / "with.pt"), _extra_files=files)
        about = json.loads(files["metadata.json"])
        assert json.loads(about["confidence_thresholds"]) == scores


def test_the_example_is_short():
    assert len(EXAMPLE.read_text().splitlines()) <= 45


def test_torchscript_of_a_detector_with_masks_and_sizes(folder, capsys):
    options = [word for word in MASKS.split() if word]
    cfg = small_cfg("masks")
    torch.save({"model": small_model(cfg).state_dict()}, folder / "masks.pth")
    weights = ["MODEL.WEIGHTS", str(folder / "masks.pth")]
    more = ("--sizes", "--input-type", "float32")
    assert run(folder, "torchscript", "a.pt", *more, opts=[*options, *weights]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{folder}/a.pt: torchscript, 0.")
    assert first.endswith("images, sizes -> boxes, scores, classes, image_index, masks.")
    assert second.startswith("Compared with the detector on three images of two sizes: ")
    assert "detections; boxes differ by at most" in second and "masks by" in second
    files = {"metadata.json": ""}
    script = torch.jit.load(str(folder / "a.pt"), _extra_files=files)
    about = json.loads(files["metadata.json"])
    assert about["class_names"] == '["class 0", "class 1", "class 2"]'
    assert about["input_type"] == "float32"
    outputs = script(noise(1, 3, 64, 80).float(), torch.tensor([[64, 80]]))
    assert len(outputs) == 5 and len(outputs[0]) > 5
    assert not any(output.requires_grad for output in outputs)  # to be used as numpy arrays


def test_raw_in_rgb(folder, capsys):
    options = ["INPUT.FORMAT", "RGB"]
    assert run(folder, "torchscript", "raw.pt", "--raw", opts=options) == 0
    out = capsys.readouterr().out
    assert "-> class_logits, distances, centerness_logits, locations, levels." in out
    assert "two sizes: the outputs differ by at most" in out
    files = {"metadata.json": ""}
    torch.jit.load(str(folder / "raw.pt"), _extra_files=files)
    about = json.loads(files["metadata.json"])
    assert about["input_format"] == "RGB" and about["output"] == "raw"


def test_that_nothing_was_compared_is_said(folder, capsys):
    opts = ["MODEL.FCOS.SCORE_THRESH_TEST", "0.999"]
    assert run(folder, "torchscript", "none.pt", opts=opts) == 0
    assert "In noise there is nothing to detect, so that boxes and" in capsys.readouterr().out
    image = ("--image", str(folder / "a.png"))
    assert run(folder, "torchscript", "none.pt", *image, opts=opts) == 0
    assert "In the image there is nothing to detect" in capsys.readouterr().out


def test_a_file_that_differs_is_not_written(folder, capsys, monkeypatch):
    build = fcos.export.exporting.build_graph

    def build_another(model, *args):
        graph = build(model, *args)
        graph._rules = dataclasses.replace(graph._rules, nms_threshold=0.05)
        return graph

    monkeypatch.setattr(fcos.export.exporting, "build_graph", build_another)
    assert run(folder, "torchscript", "wrong.pt") == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: Nothing was written: as torchscript, this detector computes so")
    assert "without a counterpart" in error
    assert not (folder / "wrong.pt").exists()


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package(folder, capsys, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert run(folder, "onnx", "a.onnx") == 1
    error = capsys.readouterr().err
    assert f"needs the package {name}, which is not installed: pip install -e '.[export]'" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("output", "more", "opts", "message"),
    [
        ("", (), (), "is a folder: name a file."),
        ("a.yaml/b.pt", (), (), "Nothing can be written to"),
        ("model.pth", (), (), "model.pth: choose another place."),
        ("a.pt", (), ("TEST.AUG.ENABLED", "True"), "Error: TEST.AUG.ENABLED is True, but a file"),
        ("a.pt", (), ("MODEL.WEIGHTS", ""), "Error: MODEL.WEIGHTS is empty"),
        ("a.pt", (), ("MODEL.WEIGHTS", "no.pth"), "no.pth does not exist"),
        ("a.pt", (), ("MODEL.FCOS.NUM_CLASSES", "5"), "NUM_CLASSES is 5"),
        (
            "a.pt",
            (),
            ("MODEL.FCOS.NORMS", "GN"),
            "Unknown config key MODEL.FCOS.NORMS. Did you mea",
        ),
        ("a.pt", ("--image", "no.png"), (), "no.png does not exist"),
        (
            "a.pt",
            (),
            ("MODEL.DEVICE", "cuda:77"),
            "Error: MODEL.DEVICE is cuda:77, but torch finds",
        ),
    ],
)
def test_mistakes(folder, capsys, output, more, opts, message):
    assert run(folder, "torchscript", output, *more, opts=opts) == 1
    error = capsys.readouterr().err
    assert message in error and error.startswith("Error: ") and error.count("\n") == 1
    assert not (folder / "a.pt.unfinished").exists()


def test_weights_of_a_backbone_alone(folder, capsys):
    state = build_model(small_cfg()).state_dict()
    backbone = {name: value for name, value in state.items() if name.startswith("backbone.")}
    torch.save({"model": backbone}, folder / "backbone.pth")
    opts = ("MODEL.WEIGHTS", str(folder / "backbone.pth"))
    assert run(folder, "torchscript", "b.pt", opts=opts) == 1
    assert "needs weights for the whole model" in capsys.readouterr().err


def test_ctrl_c_shows_no_traceback(folder, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fcos.export.export_detector", stopped)
    assert run(folder, "onnx", "a.onnx") == 130


def test_mistakes_on_the_command_line(folder, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(folder, "tflite", "a.tflite")
    assert "invalid choice: 'tflite' (choose from" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run(folder, "onnx", "a.onnx", opts=["--raw"])
    assert "--opts takes all that follows it: put --raw before it" in capsys.readouterr().err
