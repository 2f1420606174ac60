"""The schedule that is printed before a training, against arithmetic by hand."""

import pytest

from fcos.config import get_cfg
from fcos.engine.schedule import schedule_table


def rows(cfg, images=1000, processes=1):
    lines = schedule_table(cfg, images, processes).splitlines()
    return {name: value.strip() for name, value in (line.strip().split("   ", 1) for line in lines)}


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.merge_from_list(
        "SOLVER.IMS_PER_BATCH 8 SOLVER.BASE_LR 0.005 SOLVER.MAX_ITER 1000 SOLVER.STEPS (600,800) "
        "SOLVER.WARMUP_ITERS 100 SOLVER.WARMUP_FACTOR 0.01 SOLVER.CHECKPOINT_PERIOD 250 "
        "DATASETS.TEST ('val',) TEST.EVAL_PERIOD 500".split()
    )
    return cfg


def test_numbers_by_hand(cfg):
    assert rows(cfg, images=1000, processes=4) == {
        "training images": "1,000",
        "images per batch": "8 (4 processes x 2)",
        "iterations": "1,000 (8.00 epochs)",  # 1000 * 8 / 1000
        "learning rate": "0.005",
        "by the linear rule": "0.005 (0.01 at 16 images)",  # 0.01 * 8 / 16
        "warm-up": "100 iterations, linear, from 5e-05",
        "after warm-up": "0.0005 from 600 (4.80 epochs), 5e-05 from 800 (6.40 epochs)",
        "precision": "float32",
        "checkpoint every": "250 iterations",
        "evaluation every": "500 iterations; the best by bbox/AP is kept",
    }


@pytest.mark.parametrize(
    ("key", "value", "row", "want"),
    [
        ("SOLVER.WARMUP_ITERS", 0, "warm-up", "none"),
        ("SOLVER.STEPS", (), "after warm-up", "constant"),
        ("SOLVER.STEPS", (600, 2000), "after warm-up", "0.0005 from 600 (4.80 epochs)"),
        ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "after warm-up", "WarmupCosineLR"),
        ("SOLVER.AMP.ENABLED", True, "precision", "float16 with a gradient scaler"),
        ("SOLVER.AMP.PRECISION", "bfloat16", "precision", "float32"),  # not enabled
        ("DATASETS.TEST", (), "evaluation every", "never: DATASETS.TEST is empty"),
        (
            "TEST.EVAL_PERIOD",
            0,
            "evaluation every",
            "only after the last iteration; no best checkpoint (TEST.EVAL_PERIOD is 0)",
        ),
        ("SOLVER.IMS_PER_BATCH", 2, "by the linear rule", "0.00125 (0.01 at 16 images)"),
        ("SOLVER.IMS_PER_BATCH", 2, "images per batch", "2 (1 process)"),
    ],
)
def test_other_schedules(cfg, key, value, row, want):
    cfg.merge_from_list([key, value])
    assert rows(cfg)[row] == want


def test_bfloat16_needs_no_scaler(cfg):
    cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.PRECISION", "bfloat16"])
    assert rows(cfg)["precision"] == "bfloat16"
