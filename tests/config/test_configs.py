"""Every config of this repository, on the CPU."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from detectron2.structures import Boxes, Instances, PolygonMasks
from detectron2.utils.events import EventStorage
from fcos.config import get_cfg

ROOT = Path(__file__).parents[2] / "configs"
PUBLISHED = sorted((ROOT / "published").rglob("*.yaml"))
CONFIGS = sorted(set(ROOT.rglob("*.yaml")) - set(PUBLISHED))

# What makes any of them small: the same network with fewer layers and channels. Everything else is
# as in the file.
SMALLER = {
    "MODEL.DEVICE": "cpu",
    "MODEL.FPN.OUT_CHANNELS": 64,  # two for each group of GN, which one location can have alone
    "MODEL.FCOS.NUM_CLASSES": 3,
    "MODEL.ROI_HEADS.NUM_CLASSES": 3,
    "MODEL.RETINANET.NUM_CLASSES": 3,
    "MODEL.ROI_MASK_HEAD.CONV_DIM": 8,
    "MODEL.ROI_BOX_HEAD.FC_DIM": 16,
}
SMALLER_BOTTLENECKS = {
    "MODEL.RESNETS.DEPTH": 50,
    "MODEL.RESNETS.STEM_OUT_CHANNELS": 8,
    "MODEL.RESNETS.RES2_OUT_CHANNELS": 16,
    "MODEL.RESNETS.WIDTH_PER_GROUP": 1,
}


PARAMETERS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in CONFIGS]


def config(path, small=False):
    cfg = get_cfg()
    cfg.merge_from_file(str(path if isinstance(path, Path) else ROOT / path))
    if small:
        is_deep = cfg.MODEL.RESNETS.DEPTH >= 50
        smaller = SMALLER | (SMALLER_BOTTLENECKS if is_deep else {})
        if cfg.MODEL.FCOS.NUM_CLASSES == 1:  # proposals of any class
            smaller |= {"MODEL.FCOS.NUM_CLASSES": 1}
        cfg.merge_from_list([x for pair in smaller.items() for x in pair])
        cfg.MODEL.TIMM.PRETRAINED = False  # no download
    return cfg


def name_of(path):
    return str(path.relative_to(ROOT))


def test_there_are_configs():
    names = set(map(name_of, CONFIGS))
    assert {"Base-FCOS.yaml", "R_50_1x.yaml", "R_101_2x.yaml", "digits.yaml"} <= names
    assert {"Mask_R_50_FPN_1x.yaml", "digits_mask.yaml", "digits_retinanet.yaml"} <= names


# Published weights are for evaluation first; this one trains with other locations too.
CORNERS = pytest.param(ROOT / "published/torchvision/R_50_FPN.yaml", id="torchvision")


@pytest.mark.parametrize("path", [*PARAMETERS, CORNERS])
def test_it_builds_trains_and_detects(path):
    torch.manual_seed(0)
    cfg = config(path, small=True)
    if "timm" in cfg.MODEL.BACKBONE.NAME:
        pytest.importorskip("timm", reason="timm is not installed")
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    build_lr_scheduler(cfg, optimizer)
    truth = Instances(
        (64, 96),
        gt_boxes=Boxes(torch.tensor([[8.0, 8, 60, 50]])),
        gt_classes=torch.tensor([2]),
    )
    if cfg.MODEL.MASK_ON:
        truth.gt_masks = PolygonMasks([[np.array([8.0, 8, 60, 8, 60, 50, 8, 50])]])
    image = torch.randint(0, 256, (3, 64, 96)).byte()
    with EventStorage():  # Mask R-CNN's head logs its accuracy
        losses = model.train()([{"image": image, "instances": truth}] * 2)
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    optimizer.step()
    with torch.no_grad():
        (result,) = model.eval()([{"image": image, "height": 640, "width": 960}])
    if cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork":
        assert result["proposals"].image_size == (640, 960)
        assert result["proposals"].objectness_logits.isfinite().all()
        return
    assert result["instances"].image_size == (640, 960)
    assert result["instances"].scores.isfinite().all()
    has_masks = "mask" in path.name.lower()
    assert result["instances"].has("pred_masks") == cfg.MODEL.MASK_ON == has_masks


def test_retinanet_on_digits_has_the_budget_of_fcos():
    retinanet, fcos = config("digits_retinanet.yaml"), config("digits.yaml")
    assert retinanet.MODEL.META_ARCHITECTURE == "RetinaNet"
    for key in ("DATASETS", "INPUT", "SOLVER", "SEED"):
        assert retinanet[key] == fcos[key]
    assert retinanet.MODEL.RESNETS == fcos.MODEL.RESNETS
    assert retinanet.MODEL.FPN == fcos.MODEL.FPN
    assert retinanet.MODEL.RETINANET.NUM_CLASSES == fcos.MODEL.FCOS.NUM_CLASSES
    assert retinanet.MODEL.RETINANET.NUM_CONVS == fcos.MODEL.FCOS.NUM_STACKED_CONVS


def test_each_writes_to_a_folder_of_its_own():
    paths = [path for path in CONFIGS + PUBLISHED if "Base" not in path.name]
    folders = [yaml.safe_load(path.read_text())["OUTPUT_DIR"] for path in paths]
    assert len(folders) == len(set(folders))


def test_the_schedule_of_the_paper():
    cfg = config("R_50_1x.yaml")
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (16, 0.01)
    assert (solver.STEPS, solver.MAX_ITER) == ((60000, 80000), 90000)
    assert solver.CLIP_GRADIENTS.ENABLED
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,)
    assert cfg.MODEL.FCOS.NMS_THRESH_TEST == 0.6
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"


@pytest.mark.parametrize("path", sorted(ROOT.glob("timm/*.yaml")), ids=name_of)
def test_pretrained_weights_of_timm_see_the_pixels_they_know(path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    cfg = config(path)
    known = timm.get_pretrained_cfg(cfg.MODEL.TIMM.NAME)
    assert known.has_weights and cfg.MODEL.TIMM.PRETRAINED
    assert (cfg.MODEL.WEIGHTS, cfg.INPUT.FORMAT) == ("", "RGB")
    assert pytest.approx([255 * value for value in known.mean]) == cfg.MODEL.PIXEL_MEAN
    assert pytest.approx([255 * value for value in known.std]) == cfg.MODEL.PIXEL_STD


def differences(a, b, prefix=""):
    """The keys in which two configs differ, with the value of the second, without OUTPUT_DIR."""
    found = {}
    for key in a:
        if isinstance(a[key], dict):
            found |= differences(a[key], b[key], f"{prefix}{key}.")
        elif a[key] != b[key]:
            found[prefix + key] = b[key]
    found.pop("OUTPUT_DIR", None)
    return found


FCOS = "MODEL.FCOS."
TABLE_3 = {
    "table3/1_c5.yaml": {FCOS + "TOP_IN_FEATURE": "res5", FCOS + "NMS_THRESH_TEST": 0.5},
    "table3/2_p5.yaml": {FCOS + "TOP_IN_FEATURE": "p5"},
    "table3/3_nms.yaml": {FCOS + "NMS_THRESH_TEST": 0.6},
    "table3/4_gn.yaml": {FCOS + "NORM": "GN", "SOLVER.CLIP_GRADIENTS.ENABLED": False},
    "table3/5_ctr_on_reg.yaml": {FCOS + "CTR_ON_REG": True},
    "table3/6_ctr_sampling.yaml": {FCOS + "CENTER_SAMPLE": True},
    "table3/7_giou.yaml": {FCOS + "LOC_LOSS_TYPE": "giou"},
    "table3/8_normalization.yaml": {
        FCOS + "NORMALIZE_REG_TARGETS": True,
        FCOS + "PRIOR_DISTANCE": 0.0,  # the published initialisation
    },
}


def test_table_3_line_by_line():
    """Each row of the paper's table changes what its column says, and nothing else."""
    before = config("R_50_1x.yaml")
    for path, change in TABLE_3.items():
        row = config(path)
        assert differences(before, row) == change, path
        before = row
    assert {name_of(path) for path in CONFIGS if path.parent.name == "table3"} == set(TABLE_3)
    assert not differences(config("table3/3_nms.yaml"), config("R_50_1x.yaml"))
    assert not differences(config("table3/8_normalization.yaml"), config("R_50_1x_improve.yaml"))


