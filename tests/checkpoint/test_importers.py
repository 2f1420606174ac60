"""Files of other implementations: names, values, and each mistake in one sentence."""

import logging
import re

import pytest
import torch

from detectron2.data import MetadataCatalog
from detectron2.modeling import ResNet, build_model
from detectron2.modeling.backbone import BasicStem
from fcos.checkpoint import AdetCheckpointer
from fcos.checkpoint.architecture import architecture_of
from fcos.checkpoint.importers import FAMILIES, HEAD, choose_classes, recognise
from fcos.checkpoint.importers.rules import Rule, rename
from fcos.utils.errors import UserError
from fcos_cli.checkpoint import main
from tests.helpers import tiny_cfg
from tests.published import MODELS, family_of, names_of, shapes_of

WHAT = ("weight", "bias")

# ---- rules -----------------------------------------------------------------------------------


def test_a_rule_by_hand():
    rule = Rule("layer{s}.conv{i}.{what}", "res{s+1}.{i*3+1}.{what}")
    assert rule.translate("layer2.conv3.weight", ()) == "res3.10.weight"
    assert rule.translate("res3.10.weight", (), to_ours=False) == "layer2.conv3.weight"
    assert rule.translate("res3.9.weight", (), to_ours=False) is None  # 9 is not 3 * i + 1
    assert rule.translate("res0.1.weight", (), to_ours=False) is None  # nor 0 a stage and one
    assert rule.translate("layer2.conv3.weight.more", ()) is None
    assert rule.translate("layer2xconv3.weight", ()) is None  # a dot is a dot


def test_a_rule_that_takes_the_rest_of_a_name():
    rule = Rule("level{s}.{rest}", "net.level{s}.{rest}")
    assert rule.translate("level2.tree1.conv1.weight", ()) == "net.level2.tree1.conv1.weight"
    assert rule.translate("net.level2.bias", (), to_ours=False) == "level2.bias"
    assert rule.translate("level2.", ()) is None


def test_a_rule_that_needs_another_parameter():
    rule = Rule("{i}.conv.w", "{i}.w", beside=("{i}.offset", "{i}_offset"))
    assert rule.translate("1.conv.w", {"1.offset"}) == "1.w"
    assert rule.translate("1.conv.w", {"2.offset"}) is None
    assert rule.translate("1.w", {"1_offset"}, to_ours=False) == "1.conv.w"


# ---- names of whole models -------------------------------------------------------------------


def on_meta(shapes):
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("key", MODELS)
def test_names_are_those_of_the_reference(key):
    """The tables of names were made by running the implementations with each other's weights."""
    shapes = shapes_of(key)
    family = recognise(shapes)
    assert family.name == family_of(key)
    for name, ours in names_of(key).items():
        if ours is not None:
            assert (rename(name, family.rules, shapes) or name) == ours
    imported = family.to_ours(on_meta(shapes))
    assert set(imported.dropped) == {name for name, ours in names_of(key).items() if not ours}
    assert imported.weights.keys() >= {ours for ours in names_of(key).values() if ours}
    # And back: the same names and shapes.
    left = family.from_ours({n: torch.zeros(v.shape) for n, v in imported.weights.items()})
    assert {name: list(value.shape) for name, value in left.items()} == shapes


OTHERS = {
    "imagenet": ["stem.conv1.weight", "res2.0.conv1.norm.bias"],
    "Mask R-CNN": ["backbone.fpn_lateral2.weight", "proposal_generator.rpn_head.conv.weight"],
    "RetinaNet": ["head.cls_subnet.0.weight", "head.cls_score.weight", "head.bbox_pred.bias"],
    "torchvision's RetinaNet": ["head.classification_head.cls_logits.weight"],
    "mmdetection's RetinaNet": ["bbox_head.cls_convs.0.conv.weight", "bbox_head.retina_cls.bias"],
    "mmdetection's ATSS": ["bbox_head.scales.0.scale", "bbox_head.atss_centerness.bias"],
    "two at once": ["rpn.head.centerness.bias", "head.ctrness.bias"],
    "nothing": [],
}


@pytest.mark.parametrize("names", OTHERS.values(), ids=OTHERS)
def test_other_detectors_and_backbones_are_of_no_family(names):
    assert recognise(names) is None


