"""python -m fcos.checkpoint record and verify: from a weights file to pass or fail."""

import pytest
import torch
import yaml

from detectron2.modeling import build_model
from fcos.checkpoint.importers import FAMILIES, HEAD
from fcos.evaluation.reference import Reference, read_reference, write_reference
from fcos.predict.predictor import Predictor
from fcos_cli.checkpoint import main
from tests.helpers import golden, tiny_cfg
from tests.published import CONFIGS, filled, weights_of

RULES = [
    ["cls_logits.weight", {"factor": 2.0}],
    ["cls_logits.bias", {"shift": -5.0}],
    ["bbox_pred.weight", {"factor": 2.5}],
    ["bbox_pred.bias", {"shift": 1.5}],
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small detector: its config, its weights, and what it detects in the built-in image."""
    folder = tmp_path_factory.mktemp("tiny")
    cfg = tiny_cfg()
    cfg.MODEL.FCOS.NORM, cfg.MODEL.FCOS.NORMALIZE_REG_TARGETS = "GN", True
    cfg.MODEL.DEVICE = "cuda"  # --device decides
    keys = "META_ARCHITECTURE DEVICE PROPOSAL_GENERATOR BACKBONE RESNETS FPN FCOS".split()
    content = {"MODEL": {key: yaml.safe_load(cfg.MODEL.dump())[key] for key in keys}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content))
    cfg.MODEL.DEVICE = "cpu"
    shapes = {name: list(v.shape) for name, v in build_model(cfg).state_dict().items()}
    weights = {name: filled(name, shape, RULES) for name, shape in shapes.items()}
    torch.save(weights, folder / "a.pth")
    config = ["--config-file", str(folder / "tiny.yaml")]
    assert main(["record", str(folder / "a.pth"), *config, "--out", str(folder / "a.npz")]) == 0
    return folder


def test_what_was_recorded_is_found_again(tiny, capsys):
    assert main(["verify", str(tiny / "a.pth"), "--against", str(tiny / "a.npz")]) == 0
    text = capsys.readouterr().out
    number = len(read_reference(str(tiny / "a.npz")).scores)
    assert number > 3
    assert f"reference   {number} detections, by fcos " in text
    assert f"pairs       {number}, of one class each; 0 only in the reference, 0 only here" in text
    assert "boxes       largest difference 0 px, 0.01 allowed" in text
    assert f"result      the same: {tiny / 'a.pth'} detects what is recorded" in text


def test_float32_is_not_rounded_on_a_gpu(tiny, monkeypatch):
    seen = []

    def watch(self, image):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return call(self, image)

    call = Predictor.__call__
    monkeypatch.setattr(Predictor, "__call__", watch)
    before = torch.backends.cudnn.allow_tf32
    assert main(["verify", str(tiny / "a.pth"), "--against", str(tiny / "a.npz")]) == 0
    assert seen == [(False, False)]
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize(
    "name, shift", [("bbox_pred.bias", 0.01), ("ctrness.bias", 0.01), ("cls_logits.bias", 1.0)]
)
def test_other_weights_fail(tiny, name, shift, tmp_path, capsys):
    weights = torch.load(tiny / "a.pth", weights_only=True)
    weights[HEAD + name] = weights[HEAD + name] + shift
    torch.save(weights, tmp_path / "b.pth")
    assert main(["verify", str(tmp_path / "b.pth"), "--against", str(tiny / "a.npz")]) == 1
    assert "result      NOT the same: " in capsys.readouterr().out


@pytest.mark.parametrize("to", FAMILIES)
def test_a_converted_file_passes(tiny, to, tmp_path):
    weights = torch.load(tiny / "a.pth", weights_only=True)
    for name in weights:
        if ".scales." in name:
            weights[name] = torch.ones(1)
    torch.save(weights, tmp_path / "a.pth")
    files = [str(tmp_path / name) for name in ("a.pth", "b.pth", "a.npz")]
    config = ["--config-file", str(tiny / "tiny.yaml")]
    options = ["--opts", "MODEL.FCOS.USE_SCALE", str(FAMILIES[to].has_scales)]
    assert main(["record", files[0], *config, "--out", files[2]]) == 0
    assert main(["convert", *files[:2], "--to", to]) == 0
    assert main(["verify", files[1], "--against", files[2], *options]) == 0


def test_the_options_are_recorded(tiny, tmp_path, capsys):
    out = str(tmp_path / "b.npz")
    config = ["--config-file", str(tiny / "tiny.yaml"), "--out", out, "--source", "me"]
    options = ["--opts", "MODEL.FCOS.NMS_POST_TOPK", "2"]
    assert main(["record", str(tiny / "a.pth"), *config, *options]) == 0
    reference = read_reference(out)
    assert (reference.options, reference.source) == (tuple(options[1:]), "me")
    assert len(reference.scores) == 2
    assert main(["verify", str(tiny / "a.pth"), "--against", out]) == 0
    capsys.readouterr()
    options[2] = "1"
    assert main(["verify", str(tiny / "a.pth"), "--against", out, *options]) == 1
    assert "pairs       1, of one class each; 1 only in the" in capsys.readouterr().out


def test_mistakes_are_one_sentence(tiny, tmp_path, capsys):
    weights, reference = str(tiny / "a.pth"), str(tiny / "a.npz")
    config = ["--config-file", str(tiny / "tiny.yaml")]

    def error_of(*arguments):
        assert main([*arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("Error: ") and error.count("\n") == 1
        return error

    assert "does not exist" in error_of("verify", "no.pth", "--against", reference)
    assert "no.npz cannot be read" in error_of("verify", weights, "--against", "no.npz")
    other = ["--config-file", "configs/no.yaml"]
    assert "configs/no.yaml" in error_of("verify", weights, "--against", reference, *other)
    options = ["--opts", "MODEL.FCOS.NUM_CLASSES", "80"]
    text = error_of("verify", weights, "--against", reference, *options)
    assert "is a detector of 3 classes, but MODEL.FCOS.NUM_CLASSES is 80" in text
    out = str(tmp_path / "b.npz")
    nothing = ["--opts", "MODEL.FCOS.SCORE_THRESH_TEST", "0.9999"]
    text = error_of("record", weights, *config, "--out", out, *nothing)
    assert "detects nothing in the built-in image" in text
    text = error_of("record", weights, *config, "--out", out, "--image", str(tiny / "a.pth"))
    assert "a.pth" in text
    text = error_of("record", weights, *config, "--out", weights)
    assert f"{weights} would overwrite {weights}: choose another place." in text
    if not torch.cuda.is_available():
        text = error_of("verify", weights, "--against", reference, "--device", "cuda")
        assert "torch finds no GPU here" in text
    assert not (tmp_path / "b.npz").exists()


@pytest.mark.parametrize(
    "line",
    [
        "record a.pth --config-file a.yaml --out a.npz --opts MODEL.FCOS.NORM GN --image a.jpg",
        "verify a.pth --against a.npz --opts MODEL.FCOS.NORM GN --device cuda",
    ],
)
def test_the_changes_to_the_config_come_last(line, capsys):
    with pytest.raises(SystemExit) as caught:
        main(line.split())
    said = capsys.readouterr().err
    command, misplaced = line.split()[0], line.split()[-2]
    assert caught.value.code == 2 and said.startswith(
        f"usage: python -m fcos.checkpoint {command} "
    )
    assert f"error: --opts takes all that follows it: put {misplaced} before it" in said


def test_detections_of_another_implementation(tmp_path, capsys):
    """mmdetection's, on a picture, recorded there: the published config gives the same here."""
    key, values = "mmdet_R_50_1x", golden("models.npz")
    torch.save({"meta": {}, "state_dict": weights_of(key)}, tmp_path / "a.pth")
    detections = [values[f"{key}/det/{name}"] for name in ("boxes", "scores", "classes")]
    config = f"configs/published/{CONFIGS[key]}.yaml"
    reference = Reference(values["photo/rgb"], *detections, config, source="mmdetection 3.3.0")
    write_reference(str(tmp_path / "a.npz"), reference)
    assert main(["verify", str(tmp_path / "a.pth"), "--against", str(tmp_path / "a.npz")]) == 0
    assert "34 detections, by mmdetection 3.3.0" in capsys.readouterr().out