def test_table_6_compares_proposals_of_the_same_training():
    fcos, rpn = config("table6/fcos.yaml"), config("table6/rpn.yaml")
    for cfg in (fcos, rpn):
        assert cfg.MODEL.META_ARCHITECTURE == "ProposalNetwork"
        assert cfg.TEST.BEST_METRIC == "box_proposals/AR@1000"
    for key in ("IMS_PER_BATCH", "MAX_ITER", "STEPS"):
        assert fcos.SOLVER[key] == rpn.SOLVER[key]
    assert fcos.INPUT.MIN_SIZE_TRAIN == rpn.INPUT.MIN_SIZE_TRAIN
    assert fcos.MODEL.FCOS.NMS_POST_TOPK == 1000


DCNV2 = {
    "MODEL.RESNETS.DEFORM_ON_PER_STAGE": [False, False, True, True],
    "MODEL.RESNETS.DEFORM_MODULATED": True,
    FCOS + "USE_DEFORMABLE": True,
}


@pytest.mark.parametrize("path", PARAMETERS)
def test_what_the_ending_of_a_name_means(path):
    cfg = config(path)
    base, _, ending = path.stem.rpartition("_")
    wanted = {
        "iou": {FCOS + "BOX_QUALITY": "iou"},
        "dcnv2": DCNV2,
        "head": {FCOS + "NORM": "BN"},
        "shtw": {FCOS + "NUM_SHARED_CONVS": 4, FCOS + "NUM_STACKED_CONVS": 0},
    }
    if ending in wanted:
        base = base.removesuffix("_bn") if ending == "head" else base
        base = "R_50_1x_improve" if base == "R_50_1x" else base
        assert differences(config(path.with_name(f"{base}.yaml")), cfg) == wanted[ending]