DEFORMABLE = [
    # Modulated deformable convolution in the backbone and in the towers, with the names of each.
    (
        "original",
        "backbone.body.layer2.0.conv2.offset.bias",
        "backbone.bottom_up.res3.0.conv2_offset.bias",
    ),
    (
        "original",
        "backbone.body.layer2.0.conv2.conv.weight",
        "backbone.bottom_up.res3.0.conv2.weight",
    ),
    ("original", "rpn.head.cls_tower.9.offset.weight", HEAD + "cls_tower.9.offset.weight"),
    ("original", "rpn.head.cls_tower.9.conv.bias", HEAD + "cls_tower.9.conv.bias"),
    (
        "mmdetection",
        "backbone.layer2.0.conv2.conv_offset.weight",
        "backbone.bottom_up.res3.0.conv2_offset.weight",
    ),
    ("mmdetection", "backbone.layer2.0.conv2.weight", "backbone.bottom_up.res3.0.conv2.weight"),
    ("mmdetection", "bbox_head.reg_convs.3.conv.bias", HEAD + "bbox_tower.9.conv.bias"),
    (
        "mmdetection",
        "bbox_head.reg_convs.3.conv.conv_offset.bias",
        HEAD + "bbox_tower.9.offset.bias",
    ),
    ("adelaidet", HEAD + "cls_tower.9.conv.bias", HEAD + "cls_tower.9.conv.bias"),
    ("adelaidet", HEAD + "share_tower.1.2.running_var", HEAD + "share_tower.1.2.running_var"),
]


@pytest.mark.parametrize("family, theirs, ours", DEFORMABLE)
def test_names_of_deformable_models(family, theirs, ours):
    rules = FAMILIES[family].rules
    beside = [
        "backbone.body.layer2.0.conv2.offset.weight",
        "bbox_head.reg_convs.3.conv.conv_offset.weight",
    ]
    assert (rename(theirs, rules, beside) or theirs) == ours
    beside = ["backbone.bottom_up.res3.0.conv2_offset.weight", HEAD + "bbox_tower.9.offset.weight"]
    if family == "mmdetection":  # which has the plain name for both
        beside = beside[1:]
    assert (rename(ours, rules, beside, to_ours=False) or ours) == theirs


def test_older_spellings_are_read():
    layers = {"fcos_centerness": "ctrness", "fcos_cls": "cls_logits", "fcos_reg": "bbox_pred"}
    weights = {f"bbox_head.{name}.bias": torch.ones(1) for name in layers}
    family = recognise(weights)
    assert family.name == "mmdetection"
    ours = [f"{HEAD}{name}.bias" for name in layers.values()]
    assert list(family.to_ours(weights).weights) == ours
    weights = {HEAD + "centerness.bias": torch.ones(1), "pixel_std": torch.ones(3)}
    imported = recognise(weights).to_ours(weights)
    assert (list(imported.weights), imported.dropped) == ([HEAD + "ctrness.bias"], ("pixel_std",))
    weights |= {HEAD + "ctrness.bias": torch.ones(1)}
    with pytest.raises(UserError, match=r"Two entries of the file are .*ctrness\.bias"):
        recognise(weights).to_ours(weights)


NUMBER_OF_BATCHES = "layer1.0.bn1.num_batches_tracked"
DROPPED = {
    "adelaidet": [
        *("pixel_mean", "pixel_std"),
        *(f"backbone.bottom_up.level{level}.project.0.weight" for level in (3, 4)),
    ],
    "original": [f"backbone.body.{NUMBER_OF_BATCHES}"],
    "torchvision": [f"backbone.body.{NUMBER_OF_BATCHES}"],
    "mmdetection": [f"backbone.{NUMBER_OF_BATCHES}"],
    "detectron2": ["pixel_mean", "pixel_std", "anchor_generator.cell_anchors.0"],
}


@pytest.mark.parametrize("family", DROPPED)
def test_what_nothing_is_computed_from_is_dropped(family):
    imported = FAMILIES[family].to_ours(dict.fromkeys(DROPPED[family], torch.zeros(1)))
    assert imported.weights == {} and list(imported.dropped) == DROPPED[family]


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_the_depth_of_a_resnet(depth):
    with torch.device("meta"):
        stages = ResNet.make_default_stages(depth)
        weights = ResNet(BasicStem(), stages).state_dict()
    ours = {f"backbone.bottom_up.{name}": value for name, value in weights.items()}
    assert architecture_of(ours)["MODEL.RESNETS.DEPTH"] == depth


