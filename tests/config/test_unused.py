"""Settings without effect: named where they are set, and truly read by nothing."""

import logging
from pathlib import Path

import numpy as np
import pytest
import yacs.config

from detectron2.data import DatasetCatalog
from fcos.config import get_cfg
from fcos.config.config import leaves
from fcos.config.keys.table import TABLE
from fcos.config.unused import solver_keys, unused_keys, warn_of_unused
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.schedule import doubts
from fcos.modeling.backbone import starts_from_timm
from fcos.predict import Predictor
from tests.tiny import MASK_OPTIONS, write_project

pytestmark = pytest.mark.cpu

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))
ONE_STAGE = ["MODEL.META_ARCHITECTURE", "OneStageDetector", "MODEL.PROPOSAL_GENERATOR.NAME", "FCOS"]

TIMM = ["MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone"]


def cfg_with(*options):
    cfg = get_cfg()
    cfg.merge_from_list([*ONE_STAGE, *options])
    return cfg


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(path.parents[1])))
def test_the_configs_here_give_no_warning(path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    assert unused_keys(cfg) == {}
    assert doubts(cfg, bool(cfg.MODEL.WEIGHTS) or starts_from_timm(cfg)) == []


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], {}),
        (["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.3], {"MODEL.FCOS.SCORE_THRESH_TEST"}),
        (["MODEL.ROI_HEADS.NMS_THRESH_TEST", 0.3], {"MODEL.FCOS.NMS_THRESH_TEST"}),
        (["MODEL.ROI_HEADS.NUM_CLASSES", 3], {"MODEL.FCOS.NUM_CLASSES"}),
        (["TEST.DETECTIONS_PER_IMAGE", 300], {"MODEL.FCOS.NMS_POST_TOPK"}),
        (["MODEL.RPN.PRE_NMS_TOPK_TEST", 300], {"MODEL.FCOS.NMS_PRE_TOPK"}),
        (["MODEL.RETINANET.NORM", "BN"], {"MODEL.FCOS.NORM"}),
        (["MODEL.ANCHOR_GENERATOR.SIZES", [[8]]], {""}),
        (["MODEL.ROI_MASK_HEAD.NUM_CONV", 4], {""}),
        (["MODEL.TIMM.NAME", "resnet18"], {""}),
        ([*TIMM, "MODEL.RESNETS.NORM", "BN"], {"MODEL.TIMM.NORM"}),
        ([*TIMM, "MODEL.TIMM.NAME", "resnet18"], {}),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.STEPS", (10,)], {""}),
        (["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.STEPS", [30000]], {}),
        (["SOLVER.BASE_LR_END", 0.0001], {""}),
        (["SOLVER.NUM_DECAYS", 2], {""}),
        # Read by FCOS, or switched off by another key, or of another detector.
        (["MODEL.FCOS.SCORE_THRESH_TEST", 0.3, "INPUT.CROP.SIZE", [0.5, 0.5]], {}),
        (["MODEL.PROPOSAL_GENERATOR.NAME", "RPN", "MODEL.RPN.NMS_THRESH", 0.5], {}),
        ([*MASK_OPTIONS, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 16], {}),
        (
            [*MASK_OPTIONS, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.3],
            {"MODEL.FCOS.SCORE_THRESH_TEST"},
        ),
    ],
)
def test_what_is_found(options, found):
    assert set(unused_keys(cfg_with(*options)).values()) == set(found)