@pytest.mark.parametrize("path", PUBLISHED, ids=name_of)
def test_a_published_config_states_its_source_and_its_licence(path):
    cfg = config(path)
    assert cfg.MODEL.WEIGHTS.startswith("https://") or not cfg.MODEL.WEIGHTS
    comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
    if path.parent.name == "detectron2":
        assert "publishes neither weights nor an AP" in " ".join(comment)
        return
    text = " ".join(line.lstrip("# ") for line in comment)
    assert "published by" in text and text.startswith("AP ")
    assert "https://" in path.read_text()
    assert "Licence" in text
    is_restricted = path.parent.name in ("adelaidet", "original")
    assert ("non-commercial use only" in text) == is_restricted


@pytest.mark.parametrize("path", PUBLISHED, ids=name_of)
def test_the_model_zoo_states_what_the_config_states(path):
    zoo = (ROOT.parent / "docs" / "MODEL_ZOO.md").read_text().splitlines()
    (row,) = [line for line in zoo if f"(../configs/{name_of(path)})" in line]
    comment = path.read_text().splitlines()[0]
    if path.parent.name == "detectron2":
        assert "| none |" in row
        return
    ap = re.match(r"# AP ([\d.]+) on COCO (val2017|minival)", comment)
    assert f"| {ap[1]} ({ap[2]})" in row
    for number in re.findall(r"test-dev [\d.]+\d|[\d.]+(?= images per| ms per)", comment):
        assert number in row
    assert row.endswith("| |")  # reproduced here: nobody has measured it yet