# ---- values ----------------------------------------------------------------------------------


def test_variances_of_the_original_have_no_epsilon():
    """1 / sqrt(var) there is 1 / sqrt(var' + 1e-5) here; nothing is lost on the way back."""
    variance = torch.tensor([1.0, 0.3, 4e-3, 3e-5, 123.0])
    family, name = FAMILIES["original"], "backbone.body.layer1.0.bn1.running_var"
    ours = family.to_ours({name: variance}).weights
    (value,) = ours.values()
    torch.testing.assert_close(value.double() + 1e-5, variance.double(), atol=0, rtol=1e-6)
    assert family.from_ours(ours)[name].equal(variance)


def test_mmdetection_has_no_biases_and_scalars_as_scales():
    family = FAMILIES["mmdetection"]
    weights = {
        "bbox_head.cls_convs.1.conv.weight": torch.ones(8, 8, 3, 3).half(),
        "bbox_head.cls_convs.1.gn.weight": torch.ones(8).half(),
        "bbox_head.cls_convs.1.gn.bias": torch.ones(8).half(),
        "bbox_head.scales.2.scale": torch.tensor(1.5),
    }
    ours = family.to_ours(weights).weights
    assert ours[HEAD + "cls_tower.3.bias"].equal(torch.zeros(8).half())
    assert ours[HEAD + "scales.2.scale"].equal(torch.tensor([1.5]))
    assert family.from_ours(ours).keys() == weights.keys()
    # With biases (conv_bias=True), they are kept.
    weights["bbox_head.cls_convs.1.conv.bias"] = torch.ones(8).half()
    ours = family.to_ours(weights).weights
    assert ours[HEAD + "cls_tower.3.bias"].equal(torch.ones(8).half())
    assert family.from_ours(ours).keys() == weights.keys()


@pytest.mark.parametrize("convs", [1, 4])
def test_mmdetection_without_normalisation(convs):
    """There, a convolution has a bias exactly if no normalisation follows it."""
    cfg = small_cfg()
    cfg.MODEL.FCOS.NORM, cfg.MODEL.FCOS.NUM_STACKED_CONVS = "none", convs
    weights = build_model(cfg).state_dict()
    family = FAMILIES["mmdetection"]
    theirs = family.from_ours(weights)
    names = [name for name in theirs if name.startswith("bbox_head.cls_convs.")]
    assert names == [f"bbox_head.cls_convs.{i}.conv.{w}" for i in range(convs) for w in WHAT]
    ours = family.to_ours(theirs).weights
    assert ours.keys() == {n for n in weights if not n.endswith("num_batches_tracked")}
    assert all(ours[name].equal(weights[name]) for name in ours)
    assert architecture_of(ours)["MODEL.FCOS.NORM"] == "none"


def test_two_parameters_for_one_place_are_refused():
    # The towers of mmdetection's deformable models have normalisation.
    weights = {HEAD + "cls_tower.4.weight": torch.ones(1)}
    weights |= {HEAD + f"cls_tower.6.{part}.weight": torch.ones(1) for part in ("offset", "conv")}
    with pytest.raises(UserError, match=r"has no place for 1 of 3 .*cls_tower\.6\.conv\.weight"):
        FAMILIES["mmdetection"].from_ours(weights)


# As in COCO's instances_val2017.json: eleven of 0 to 90 are no category.
COCO_IDS = [*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70]
COCO_IDS += [*range(72, 83), *range(84, 91)]


def test_the_ids_of_coco_are_those_of_detectron2():
    class_of_id = MetadataCatalog.get("coco_2017_val").thing_dataset_id_to_contiguous_id
    assert class_of_id == {category_id: i for i, category_id in enumerate(COCO_IDS)}


def test_the_80_categories_among_the_91_outputs_of_torchvision():
    weights = {HEAD + "cls_logits.weight": torch.arange(91.0).view(91, 1, 1, 1)}
    weights[HEAD + "cls_logits.bias"] = torch.arange(91.0)
    family = FAMILIES["torchvision"]
    chosen, said = choose_classes(weights, family, 80)
    ids = chosen[HEAD + "cls_logits.bias"].long().tolist()
    assert ids == COCO_IDS
    assert chosen[HEAD + "cls_logits.weight"].flatten().long().tolist() == ids
    assert "80" in said
    for other, wanted in ((family, 91), (family, 3), (FAMILIES["adelaidet"], 80)):
        assert choose_classes(weights, other, wanted) == (weights, "")


