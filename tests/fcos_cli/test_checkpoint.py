"""python -m fcos.checkpoint: what a file is, and the way to another layout and back."""

import os

import numpy as np
import pytest
import torch
from torchvision.models.detection import fcos_resnet50_fpn

from detectron2.modeling import build_model
from fcos.checkpoint import AdetCheckpointer, read_checkpoint
from fcos.checkpoint.architecture import architecture_of, fitting_configs
from fcos.checkpoint.importers import FAMILIES, HEAD, recognise
from fcos.checkpoint.stored_config import CONFIG, stored_text
from fcos.checkpoint.writing import write_weights
from fcos.config import get_cfg
from fcos_cli.checkpoint import main
from tests.helpers import golden
from tests.published import CONFIGS, MODELS, config_of, family_of, shapes_of, weights_of


def light(shapes):
    """Tensors of these shapes that take no room, in a file neither."""
    return {n: torch.zeros(1).expand(s) if s else torch.tensor(0.0) for n, s in shapes.items()}


# ---- inspect ---------------------------------------------------------------------------------

ARCHITECTURES = {
    "adet_RT_DLA_34": "timm's dla34, FPN with no level on top, 0 convolutions per tower after 4 "
    "shared ones, norm BN",
    "adet_dcnv2": "ResNeXt-101-32x8d, deformable convolution in res4, res5, FPN with P6 and P7 on "
    "top from p5, 4 convolutions per tower, norm GN, the last one deformable",
}


