"""Every config of this repository, on the CPU."""

from pathlib import Path

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from fcos.config import get_cfg

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))


def test_there_are_configs():
    names = {path.name for path in CONFIGS}
    assert {"Base-FCOS.yaml", "R_50_1x.yaml", "R_101_2x.yaml", "digits.yaml"} <= names
    assert {"Mask_R_50_FPN_1x.yaml", "digits_mask.yaml"} <= names


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_builds_and_detects(path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    build_lr_scheduler(cfg, build_optimizer(cfg, model))
    with torch.no_grad():
        (result,) = model.eval()([{"image": torch.zeros(3, 64, 96), "height": 640, "width": 960}])
    assert result["instances"].image_size == (640, 960)
    assert (
        result["instances"].has("pred_masks") == cfg.MODEL.MASK_ON == ("mask" in path.name.lower())
    )


def test_the_schedule_of_the_paper():
    cfg = get_cfg()
    cfg.merge_from_file(str(CONFIGS[0].with_name("R_50_1x.yaml")))
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (16, 0.01)
    assert (solver.STEPS, solver.MAX_ITER) == ((60000, 80000), 90000)
    assert solver.CLIP_GRADIENTS.ENABLED
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,)
    assert cfg.MODEL.FCOS.NMS_THRESH_TEST == 0.6
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"