def test_a_layout_without_a_place_for_some_of_it():
    with pytest.raises(UserError, match=r"torchvision has no place for 1 of 1 parameters: roi"):
        FAMILIES["torchvision"].from_ours({"roi_heads.box.weight": torch.ones(1)})
    scales = {HEAD + "scales.0.scale": torch.ones(1)}
    assert FAMILIES["torchvision"].from_ours(scales) == {}
    with pytest.raises(UserError, match=r"no factors for the levels.*scales\.0\.scale"):
        FAMILIES["detectron2"].from_ours({HEAD + "scales.0.scale": torch.tensor([1.5])})


# ---- loading into a detector -----------------------------------------------------------------


def small_cfg():
    """A whole detector with the parts that every family has: a bottleneck ResNet and GN."""
    cfg = tiny_cfg()
    cfg.merge_from_list(
        "MODEL.RESNETS.DEPTH 50 MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.RESNETS.NORM FrozenBN "
        "MODEL.RESNETS.RES2_OUT_CHANNELS 16 MODEL.RESNETS.WIDTH_PER_GROUP 4 MODEL.FCOS.NORM GN "
        "MODEL.FCOS.NUM_CLASSES 80".split()
    )
    return cfg


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return build_model(small_cfg())


def load(model, content, path):
    torch.save(content, path)
    checkpointer = AdetCheckpointer(model)
    checkpointer.load(str(path))
    return checkpointer.coverage


def named_as(family, model):
    """The weights of ``model`` as a file of a family has them."""
    return FAMILIES[family].from_ours(model.state_dict())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        lambda w: {"model": w},
        lambda w: {"state_dict": w, "meta": {"epoch": 12}},
        lambda w: {"model": {f"module.{name}": v for name, v in w.items()}},
        lambda w: {f"module.{name}": v for name, v in w.items()},
    ],
    ids=["plain", "model", "state_dict", "model-module", "module"],
)
def test_every_form_of_every_family_fills_the_whole_model(family, wrap, detector, tmp_path):
    model = build_model(small_cfg())
    coverage = load(model, wrap(named_as(family, detector)), tmp_path / "a.pth")
    if FAMILIES[family].has_scales:
        coverage.require_all("Evaluation")
    else:
        assert coverage.missing == tuple(f"{HEAD}scales.{i}.scale" for i in range(5))
    assert coverage.family == family
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, detector.state_dict()[name], atol=1e-6, rtol=0)


def test_the_91_outputs_of_torchvision_in_a_model_of_80_classes(detector, tmp_path):
    weights = named_as("torchvision", detector)
    head = "head.classification_head.cls_logits."
    weights[head + "weight"] = torch.rand(91, 32, 3, 3)
    weights[head + "bias"] = torch.arange(91.0)
    model = build_model(small_cfg())
    assert load(model, weights, tmp_path / "a.pth").mismatched == ()
    assert model.proposal_generator.fcos_head.cls_logits.bias[[0, 79]].tolist() == [1, 90]


@pytest.mark.parametrize("family", ["original", "torchvision", "mmdetection", "detectron2"])
def test_one_name_that_is_wrong_is_named(family, detector, tmp_path):
    weights = named_as(family, detector)
    rules = FAMILIES[family].rules
    theirs = rename(HEAD + "bbox_pred.weight", rules, (), to_ours=False)
    renamed = dict(weights)
    renamed[theirs + "s"] = renamed.pop(theirs)
    coverage = load(detector, renamed, tmp_path / "a.pth")
    for check in (coverage.require_all, lambda _: coverage.require_start(detector, False)):
        with pytest.raises(UserError) as error:
            check("Evaluation")
        assert "missing: " in str(error.value)
        assert HEAD + "bbox_pred.weight" in str(error.value)
        assert f"1 unexpected: {theirs}s" in str(error.value)  # as the file has it
        assert "python -m fcos.checkpoint inspect" in str(error.value)
    extra = weights | {"bbox_head.conv_more.weight": torch.ones(1)}
    coverage = load(detector, extra, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"1 unexpected: bbox_head\.conv_more\.weight"):
        coverage.require_all("Evaluation")
    reshaped = weights | {theirs: torch.ones(4, 16, 3, 3)}
    coverage = load(detector, reshaped, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"bbox_pred\.weight 4x16x3x3 instead of 4x32x3x3"):
        coverage.require_all("Evaluation")