def test_other_heads_on_the_boxes_of_fcos_read_their_own_keys():
    options = [
        "MODEL.META_ARCHITECTURE",
        "GeneralizedRCNN",
        "MODEL.ROI_HEADS.NAME",
        "StandardROIHeads",
    ]
    options += ["MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.3, "MODEL.ROI_BOX_HEAD.NUM_FC", 2]
    assert unused_keys(cfg_with(*options)) == {}
    assert unused_keys(cfg_with(*options, "MODEL.RPN.NMS_THRESH", 0.5)).keys() == {
        "MODEL.RPN.NMS_THRESH"
    }


def test_an_evaluation_does_not_look_at_the_schedule():
    cfg = cfg_with("SOLVER.NUM_DECAYS", 2)
    assert unused_keys(cfg).keys() == {"SOLVER.NUM_DECAYS"}
    assert unused_keys(cfg, training=False) == {}


def test_all_of_them_are_one_warning(caplog):
    cfg = cfg_with("MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.3, "MODEL.RPN.LOSS_WEIGHT", 2.0)
    with caplog.at_level(logging.WARNING, logger="fcos"):
        warn_of_unused(cfg_with())
        assert caplog.text == ""
        warn_of_unused(cfg)
    (record,) = caplog.records
    assert record.getMessage() == (
        "Set, but without effect on this detector: MODEL.RPN.LOSS_WEIGHT 2.0, "
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST 0.3 (MODEL.FCOS.SCORE_THRESH_TEST is read)."
    )


def test_a_shorter_side_above_the_longer_one(caplog):
    def warned(*options, training=True):
        caplog.clear()
        warn_of_unused(cfg_with(*options), training)
        return [record.getMessage().partition(",")[0] for record in caplog.records]

    smaller = ["INPUT.MAX_SIZE_TRAIN", 640, "INPUT.MAX_SIZE_TEST", 640]
    assert warned(*smaller) == ["INPUT.MIN_SIZE_TRAIN is (800", "INPUT.MIN_SIZE_TEST is 800"]
    assert warned(*smaller, training=False) == ["INPUT.MIN_SIZE_TEST is 800"]
    assert warned("INPUT.MAX_SIZE_TRAIN", 800, "INPUT.MIN_SIZE_TEST", 0) == []


# ---- against what is read --------------------------------------------------------------------


class Reads:
    """The names of all keys that are read of a config and its copies."""

    def __init__(self, monkeypatch):
        self.names = set()
        look_up = yacs.config.CfgNode.__getattr__

        def note(node, name):
            path = node.__dict__.get("path_of_test")
            if path is not None and name in node:
                self.names.add(f"{path}{name}")

        def by_attribute(node, name):
            note(node, name)
            return look_up(node, name)

        def by_item(node, name):
            note(node, name)
            return dict.__getitem__(node, name)

        monkeypatch.setattr(yacs.config.CfgNode, "__getattr__", by_attribute)
        monkeypatch.setattr(yacs.config.CfgNode, "__getitem__", by_item, raising=False)

    def of(self, cfg, path=""):
        cfg.__dict__["path_of_test"] = path  # copies have it too
        for key, value in cfg.items():
            if isinstance(value, yacs.config.CfgNode):
                self.of(value, f"{path}{key}.")


def different(key, value):
    """Another value that the key may have, if there is one."""
    if isinstance(value, (list, tuple)):
        others = [type(value)([*value, one]) for one in (1, "x")]
    elif isinstance(value, bool):
        others = [not value]
    elif isinstance(value, str):
        others = [value + "x", "FrozenBN", "BN", "vertical"]
    else:
        others = [value + 1, value / 2]
    kind = TABLE[key].kind if key in TABLE else None
    allowed = (one for one in others if kind is None or (kind.accepts(one) and one != value))
    return next(allowed, value)


def everything_changed(cfg):
    """The same config with another value for every key that can have no effect."""
    changed = cfg.clone()
    for key in leaves(cfg):
        *path, name = key.split(".")
        node = changed
        for part in path:
            node = node[part]
        before = node[name]
        if before is not None:
            node[name] = different(key, before)
            if key not in unused_keys(changed):
                node[name] = before
    return changed


@pytest.mark.parametrize("options", [[], MASK_OPTIONS], ids=["boxes", "masks"])
@pytest.mark.parametrize("schedule", ["WarmupMultiStepLR", "WarmupCosineLR"])
def test_what_is_called_unused_is_read_by_nothing(tmp_path, monkeypatch, options, schedule):
    monkeypatch.chdir(tmp_path)
    cfg = get_cfg()
    cfg.merge_from_file(str(write_project(tmp_path)))
    cfg.merge_from_list([*options, "SOLVER.LR_SCHEDULER_NAME", schedule, "SOLVER.MAX_ITER", 2])
    cfg = everything_changed(cfg)
    unused, reads = unused_keys(cfg), Reads(monkeypatch)
    assert len(unused) > 50
    register_custom_datasets(cfg)
    Path("output").mkdir()
    reads.of(cfg)
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    cfg.MODEL.WEIGHTS, cfg.TEST.AUG.ENABLED = "output/model_final.pth", True
    Predictor(cfg)(np.zeros((64, 64, 3), np.uint8))
    assert {"MODEL.FCOS.SCORE_THRESH_TEST", "SOLVER.BASE_LR"} <= reads.names
    assert not reads.names & unused.keys()
    # solver_keys names what the schedule and the optimizer read.
    of_training = {f"SOLVER.{key}" for key in solver_keys(cfg)}
    data = {"IMS_PER_BATCH", "CHECKPOINT_PERIOD", "REFERENCE_WORLD_SIZE", "CLIP_GRADIENTS", "AMP"}
    read = {name for name in reads.names if name.startswith("SOLVER.")}
    assert read - {f"SOLVER.{name}" for name in (*data, "AMP.ENABLED")} == of_training
    for name in ("tiny_train", "tiny_val"):
        DatasetCatalog.remove(name)
