"""The table of keys: it has all of them, no config is refused, and a refusal says what to do."""

from pathlib import Path

import pytest
import yaml

import detectron2.config
from fcos.config import add_fcos_config, get_cfg, read_cfg
from fcos.config.config import leaves, value_of
from fcos.config.keys import check_keys
from fcos.config.keys.key import shown
from fcos.config.keys.page import reference_page
from fcos.config.keys.table import TABLE, default_of
from fcos.layers.iou_loss import LOC_LOSS_TYPES
from fcos.layers.loss_normalizer import LOSS_NORMALIZERS
from fcos.modeling.fcos import fcos_assignment, fcos_head, fcos_losses
from fcos.utils.errors import UserError

ROOT = Path(__file__).parents[3]
# Sections of which every key has a row.
COMPLETE = (
    *("MODEL.FCOS.", "MODEL.TIMM.", "MODEL.FPN.", "MODEL.RESNETS.", "MODEL.BACKBONE.", "INPUT."),
    *(
        "SOLVER.",
        "DATASETS.",
        "DATALOADER.",
        "TEST.",
        "SEED",
        "OUTPUT_DIR",
        "VIS_PERIOD",
        "LOGGERS",
    ),
    *("CUDNN_BENCHMARK", "FLOAT32_PRECISION"),
)


def cfg_of(*options):
    cfg = get_cfg()
    cfg.merge_from_list(options)
    return cfg


def test_every_key_has_a_row():
    keys = [key for key in leaves(get_cfg()) if key.startswith(COMPLETE)]
    assert len(keys) > 120
    assert [key for key in keys if key not in TABLE] == []


def test_every_key_of_fcos_is_one_that_detectron2_lacks():
    known = set(leaves(detectron2.config.get_cfg()))
    added = set(leaves(get_cfg())) - known
    assert added | {"DATASETS.CUSTOM"} == {name for name in TABLE if name not in known}
    cfg = detectron2.config.get_cfg()
    add_fcos_config(cfg)
    assert cfg == get_cfg()


def test_a_default_is_a_copy():
    get_cfg().MODEL.FCOS.IN_FEATURES.append("p8")
    assert get_cfg().MODEL.FCOS.IN_FEATURES == ["p3", "p4", "p5", "p6", "p7"]


def test_the_defaults_are_allowed():
    cfg = get_cfg()
    check_keys(cfg)
    assert all(key.kind.accepts(default_of(name)) for name, key in TABLE.items())
    assert all(default_of(name) == value_of(cfg, name) for name in TABLE)


def test_a_config_of_another_detectron2_lacks_keys():
    cfg = get_cfg()
    del cfg["FLOAT32_PRECISION"], cfg.SOLVER["BASE_LR_END"]
    cfg.SOLVER.OF_A_USER = None
    check_keys(cfg)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_config_here_is_allowed(path):
    read_cfg(str(path))


def test_the_choices_are_those_of_the_steps():
    for key, values in {
        "NORM": fcos_head.NORMS,
        "LOCATION": fcos_assignment.LOCATIONS,
        "LOC_LOSS_TYPE": LOC_LOSS_TYPES,
        "BOX_QUALITY": fcos_losses.BOX_QUALITIES,
        "LOSS_NORMALIZER": LOSS_NORMALIZERS,
    }.items():
        assert TABLE[f"MODEL.FCOS.{key}"].kind.choices == tuple(values)


# What detectron2's model zoo sets, beyond what configs/ does.
ZOO = """
MODEL:
  META_ARCHITECTURE: RetinaNet
  WEIGHTS: detectron2://ImageNetPretrained/MSRA/R-50.pkl
  BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone, FREEZE_AT: 0}
  RESNETS: {DEPTH: 152, NORM: SyncBN, OUT_FEATURES: [res5], NUM_GROUPS: 32, RES5_DILATION: 2}
  PROPOSAL_GENERATOR: {NAME: PrecomputedProposals}
  PIXEL_STD: [57.375, 57.120, 58.395]
  FPN: {IN_FEATURES: [res2, res3, res4, res5], NORM: GN}
DATASETS:
  TRAIN: !!python/tuple [voc_2007_trainval, voc_2012_trainval]
  PROPOSAL_FILES_TRAIN: [detectron2://a.pkl]
INPUT: {MIN_SIZE_TRAIN: [640, 864], MIN_SIZE_TRAIN_SAMPLING: range, CROP: {ENABLED: true}}
DATALOADER: {SAMPLER_TRAIN: RepeatFactorTrainingSampler, REPEAT_THRESHOLD: 0.001}
SOLVER: {IMS_PER_BATCH: 128, BASE_LR: 0.16, STEPS: [187500, 197500], MAX_ITER: 202500}
TEST:
  DETECTIONS_PER_IMAGE: 300
  EXPECTED_RESULTS: [[bbox, AP, 46.70, 1.1], [sem_seg, mIoU, 64.73, 1.3]]
  PRECISE_BN: {ENABLED: true}
FLOAT32_PRECISION: highest
"""


