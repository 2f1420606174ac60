"""The config: its defaults, and one sentence for each mistake of a user."""

import os
import pickle
import re

import pytest

import detectron2.config
from fcos.config import CfgNode, add_fcos_config, get_cfg
from fcos.utils.errors import UserError

COURSE_DEFAULTS = {
    "TOP_LEVELS": 2,
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "FPN_STRIDES": [8, 16, 32, 64, 128],
    "SIZES_OF_INTEREST": [64, 128, 256, 512],
    "NUM_CLASSES": 80,
    "NUM_SHARED_CONVS": 0,
    "NUM_STACKED_CONVS": 4,
    "PRIOR_PROB": 0.01,
    "USE_DEFORMABLE": False,
    "LOSS_ALPHA": 0.25,
    "LOSS_GAMMA": 2.0,
    "SCORE_THRESH_TEST": 0.05,
    "NMS_THRESH_TEST": 0.6,
    "NMS_PRE_TOPK": 1000,
    "NMS_POST_TOPK": 100,
    "NORM": "none",
    "CTR_ON_REG": False,
    "CENTER_SAMPLE": False,
    "POS_RADIUS": 1.5,
    "LOC_LOSS_TYPE": "iou",
    "NORMALIZE_REG_TARGETS": False,
}


def test_the_defaults_that_other_peoples_configs_rely_on():
    node = get_cfg().MODEL.FCOS
    assert {key: node[key] for key in COURSE_DEFAULTS} == COURSE_DEFAULTS


def test_detectron2s_own_defaults_are_untouched():
    ours, theirs = get_cfg(), detectron2.config.get_cfg()
    assert not {"FCOS", "TIMM"} & theirs.MODEL.keys()
    del ours.MODEL["FCOS"], ours.MODEL["TIMM"], ours.DATASETS["CUSTOM"], ours.TEST["BEST_METRIC"]
    del ours.MODEL["CHANNELS_LAST"], ours.TEST["IMS_PER_BATCH"]
    del ours.MODEL["COMPILE"], ours.MODEL["ACTIVATION_CHECKPOINTING"], ours.SOLVER.AMP["PRECISION"]
    for key in ("STRETCH_RANGE", "MAX_PIXELS", "AUGMENTATIONS"):
        del ours.INPUT[key]
    del ours.DATALOADER["SKIP_UNREADABLE"], ours["LOGGERS"]
    del ours.TEST["VALIDATION_LOSS"], ours.TEST["PATIENCE"]
    del ours.SOLVER["OPTIMIZER"], ours.SOLVER["ACCUMULATION_STEPS"], ours.SOLVER["EMA_DECAY"]
    assert ours == theirs


def test_keys_can_be_added_to_detectron2s_own_config():
    cfg = detectron2.config.get_cfg()
    add_fcos_config(cfg)
    assert cfg.MODEL.FCOS.NUM_CLASSES == 80
    assert type(cfg.MODEL.FCOS) is type(cfg)


def test_every_node_knows_the_messages_and_survives_a_copy():
    cfg = get_cfg()
    for node in (cfg, cfg.MODEL, cfg.MODEL.FCOS, cfg.clone(), pickle.loads(pickle.dumps(cfg))):
        assert type(node) is CfgNode


