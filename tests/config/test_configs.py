"""Every config of this repository, on the CPU."""

from pathlib import Path

import pytest
import torch

from detectron2.modeling import build_model
from detectron2.solver import build_lr_scheduler, build_optimizer
from fcos.config import get_cfg

FOLDER = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(FOLDER.rglob("*.yaml"))


def test_there_are_configs():
    assert {"Base-FCOS.yaml", "R_50_1x.yaml", "R_101_2x.yaml", "digits.yaml"} <= {
        path.name for path in CONFIGS
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_it_builds_and_detects(path):
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.TIMM.PRETRAINED = False  # no download
    if path.parent.name == "timm":
        pytest.importorskip("timm", reason="timm is not installed")
    model = build_model(cfg)
    build_lr_scheduler(cfg, build_optimizer(cfg, model))
    with torch.no_grad():
        (result,) = model.eval()([{"image": torch.zeros(3, 64, 96), "height": 640, "width": 960}])
    assert result["instances"].image_size == (640, 960)


def test_the_schedule_of_the_paper():
    cfg = get_cfg()
    cfg.merge_from_file(str(FOLDER / "R_50_1x.yaml"))
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR) == (16, 0.01)
    assert (solver.STEPS, solver.MAX_ITER) == ((60000, 80000), 90000)
    assert solver.CLIP_GRADIENTS.ENABLED
    assert cfg.INPUT.MIN_SIZE_TRAIN == (800,)
    assert cfg.MODEL.FCOS.NMS_THRESH_TEST == 0.6
    assert cfg.MODEL.WEIGHTS == "detectron2://ImageNetPretrained/MSRA/R-50.pkl"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("timm/*.yaml")), ids=lambda path: path.name)
def test_pretrained_weights_of_timm_see_the_pixels_they_know(path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    known = timm.get_pretrained_cfg(cfg.MODEL.TIMM.NAME)
    assert known.has_weights and cfg.MODEL.TIMM.PRETRAINED
    assert (cfg.MODEL.WEIGHTS, cfg.INPUT.FORMAT) == ("", "RGB")
    assert pytest.approx([255 * value for value in known.mean]) == cfg.MODEL.PIXEL_MEAN
    assert pytest.approx([255 * value for value in known.std]) == cfg.MODEL.PIXEL_STD