def test_a_config_of_another_detector_is_allowed(tmp_path):
    path = tmp_path / "zoo.yaml"
    path.write_text(ZOO.replace("!!python/tuple ", ""))
    read_cfg(str(path))


@pytest.mark.parametrize(
    "key, value, instead",
    [
        ("SOLVER.GAMMA", -1.0, "a number within [0.0001, 1]; the default is 0.1."),
        ("SOLVER.BASE_LR", 1e308, "a number within [1e-09, 10]; the nearest is 10."),
        ("SOLVER.BASE_LR", 1e-300, "a number within [1e-09, 10]; the default is 0.001."),
        ("SOLVER.MAX_ITER", 10**8, "50,000,000 or less."),
        ("SOLVER.MAX_ITER", 100.0, "a whole number from 1 to 50,000,000; the nearest is 100."),
        ("SOLVER.MAX_ITER", None, "a whole number from 1 to 50,000,000; the default is 40000."),
        ("DATALOADER.NUM_WORKERS", -1, "0 or more."),
        ("INPUT.FORMAT", "rgb", "one of 'BGR', 'RGB'; the nearest is 'RGB'."),
        ("INPUT.MIN_SIZE_TRAIN", [-1], "a list of 1 to 1000, each 0, or a whole number from 8"),
        ("INPUT.MIN_SIZE_TRAIN", [], "a list of 1 to 1000, each 0, or a whole number from 8"),
        ("MODEL.FPN.IN_FEATURES", [None], "a list of 0 to 20, each a name of a feature, without"),
        ("MODEL.FCOS.SIZES_OF_INTEREST", [64, 64], "a list of 0 to 19, each a number within [1, "),
        ("MODEL.FCOS.FPN_STRIDES", [8, 0], "4,096; the default is [8, 16, 32, 64, 128]."),
        ("MODEL.FCOS.USE_SCALE", 1, "True or False; the default is True."),
        ("MODEL.PIXEL_STD", [1.0, 0.0, 1.0], "a list of 3, each a number within [0.001, 1,000]; "),
        ("DATASETS.TRAIN", "pets", "a list of any length, each a name of a data set."),
        ("OUTPUT_DIR", "x" * 5000, "the path of a folder, of at most 4,096 characters that can be"),
        ("MODEL.BACKBONE.NAME", "a\nb", "the name of a backbone, of at most 500 characters that"),
        ("OUTPUT_DIR", "", "the path of a folder; the default is './output'."),
        ("LOGGERS", ["wandb", "wandb"], "each one of 'wandb', 'mlflow', without repetition."),
        ("SOLVER.WEIGHT_DECAY_BIAS", -1.0, "within [0, 1]; the nearest is 0, or None."),
        ("SEED", 10**30, "4,000,000,000 or less."),
    ],
)
def test_a_refusal(key, value, instead):
    cfg = get_cfg()
    *parents, last = key.split(".")
    node = cfg
    for part in parents:
        node = node[part]
    node[last] = value
    with pytest.raises(UserError) as error:
        check_keys(cfg)
    text = str(error.value)
    assert text.startswith(f"{key} is {shown(value)}: set it to ") and instead in text


def test_what_is_switched_off_is_checked_too():
    clip = "SOLVER.CLIP_GRADIENTS.CLIP_VALUE"
    for value in (-1.0, None):
        with pytest.raises(UserError, match=rf"^{clip} is {value}: set it to a number within"):
            check_keys(cfg_of(clip, value))


def test_a_section_alone():
    cfg = cfg_of("SOLVER.GAMMA", -1.0, "MODEL.RPN.NMS_THRESH", None)
    check_keys(cfg, "MODEL.", "SEED")
    for section in ("SOLVER.", "SOLVER.GAMMA"):
        with pytest.raises(UserError, match=r"^SOLVER\.GAMMA is"):
            check_keys(cfg, "MODEL.", section)


def test_the_file_is_refused_when_it_is_read(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump({"SOLVER": {"GAMMA": -1.0}}))
    with pytest.raises(UserError, match=r"^SOLVER\.GAMMA is -1\.0: set it to"):
        read_cfg(str(path))
    with pytest.raises(UserError, match=r"^INPUT\.MAX_SIZE_TEST is 0: set it to 8 or more\.$"):
        read_cfg(str(path), ["SOLVER.GAMMA", "0.1", "INPUT.MAX_SIZE_TEST", "0"])


def test_the_reference_page_is_that_of_the_table():
    written = (ROOT / "docs" / "CONFIG.md").read_text()
    assert written == reference_page(), "docs/CONFIG.md is stale: run make docs"