def write(tmp_path, text, name="config.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_files_with_a_base(tmp_path):
    write(tmp_path, "MODEL: {FCOS: {NUM_CLASSES: 3}}\nSOLVER: {BASE_LR: 0.5}", "base.yaml")
    path = write(tmp_path, "_BASE_: base.yaml\nMODEL: {FCOS: {NUM_CLASSES: 4}}")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    assert (cfg.MODEL.FCOS.NUM_CLASSES, cfg.SOLVER.BASE_LR) == (4, 0.5)


def test_custom_data_sets_are_free_to_name(tmp_path):
    path = write(tmp_path, "DATASETS: {CUSTOM: {cells: {JSON: a.json, IMAGES: a}}}")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    cfg.merge_from_list(["DATASETS.CUSTOM.cells.IMAGES", "b"])
    assert cfg.DATASETS.CUSTOM == {"cells": {"JSON": "a.json", "IMAGES": "b"}}


@pytest.mark.parametrize("value", ["{a: {VOC: x}}", "{'a': {'VOC': 'x'}}", {"a": {"VOC": "x"}}])
def test_custom_data_sets_on_the_command_line(tmp_path, value):
    path = write(tmp_path, "DATASETS: {CUSTOM: {cells: {JSON: a.json, IMAGES: a}}}")
    cfg = get_cfg()
    cfg.merge_from_file(path)
    options = ["SEED", "3", "DATASETS.CUSTOM", value, "DATASETS.CUSTOM.b.YOLO", "y"]
    cfg.merge_from_list([*options, "DATASETS.TRAIN", "('a',)"])
    assert cfg.DATASETS.CUSTOM == {"a": {"VOC": "x"}, "b": {"YOLO": "y"}}
    assert (cfg.SEED, cfg.DATASETS.TRAIN) == (3, ("a",))
    assert get_cfg().load_cfg(cfg.dump()).DATASETS.CUSTOM == cfg.DATASETS.CUSTOM


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("DATASETS.CUSTOM", "pets", "DATASETS.CUSTOM is 'pets': expected a mapping, such as {name"),
        ("DATASETS.CUSTOM", "{a: [", "DATASETS.CUSTOM is not valid YAML: while parsing"),
    ],
)
def test_custom_data_sets_that_are_none(key, value, message):
    with pytest.raises(UserError, match=re.escape(message)):
        get_cfg().merge_from_list([key, value])


@pytest.mark.parametrize(
    "key, nearest",
    [
        ("MODEL.FCOS.NUM_CLASES", "MODEL.FCOS.NUM_CLASSES"),
        ("MODEL.FCOS.BASE_LR", "SOLVER.BASE_LR"),  # the right name in the wrong place
        ("SOLVER.MAXITER", "SOLVER.MAX_ITER"),
        ("solver.max_iter", "SOLVER.MAX_ITER"),
    ],
)
def test_an_unknown_key_names_the_nearest(tmp_path, key, nearest):
    message = f"Unknown config key {key}. Did you mean {nearest}?"
    with pytest.raises(UserError) as error:
        get_cfg().merge_from_list([key, "1"])
    assert str(error.value) == message
    *parts, last = key.split(".")
    text = "".join(f"{'  ' * depth}{part}:\n" for depth, part in enumerate(parts))
    path = write(tmp_path, f"{text}{'  ' * len(parts)}{last}: 1\n")
    with pytest.raises(UserError) as error:
        get_cfg().merge_from_file(path)
    assert str(error.value) == f"{path}: {message}"


def test_an_unknown_key_that_resembles_nothing():
    with pytest.raises(UserError) as error:
        get_cfg().merge_from_list(["QQQQ", "1"])
    assert str(error.value) == "Unknown config key QQQQ."


def test_whole_numbers_are_floats_where_floats_belong(tmp_path):
    (tmp_path / "config.yaml").write_text("MODEL: {FCOS: {POS_RADIUS: 2}}")
    given = CfgNode({"MODEL": {"FCOS": {"POS_RADIUS": 2}}})
    cfgs = [get_cfg() for _ in range(4)]
    cfgs[0].merge_from_file(str(tmp_path / "config.yaml"))
    cfgs[1].merge_from_other_cfg(given)
    cfgs[2].merge_from_list(["MODEL.FCOS.POS_RADIUS", "2"])
    cfgs[3].merge_from_list(["MODEL.FCOS.POS_RADIUS", 2])
    assert [repr(cfg.MODEL.FCOS.POS_RADIUS) for cfg in cfgs] == ["2.0"] * 4
    assert repr(given.MODEL.FCOS.POS_RADIUS) == "2"


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["SEED"], "Options are pairs of KEY and VALUE, but the last one, 'SEED', stands alone"),
        (
            ["SOLVER.IMS_PER_BATCH", "many"],
            r"^SOLVER\.IMS_PER_BATCH is of type int \(now 16\), but many is of type str\.$",
        ),
        (
            ["MODEL.FCOS.POS_RADIUS", "True"],
            r"^MODEL\.FCOS\.POS_RADIUS is of type float \(now 1\.5\), but True is of type bool\.$",
        ),
        (
            ["MODEL.FCOS.POS_RADIUS", "9" * 400],
            r"^MODEL\.FCOS\.POS_RADIUS is of type float \(now 1\.5\), but 9+\S* is of type int\.$",
        ),
        (["MODEL.FCOS.NUM_CLASSES.X", "1"], "Unknown config key MODEL.FCOS.NUM_CLASSES.X"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    with pytest.raises(UserError, match=message):
        get_cfg().merge_from_list(arguments)


def test_a_value_of_another_type_in_a_file(tmp_path):
    path = write(tmp_path, "SOLVER: {IMS_PER_BATCH: many}")
    with pytest.raises(UserError, match=r"config.yaml: SOLVER\.IMS_PER_BATCH is of type int"):
        get_cfg().merge_from_file(path)


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.mkdir [PATH]", "!!python/name:os.system"]
)
@pytest.mark.parametrize("in_base", [False, True])
def test_yaml_that_would_construct_python_objects_is_refused(tmp_path, tag, in_base):
    trace = tmp_path / "executed"
    path = write(tmp_path, f"OUTPUT_DIR: {tag.replace('PATH', str(trace))}\n")
    if in_base:
        path = write(tmp_path, "_BASE_: config.yaml\n", "child.yaml")
    with pytest.raises(UserError, match=r"refused.* constructs? an? (Python )?object"):
        get_cfg().merge_from_file(path)
    assert not trace.exists()
    with pytest.raises(UserError, match="must not construct Python objects"):
        get_cfg().merge_from_file(path, allow_unsafe=True)


