"""Backbones of timm below the FPN: built, trained, run on any size, and what is said otherwise."""

import dataclasses
import sys

import pytest
import torch

from detectron2.modeling import build_backbone, build_model
from fcos.engine.preflight import check_training
from fcos.modeling import TimmBackbone
from fcos.modeling.backbone import (
    check_timm_backbone,
    starts_from_timm,
)
from fcos.modeling.backbone.timm_draft import Draft
from fcos.utils.errors import UserError
from tests.helpers import DEVICE, tiny_cfg
from tests.modeling.test_detector import inputs

timm = pytest.importorskip("timm", reason="timm is not installed (pip install timm)")

MODELS = [
    "dla34",
    "ese_vovnet39b",
    "mobilenetv2_100",
    "convnext_tiny",
    "swin_tiny_patch4_window7_224",
]


def timm_cfg(name, **overrides):
    cfg = tiny_cfg()
    settings = {
        "MODEL.BACKBONE.NAME": "build_fcos_timm_fpn_backbone",
        "MODEL.TIMM.NAME": name,
        "MODEL.TIMM.NORM": "BN",
        **overrides,
    }
    cfg.merge_from_list([x for pair in settings.items() for x in pair])
    return cfg


def detector(name, **overrides):
    torch.manual_seed(0)
    return build_model(timm_cfg(name, **overrides))


@pytest.mark.parametrize("name", MODELS)
def test_it_trains_and_then_detects_at_any_size(name):
    """Three iterations reach every parameter; pictures of no multiple of 32 are padded to one."""
    model = detector(name).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.002)
    first = next(model.backbone.bottom_up.net.parameters())
    before = first.detach().clone()
    totals = []
    for _ in range(3):
        optimizer.zero_grad()
        total = sum(model(inputs()).values())
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0]
    assert [k for k, p in model.named_parameters() if p.grad is None] == []
    assert not first.equal(before)
    names = [k for k in model.state_dict() if k.startswith("backbone.bottom_up.")]
    assert len(names) > 100

    generator = model.eval().proposal_generator
    generator.rules = dataclasses.replace(generator.rules, score_threshold=0.0)
    pictures = [{"image": torch.zeros(3, *size)} for size in ((64, 64), (45, 99))]
    with torch.no_grad():
        for picture in pictures:
            (result,) = model([picture])
            assert result["instances"].image_size == tuple(picture["image"].shape[1:])
            assert len(result["instances"]) > 0