@pytest.mark.parametrize("key", MODELS)
def test_inspect_tells_the_families_apart(key, tmp_path, capsys):
    torch.save(light(shapes_of(key)), tmp_path / "a.pth")
    assert main(["inspect", str(tmp_path / "a.pth")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()[:5])
    assert lines["family"] == family_of(key)
    assert lines["architecture"] == ARCHITECTURES.get(
        key, "ResNet-50, FPN with P6 and P7 on top from p5, 4 convolutions per tower, norm GN"
    )
    assert lines["classes"] == ("91" if family_of(key) == "torchvision" else "80")
    assert lines["type"] == "float32"


@pytest.mark.parametrize("key", MODELS)
def test_inspect_names_the_config(key, tmp_path, capsys):
    torch.save({"state_dict": light(shapes_of(key))}, tmp_path / "a.pth")
    main(["inspect", str(tmp_path / "a.pth")])
    text = capsys.readouterr().out
    assert f"configs/published/{CONFIGS[key]}.yaml" in text
    assert ("non-commercial" in text) == (family_of(key) in ("adelaidet", "original"))
    several = text.count("configs/published/") > 1
    assert several == ("only its source tells which" in text)


def test_the_number_of_parameters_is_the_published_one(tmp_path, capsys):
    torch.save(light(shapes_of("torchvision_R_50")), tmp_path / "a.pth")
    main(["inspect", str(tmp_path / "a.pth")])
    # 32,269,600 as torchvision states, and a scale and a shift for the 26,560 channels of its
    # frozen normalisation, which it does not count.
    assert f"{32_269_600 + 2 * 26_560:,}" in capsys.readouterr().out


def test_an_architecture_without_a_config(tmp_path, capsys):
    shapes = shapes_of("adet_R_50_1x") | {HEAD + "cls_logits.bias": [7]}
    shapes |= {"backbone.fpn_output5.norm.weight": [256], "backbone.fpn_output5.norm.bias": [256]}
    shapes |= {"roi_heads.mask_head.predictor.weight": [7, 256, 1, 1]}
    for name in list(shapes):
        if "tower.9." in name or "tower.10." in name or "top_block" in name:
            del shapes[name]
    torch.save(light(shapes), tmp_path / "a.pth")
    main(["inspect", str(tmp_path / "a.pth")])
    text = capsys.readouterr().out
    assert (
        "none of configs/published/adelaidet fits; the parameters tell MODEL.RESNETS.DEPTH" in text
    )
    assert "3 convolutions per tower, norm GN, a mask head\n" in text
    assert "MODEL.RESNETS.RES2_OUT_CHANNELS 256 MODEL.FPN.IN_FEATURES \"['res3','res4'," in text
    assert "MODEL.FPN.OUT_CHANNELS 256 MODEL.FPN.NORM GN" in text
    assert "MODEL.MASK_ON True" in text
    assert "MODEL.FCOS.NUM_STACKED_CONVS 3" in text
    assert "MODEL.FCOS.TOP_LEVELS 0" in text
    assert "classes       7" in text


@pytest.mark.parametrize("key", ["adet_R_50_1x", "tianzhi_R_50_1x"])
def test_inspect_names_what_has_no_place(key, tmp_path, capsys):
    shapes = shapes_of(key)
    torch.save(light(shapes), tmp_path / "a.pth")
    main(["inspect", str(tmp_path / "a.pth")])
    assert "not known" not in capsys.readouterr().out
    torch.save(light(shapes | {"rpn.head.more.bias": [2]}), tmp_path / "a.pth")
    assert main(["inspect", str(tmp_path / "a.pth")]) == 0
    wanted = "not known     1 entries, such as rpn.head.more.bias, for which no config of this "
    assert wanted in capsys.readouterr().out


def test_a_file_of_no_family_is_said_to_be_that(tmp_path, capsys):
    torch.save({"head.cls_score.weight": torch.ones(1)}, tmp_path / "a.pth")
    assert main(["inspect", str(tmp_path / "a.pth")]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {tmp_path}/a.pth is of no family that is known here (adel")
    assert "its 1 names, such as head.cls_score.weight, are not those of their FCOS" in error
    assert main(["inspect", str(tmp_path / "b.pth")]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "detector", "classes"),
    [
        ("MODEL.META_ARCHITECTURE RetinaNet MODEL.RETINANET.NUM_CLASSES 3", "RetinaNet", "3"),
        (
            "MODEL.META_ARCHITECTURE ProposalNetwork MODEL.PROPOSAL_GENERATOR.NAME RPN",
            "ProposalNetwork (RPN)",
            "none: proposals have no class",
        ),
        (
            "MODEL.META_ARCHITECTURE GeneralizedRCNN MODEL.PROPOSAL_GENERATOR.NAME RPN "
            "MODEL.MASK_ON True MODEL.ROI_HEADS.NAME StandardROIHeads",
            "GeneralizedRCNN (RPN, StandardROIHeads, with masks)",
            "80",
        ),
    ],
)
def test_another_detector_that_was_trained_here(options, detector, classes, tmp_path, capsys):
    cfg = get_cfg()
    cfg.merge_from_list(options.split())
    content = {"model": {"head.cls_score.weight": torch.ones(2)}, CONFIG: stored_text(cfg)}
    torch.save(content, tmp_path / "a.pth")
    assert main(["inspect", str(tmp_path / "a.pth")]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines == {
        "detector": f"{detector}, as the config in the file says",
        "classes": classes,
        "parameters": "2, with those of normalisation",
        "type": "float32",
        "config": "carried by the file: no --config-file is needed",
    }


# ---- convert ---------------------------------------------------------------------------------


def small_weights(key, seed=0):
    """Random values; kernels are made small, but what tells the architecture stays."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes_of(key).items():
        small = [min(side, 8) for side in shape]
        values = torch.rand(small, generator=generator) + 0.1
        weights[name] = torch.tensor(0) if name.endswith("tracked") else values
    return weights


def same(a, b):
    return a.keys() == b.keys() and all(a[n].equal(b[n]) for n in a)


@pytest.mark.parametrize(
    "to, ending", [*((name, ".pth") for name in FAMILIES), ("original", ".safetensors")]
)
@pytest.mark.parametrize(
    "key", ["adet_R_50_1x", "tianzhi_R_50_1x", "torchvision_R_50", "mmdet_R_50_1x"]
)
def test_there_and_back_is_the_identity(key, to, ending, tmp_path):
    if ending == ".safetensors":
        pytest.importorskip("safetensors")
    weights, home = small_weights(key), family_of(key)
    for name in weights:
        if ".scales." in name and not FAMILIES[to].has_scales:
            weights[name] = torch.ones_like(weights[name])
    source, other, back = (str(tmp_path / f"{name}{ending}") for name in "abc")
    torch.save({"model": weights, "iteration": 3}, source)
    assert main(["convert", source, other, "--to", to]) == 0
    assert main(["convert", other, back, "--to", home]) == 0
    assert same(read_checkpoint(back)["model"], weights)
    assert os.stat(back).st_mode == os.stat(source).st_mode  # readable for the same people
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_forms_of_the_files(tmp_path):
    torch.save(small_weights("torchvision_R_50"), tmp_path / "a.pth")
    content = {}
    for to in FAMILIES:
        main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", to])
        content[to] = torch.load(tmp_path / "b.pth", weights_only=True)
    assert all(name.startswith("module.") for name in content["original"]["model"])
    assert set(content["mmdetection"]) == {"meta", "state_dict"}
    assert "head.cls_score.bias" in content["detectron2"]["model"]
    assert "head.regression_head.bbox_reg.bias" in content["torchvision"]
    assert content["adelaidet"][HEAD + "scales.4.scale"].equal(torch.ones(1))


def test_what_mmdetection_must_be_built_with_is_said(tmp_path, capsys):
    arguments = [str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", "mmdetection"]
    weights = small_weights("adet_R_50_1x")
    for name in weights:
        if "_tower." in name and name.endswith(".bias") and name.split(".")[-2] in "0369":
            weights[name] = torch.zeros_like(weights[name])
    torch.save(weights, arguments[0])
    assert main(["convert", *arguments]) == 0
    assert "conv_bias" not in capsys.readouterr().out
    assert "bbox_head.cls_convs.0.conv.bias" not in read_checkpoint(arguments[1])["model"]
    weights[HEAD + "bbox_tower.6.bias"] += 1
    torch.save(weights, arguments[0])
    assert main(["convert", *arguments]) == 0
    assert "unless its bbox_head is built with conv_bias=True." in capsys.readouterr().out
    assert "bbox_head.cls_convs.0.conv.bias" in read_checkpoint(arguments[1])["model"]


def test_nothing_is_left_of_a_conversion_that_fails(tmp_path, capsys):
    weights = small_weights("adet_R_50_1x")
    torch.save(weights, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(b"earlier")
    arguments = ["convert", str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", "torchvision"]
    assert main(arguments) == 1
    assert "no factors for the levels, but here they are learned" in capsys.readouterr().err
    assert (tmp_path / "b.pth").read_bytes() == b"earlier"
    arguments[2] = str(tmp_path / "nowhere" / "b.pth")
    arguments[-1] = "mmdetection"
    assert main(arguments) == 1
    assert "b.pth cannot be written: No such file or directory" in capsys.readouterr().err


def test_a_conversion_does_not_replace_its_source(tmp_path, capsys):
    """Which has more in it than its weights: the state of a training, names of classes."""
    torch.save({"model": small_weights("adet_R_50_1x"), "iteration": 9}, tmp_path / "a.pth")
    (tmp_path / "link.pth").symlink_to(tmp_path / "a.pth")
    arguments = ["convert", str(tmp_path / "a.pth"), str(tmp_path / "link.pth")]
    assert main([*arguments, "--to", "adelaidet"]) == 1
    error = capsys.readouterr().err
    assert error == f"Error: {arguments[2]} would overwrite {arguments[1]}: choose another place.\n"
    assert torch.load(tmp_path / "a.pth", weights_only=True)["iteration"] == 9


def test_ctrl_c_shows_no_traceback(monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fcos.checkpoint.inspect", stopped)
    assert main(["inspect", "a.pth"]) == 130


def test_torchvision_itself_detects_the_same_with_exported_weights(tmp_path):
    """Our model with torchvision's config, and torchvision's with our weights."""
    model = build_model(config_of("torchvision_R_50")).eval()
    model.load_state_dict(FAMILIES["torchvision"].to_ours(weights_of("torchvision_R_50")).weights)
    torch.save(model.state_dict(), tmp_path / "ours.pth")
    main(["convert", str(tmp_path / "ours.pth"), str(tmp_path / "tv.pth"), "--to", "torchvision"])
    image = golden("models.npz")["photo/rgb"][:96, :120].transpose(2, 0, 1)
    image = torch.from_numpy(np.ascontiguousarray(image)).float()

    theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, min_size=96, max_size=120)
    theirs.load_state_dict(torch.load(tmp_path / "tv.pth", weights_only=True))
    with torch.no_grad():
        (want,) = theirs.eval()([image / 255])
        images = model.preprocess_image([{"image": image}])
        (got,), _ = model.proposal_generator(images, model.backbone(images.tensor))
    assert len(want["scores"]) > 5
    torch.testing.assert_close(got.scores, want["scores"], atol=1e-5, rtol=0)
    assert got.pred_classes.equal(want["labels"])
    torch.testing.assert_close(got.pred_boxes.tensor, want["boxes"], atol=0.01, rtol=0)


def own_memory():
    """Bytes of this process that are not pages of files."""
    with open("/proc/self/status") as file:
        (line,) = (line for line in file if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Linux tells it")
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_conversion_leaves_the_tensors_in_the_file(ending, tmp_path, monkeypatch):
    if ending == ".safetensors":
        pytest.importorskip("safetensors")
    weights = small_weights("adet_R_50_1x")
    weights["backbone.bottom_up.res5.0.conv1.weight"] = torch.zeros(64 << 20, dtype=torch.uint8)
    source, target = (str(tmp_path / f"{name}{ending}") for name in "ab")
    write_weights(source, weights)
    del weights
    seen = []

    def watch(*arguments):
        seen.append(own_memory())
        write_weights(*arguments)

    monkeypatch.setattr("fcos.checkpoint.conversion.write_weights", watch)
    before = own_memory()
    assert main(["convert", source, target, "--to", "original"]) == 0
    assert seen[0] - before < 32 << 20  # of the 64 MiB
    assert os.path.getsize(target) > 64 << 20


# ---- safetensors -----------------------------------------------------------------------------


def test_weights_are_loaded_from_safetensors(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    model, source = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    save_file(source.state_dict(), tmp_path / "weights")  # the name does not decide
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(tmp_path / "weights"))
    assert checkpointer.coverage.missing == ()
    assert model.weight.equal(source.weight)


def test_without_safetensors_one_sentence_says_so(tmp_path, monkeypatch, capsys):
    torch.save(small_weights("torchvision_R_50"), tmp_path / "a.pth")
    path = tmp_path / "a.safetensors"
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    arguments = ["convert", str(tmp_path / "a.pth"), str(path), "--to", "adelaidet"]
    assert main(arguments) == 1
    wanted = f"Error: {path} is in the format safetensors, but the package is not installed: pip"
    assert wanted in capsys.readouterr().err
    path.write_bytes((2).to_bytes(8, "little") + b"{}")
    assert main(["inspect", str(path)]) == 1
    assert wanted in capsys.readouterr().err


@pytest.mark.parametrize("length", [9, 60, 200])
def test_a_truncated_file_of_safetensors(tmp_path, length, capsys):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"a.weight": torch.ones(100)}, tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:length])
    assert main(["inspect", str(tmp_path / "b.safetensors")]) == 1
    error = capsys.readouterr().err
    assert "is truncated, damaged or no weights file at all" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("to", ["original", "mmdetection"])
def test_a_deformable_model_goes_there_and_back(to, tmp_path):
    weights = small_weights("adet_dcnv2")
    source, other, back = (str(tmp_path / f"{name}.pth") for name in "abc")
    torch.save(weights, source)
    assert main(["convert", source, other, "--to", to]) == 0
    assert main(["convert", other, back, "--to", "adelaidet"]) == 0
    assert same(read_checkpoint(back)["model"], weights)


@pytest.mark.parametrize(
    "path",
    [
        "adelaidet/RT_MS_R_50_4x_bn_head",
        "adelaidet/MS_X_101_64x4d_2x",
        "original/imprv_dcnv2_R_50_FPN_1x",
        "mmdetection/R_50_caffe_tricks_dcn_1x",
        "adelaidet/RT_MS_R_50_4x",
        "adelaidet/RT_MS_DLA_34_4x",
    ],
)
def test_the_model_of_a_config_leads_back_to_the_config(path):
    cfg = get_cfg()
    cfg.merge_from_file(f"configs/published/{path}.yaml")
    cfg.MODEL.DEVICE = "meta"
    if "DLA" in path:
        pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        weights = build_model(cfg).state_dict()
    fitting = fitting_configs(path.split("/")[0], architecture_of(weights))
    assert f"configs/published/{path}.yaml" in fitting
    assert not [other for other in fitting if "R_101" in other or "32x8d" in other]
    assert not [other for other in fitting if ("DLA" in other) != ("DLA" in path)]
    assert recognise(weights).name == "adelaidet"  # our own names