@pytest.mark.parametrize(
    "text, message",
    [
        ("MODEL: [", "is not valid YAML"),
        ("just a sentence", "is not a usable config"),
        ("_BASE_: nowhere.yaml", "nowhere.yaml"),
    ],
)
def test_files_that_are_no_config(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        get_cfg().merge_from_file(write(tmp_path, text))


def test_a_missing_file():
    with pytest.raises(UserError, match=r"The config file nowhere.yaml does not exist\."):
        get_cfg().merge_from_file("nowhere.yaml")


@pytest.mark.parametrize(
    "text, message",
    [
        ("_BASE_: config.yaml\n", r"is not a usable config: _BASE_ of .*config\.yaml leads back"),
        ("_BASE_: other.yaml\n", r"_BASE_ leads to more than 50 files, such as .*, perhaps in"),
        ("_BASE_: [other.yaml, other.yaml]\n", r"_BASE_ leads to more than 50 files"),
        ("_BASE_: pipe\n", r"pipe cannot be read: it is a named pipe, not a file\.?$"),
        ("_BASE_: /dev/zero\n", r"/dev/zero cannot be read: it is a device, not a file"),
        ("_BASE_: 5\n", r"config\.yaml holds a _BASE_ that is no path"),
        ("_BASE_: [5]\n", r"config\.yaml holds a _BASE_ that is no path"),
        ("a: &a [*a]\n", r"is not a usable config: an alias leads back to what it is in\.$"),
        ("[" * 100_000, r"is not a usable config: it has more than 50 layers\.$"),
        ("\0", r"config\.yaml cannot be read: it has NUL bytes, so it is no text in UTF-8"),
        ("- 1\n", r"config\.yaml holds no mapping of keys to values"),
    ],
)
def test_configs_that_would_never_end(tmp_path, text, message):
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path, "_BASE_: config.yaml\n", "other.yaml")
    with pytest.raises(UserError, match=message):
        get_cfg().merge_from_file(write(tmp_path, text))


def test_a_chain_of_configs(tmp_path):
    write(tmp_path, "SEED: 5\n", "0.yaml")
    for i in range(1, 40):
        write(tmp_path, f"_BASE_: {i - 1}.yaml\n", f"{i}.yaml")
    cfg = get_cfg()
    for _ in range(2):  # each file anew
        cfg.merge_from_file(str(tmp_path / "39.yaml"))
    assert cfg.SEED == 5


@pytest.mark.parametrize("version", ["abc", "[2]", "2.5", "true"])
def test_a_version_that_is_no_number(version, tmp_path):
    """detectron2 compares it with its own."""
    path = tmp_path / "a.yaml"
    path.write_text(f"VERSION: {version}\n")
    said = "a.yaml is not a usable config: VERSION is .*: set it to 2, or leave it out"
    with pytest.raises(UserError, match=said):
        get_cfg().merge_from_file(str(path))