@pytest.mark.parametrize("name", MODELS)
def test_features_are_what_their_names_say(name):
    torch.manual_seed(0)
    backbone = TimmBackbone(name, out_features=["res2", "res3", "res4", "res5"]).eval()
    shapes = backbone.output_shape()
    assert {k: shape.stride for k, shape in shapes.items()} == {
        "res2": 4,
        "res3": 8,
        "res4": 16,
        "res5": 32,
    }
    assert backbone.size_divisibility == 32
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = backbone(image)
        # timm's own model of the same weights, asked for its last feature.
        options = {"strict_img_size": False} if "swin" in name else {}
        own = timm.create_model(name, features_only=True, out_indices=(-1,), **options).eval()
        own.load_state_dict({k.removeprefix("net."): v for k, v in backbone.state_dict().items()})
        (last,) = own(image)
    for k, feature in features.items():
        stride = shapes[k].stride
        assert feature.shape == (1, shapes[k].channels, 64 // stride, 96 // stride)
    assert features["res5"].equal(last.permute(0, 3, 1, 2) if "swin" in name else last)


def test_channels_that_come_last_are_moved():
    """timm's Swin gives (N, H, W, C): a bright patch shows in these rows and columns."""
    backbone = TimmBackbone("swin_tiny_patch4_window7_224", out_features=["res2"]).eval()
    image = torch.zeros(1, 3, 64, 96)
    image[:, :, 32:64, 0:32] = 5
    with torch.no_grad():
        patches = backbone.net["patch_embed"](image)[0]  # 4x4 pixels each
        (theirs,) = backbone.net(image)
        ours = backbone(image)["res2"]
    is_bright = (patches - patches[0, 0]).abs().sum(-1) > 0
    assert is_bright[8:, :8].all() and is_bright.sum() == 8 * 8
    assert ours.shape == (1, 96, 16, 24)
    for row, column in ((0, 0), (3, 17), (15, 2)):
        assert ours[0, :, row, column].equal(theirs[0, row, column])


def test_only_what_the_fpn_takes_is_built():
    """Without res5 there is no last stage, whose parameters would never have a gradient."""
    overrides = {
        "MODEL.FPN.IN_FEATURES": "['res2','res3']",
        "MODEL.FCOS.TOP_LEVELS": "0",
    }
    backbone = build_backbone(timm_cfg("convnext_tiny", **overrides))
    assert sorted(backbone.output_shape()) == ["p2", "p3"]
    sum(level.sum() for level in backbone(torch.rand(1, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    assert not any("stages_2" in k for k in backbone.state_dict())


def test_p6_may_come_from_res5():
    overrides = {"MODEL.FCOS.TOP_IN_FEATURE": "res5", "MODEL.FPN.IN_FEATURES": "['res3','res4']"}
    backbone = build_backbone(timm_cfg("mobilenetv2_100", **overrides))
    assert backbone.top_block.p6.in_channels == 320
    assert [shape.stride for shape in backbone.bottom_up.output_shape().values()] == [8, 16, 32]


def test_of_several_features_of_one_stride_the_last_is_taken():
    """A plain transformer has 12 of stride 16, and takes any size when told to."""
    backbone = TimmBackbone("vit_tiny_patch16_224", out_features=["res4"]).eval()
    assert backbone(torch.rand(1, 3, 64, 96))["res4"].shape == (1, 192, 4, 6)
    blocks = {k.split("blocks.")[1].split(".")[0] for k in backbone.state_dict() if "blocks." in k}
    assert len(blocks) == 12


def test_grey_images():
    backbone = TimmBackbone("mobilenetv2_100", in_channels=1).eval()
    assert backbone(torch.rand(1, 1, 32, 64))["res5"].shape == (1, 320, 1, 2)


# ---- what is not trained ---------------------------------------------------------------------


def statistics(model):
    return {k: v.clone() for k, v in model.state_dict().items() if "running" in k}


@pytest.mark.parametrize("name", ["dla34", "ese_vovnet39b", "mobilenetv2_100"])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_fixed_batch_norm_stays_as_it_is(name, norm):
    backbone = TimmBackbone(name, norm=norm).train()
    before = statistics(backbone)
    features = backbone(torch.rand(2, 3, 32, 32))
    sum(feature.sum() for feature in features.values()).backward()
    after = statistics(backbone)
    assert len(before) > 50
    assert all(before[k].equal(after[k]) == (norm == "FrozenBN") for k in before)
    scales = [m for m in backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert all((m.weight.grad is None) == (norm == "FrozenBN") for m in scales)
    # A file of one setting fits the other, and activations inside of the layers are kept.
    other = TimmBackbone(name, norm="BN" if norm == "FrozenBN" else "FrozenBN").eval()
    other.load_state_dict(backbone.state_dict())
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        assert backbone.eval()(image)["res5"].equal(other(image)["res5"])


@pytest.mark.parametrize(
    "name, freeze_at, first_trained",
    [
        ("resnet18", 0, "conv1"),
        ("resnet18", 1, "layer1"),  # the stem, as on detectron2's ResNets
        ("resnet18", 2, "layer2"),
        ("resnet18", 3, "layer3"),
        ("convnext_tiny", 2, "stages_1"),
        ("swin_tiny_patch4_window7_224", 2, "layers_1"),
    ],
)
def test_the_first_stages_are_frozen(name, freeze_at, first_trained):
    backbone = TimmBackbone(name, norm="BN", freeze_at=freeze_at).train()
    is_trained = {k.removeprefix("net."): p.requires_grad for k, p in backbone.named_parameters()}
    order = list(is_trained.values())
    assert order == sorted(order)  # frozen ones first, then all others
    first = next(k for k, trained in is_trained.items() if trained)
    assert first.startswith(first_trained)
    before = statistics(backbone)
    backbone(torch.rand(2, 3, 32, 32))
    for k, value in statistics(backbone).items():
        scale = k.removeprefix("net.").rpartition(".")[0] + ".weight"
        assert value.equal(before[k]) != is_trained[scale], k


def test_sync_bn_is_torchs():
    backbone = TimmBackbone("dla34", norm="SyncBN", freeze_at=2)
    kinds = {type(m).__name__ for m in backbone.modules() if "Norm" in type(m).__name__}
    assert kinds == {"SyncBatchNorm"}
    frozen = [m for m in backbone.train().modules() if isinstance(m, torch.nn.SyncBatchNorm)]
    assert {m.training for m in frozen} == {True, False}


# ---- pretrained weights ----------------------------------------------------------------------


@pytest.fixture
def downloaded(tmp_path, monkeypatch):
    """What timm "downloads" for mobilenetv2_100: a file of random weights."""
    path = tmp_path / "weights.pth"
    torch.manual_seed(3)
    torch.save(timm.create_model("mobilenetv2_100").state_dict(), path)
    create = timm.create_model

    def create_model(name, pretrained=False, **options):
        overlay = {"pretrained_cfg_overlay": {"file": str(path)}} if pretrained else {}
        return create(name, pretrained=pretrained, **options, **overlay)

    monkeypatch.setattr(timm, "create_model", create_model)
    return {name: value.to(DEVICE) for name, value in torch.load(path).items()}


def test_pretrained_weights_are_timms(downloaded):
    backbone = TimmBackbone("mobilenetv2_100", pretrained=True)
    assert backbone.is_pretrained
    own = {k.removeprefix("net."): v for k, v in backbone.state_dict().items()}
    assert all(v.equal(downloaded[k]) for k, v in own.items())


def test_model_weights_take_the_place_of_timms():
    cfg = timm_cfg("mobilenetv2_100", **{"MODEL.TIMM.PRETRAINED": "True"})
    assert starts_from_timm(cfg)
    cfg.MODEL.WEIGHTS = "detector.pth"
    assert not starts_from_timm(cfg)
    assert not build_backbone(cfg).bottom_up.is_pretrained
    assert not starts_from_timm(tiny_cfg())


@pytest.mark.parametrize(
    "pixel_format, mean, is_said",
    [
        ("RGB", [123.675, 116.28, 103.53], False),
        ("BGR", [123.675, 116.28, 103.53], True),
        ("RGB", [103.53, 116.28, 123.675], True),
    ],
)
def test_other_pixels_than_the_weights_know_are_said(
    downloaded, caplog, pixel_format, mean, is_said
):
    cfg = timm_cfg("mobilenetv2_100", **{"MODEL.TIMM.PRETRAINED": "True"})
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN = pixel_format, mean
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    build_backbone(cfg)
    said = "expect INPUT.FORMAT RGB, MODEL.PIXEL_MEAN [123.675, 116.28, 103.53]"
    assert (said in caplog.text) == is_said


def test_a_download_that_fails_is_one_sentence(monkeypatch):
    """The weights lie on a port of this machine where nobody answers."""
    create = timm.create_model
    nowhere = {"source": "url", "url": "http://127.0.0.1:9/weights.pth", "hf_hub_id": None}

    def create_model(name, pretrained=False, **options):
        overlay = {"pretrained_cfg_overlay": nowhere} if pretrained else {}
        return create(name, pretrained=pretrained, **options, **overlay)

    monkeypatch.setattr(timm, "create_model", create_model)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UserError) as caught:
        TimmBackbone("mobilenetv2_100", pretrained=True)
    sentence = str(caught.value)
    assert sentence.startswith("timm's weights of mobilenetv2_100 could not be loaded (<urlopen ")
    assert "refused" in sentence and "\n" not in sentence
    assert sentence.endswith("or give MODEL.WEIGHTS a file instead.")


# ---- what does not work ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, message",
    [
        ("", r"has no model ''\. timm\.list_models\(\) names all\."),
        ("dla-34", r"has no model 'dla-34'\. Did you mean dla34"),
        ("swin_tiny", r"Did you mean swin_tiny_patch4_window7_224\?"),
        ("dla34.in22k", r"timm has no weights 'in22k' of dla34; it has in1k\."),
        ("hf-hub:someone/something", r"has no model 'hf-hub:someone/something'\."),
        ("vit_tiny_patch16_224", "of stride 16, but the features res3, res4, res5 need stride 8, "),
        ("nest_tiny", "of stride 4, 8, 16, but the features res3, res4, res5 need stride 32;"),
        ("maxvit_tiny_tf_224", r"does not take an image of 96x160 \(.*window"),
        ("inception_v4", "makes 1x384x9x17 of an image of 96x160 where stride 8 should give 1x384"),
    ],
)
def test_models_that_are_no_backbone(name, message):
    with pytest.raises(UserError, match=message):
        TimmBackbone(name)


def test_a_model_without_features(monkeypatch):
    def create_model(name, **options):
        raise RuntimeError("features_only\nnot implemented")

    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(UserError, match=r"does not give the features of its stages \(features_o"):
        TimmBackbone("dla34")


def test_weights_that_do_not_exist():
    with pytest.raises(UserError, match="timm has no weights for coatnet_0_224: set MODEL.TIMM.PR"):
        Draft("coatnet_0_224", 3).build([0], pretrained=True)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.TIMM.NORM", "GN", "NORM is 'GN': set it to one of 'FrozenBN', 'BN', 'SyncBN'"),
        ("MODEL.FPN.IN_FEATURES", "[]", "MODEL.FPN.IN_FEATURES is empty: name the features"),
        ("MODEL.FPN.IN_FEATURES", "['p3']", "'p3' is not a feature; res3 is the one of stride"),
        ("MODEL.BACKBONE.FREEZE_AT", "1", "FREEZE_AT 1 freezes need stride 2; choose another"),
        ("MODEL.FCOS.TOP_LEVELS", "3", "TOP_LEVELS is 3: set it to one of 0, 1, 2"),
    ],
)
def test_settings_that_do_not_fit(key, value, message):
    cfg = timm_cfg("convnext_tiny", **{key: value})
    with pytest.raises(ValueError, match=message):
        build_backbone(cfg)
    with pytest.raises(UserError, match=message):
        check_timm_backbone(cfg)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"MODEL.TIMM.NAME": "bogus"}, "no model 'bogus'"),
        ({"MODEL.TIMM.NAME": ""}, "no model ''"),
        (
            {"MODEL.TIMM.NAME": "mobilenetv3_large_075", "MODEL.TIMM.PRETRAINED": True},
            "has no weights for",
        ),
        ({"MODEL.FCOS.FPN_STRIDES": [4, 8, 16, 32, 64]}, r"expected \[8, 16, 32, 64, 128\]"),
    ],
)
def test_what_is_refused_before_data_are_read(settings, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there is no data set
    named = {"DATASETS.TRAIN": "('absent',)", "MODEL.WEIGHTS": ""}
    cfg = timm_cfg("convnext_tiny", **named, **settings)
    with pytest.raises(UserError, match=message):
        check_training(cfg, resume=False, check_all_images=False)


def test_the_check_takes_no_random_numbers_and_no_memory():
    cfg = timm_cfg("convnext_tiny", **{"MODEL.BACKBONE.FREEZE_AT": 2})
    before = torch.random.get_rng_state()
    check_timm_backbone(cfg)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not cfg.MODEL.TIMM.PRETRAINED and cfg.MODEL.TIMM.NAME == "convnext_tiny"


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"The backbone dla34 needs timm \(.*\): pip install timm"):
        TimmBackbone("dla34")