@pytest.mark.parametrize("family", FAMILIES)
def test_fine_tuning_on_three_classes(family, detector, tmp_path):
    cfg = small_cfg()
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    model = build_model(cfg)
    before = model.proposal_generator.fcos_head.cls_logits.weight.clone()
    coverage = load(model, named_as(family, detector), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"detector of 80 classes.*REINIT_CLS_LOGITS True"):
        coverage.require_start(model, False)
    said = coverage.require_start(model, True)
    assert "The class-logit layer is re-initialised, from 80 classes in the file to 3." in said
    head = model.proposal_generator.fcos_head
    assert head.cls_logits.weight.equal(before)
    assert head.bbox_pred.weight.equal(detector.proposal_generator.fcos_head.bbox_pred.weight)


@pytest.mark.parametrize("options", ["NORM BN", "NORM none", "BOX_QUALITY iou CTR_ON_REG True"])
def test_fine_tuning_of_the_other_heads(options, tmp_path):
    cfg = small_cfg()
    cfg.MODEL.FCOS.merge_from_list(options.split())
    weights = build_model(cfg).state_dict()
    cfg.MODEL.FCOS.NUM_CLASSES = 3
    model = build_model(cfg)
    coverage = load(model, {"model": weights}, tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"detector of 80 classes.*REINIT_CLS_LOGITS True"):
        coverage.require_start(model, False)
    assert "from 80 classes in the file to 3." in coverage.require_start(model, True)
    for name, value in model.state_dict().items():
        assert ".cls_logits." in name or value.equal(weights[name])


FOREIGN = {
    "original": "backbone.body.features.1.conv.0.weight",
    "torchvision": "backbone.body.features.1.conv.0.weight",
    "mmdetection": "backbone.stages.0.blocks.0.attn.qkv.weight",
}


@pytest.mark.parametrize("family", FOREIGN)
def test_a_backbone_that_is_not_read_is_said_to_be_that(family, detector, tmp_path, capsys):
    weights = named_as(family, detector)
    theirs = {"original": "backbone.body.", "torchvision": "backbone.body."}
    body = theirs.get(family, "backbone.")
    weights = {name: v for name, v in weights.items() if not name.startswith(body)}
    weights[FOREIGN[family]] = torch.ones(1)
    wanted = (
        f"a.pth is of the family {family}, but its backbone is none that is read here: its 1 "
        f"names, such as {FOREIGN[family]}, are not those of a ResNet; "
    )
    with pytest.raises(UserError, match=re.escape(wanted)):
        load(detector, weights, tmp_path / "a.pth")
    path = str(tmp_path / "a.pth")
    for arguments in (["inspect", path], ["convert", path, f"{path}.b", "--to", "adelaidet"]):
        assert main(arguments) == 1
        assert wanted in capsys.readouterr().err


def test_a_backbone_of_ones_own_is_no_unknown_one(detector, tmp_path):
    weights = {n.replace(".bottom_up.", ".mine."): v for n, v in detector.state_dict().items()}
    model = build_model(small_cfg())
    model.backbone.mine = model.backbone.bottom_up
    del model.backbone.bottom_up
    load(model, weights, tmp_path / "a.pth").require_all("Evaluation")


@pytest.mark.parametrize("family", ["adelaidet", "original"])
def test_the_licence_is_said_once(family, detector, tmp_path, caplog):
    logger = logging.getLogger("fcos.checkpoint.checkpointer")
    logger.addHandler(caplog.handler)
    caplog.set_level("INFO", logger=logger.name)
    try:
        load(detector, named_as(family, detector), tmp_path / "a.pth")
        load(detector, {"model": detector.state_dict(), "iteration": 7}, tmp_path / "b.pth")
    finally:
        logger.removeHandler(caplog.handler)
    lines = {r.getMessage() for r in caplog.records if "non-commercial" in r.getMessage()}
    assert len(lines) == 1
    is_ours = family == "adelaidet"
    assert ("The file is of original; what that computes is in " in lines.pop()) != is_ours
