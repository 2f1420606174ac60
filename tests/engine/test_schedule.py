"""The schedule that is printed before a training, against arithmetic by hand."""

from math import cos, pi

import pytest
import torch

from fcos.config import get_cfg
from fcos.engine.schedule import build_lr_scheduler, doubts, learning_rate, schedule_table
from fcos.utils.errors import UserError


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
        "learning rate": "0.005, 1 x the linear rule's",
        "by the linear rule": "0.005 (0.01 at 16 images)",  # 0.01 * 8 / 16
        "warm-up": "100 iterations, linear, from 5e-05 to 0.005",
        "after warm-up": "0.0005 from 600 (4.80 epochs), 5e-05 from 800 (6.40 epochs)",
        "last iteration": "5e-05",
        "precision": "float32",
        "checkpoint every": "250 iterations (4 files), and model_final.pth",
        "evaluation every": "500 iterations (2 with that after the last one); the best by "
        "bbox/AP is kept",
    }


CONSTANT = "100 iterations, constant, from 5e-05 to 0.005"
# It ends at the rate after both steps, which is as low as the one that it begins with.
SQUEEZED = "all 1,000 iterations, not 2,000, linear, from 5e-05 to 5e-05"
RARELY = "5,000 iterations (1 with that after the last one); the best by bbox/AP is kept"
THREE = "300 iterations (3 files), and model_final.pth"


@pytest.mark.parametrize(
    ("key", "value", "row", "want"),
    [
        ("SOLVER.WARMUP_ITERS", 0, "warm-up", "none"),
        ("SOLVER.STEPS", (), "after warm-up", "constant"),
        ("SOLVER.STEPS", (600, 2000), "after warm-up", "0.0005 from 600 (4.80 epochs)"),
        # 0.005 * (1 + cos(pi i / 1000)) / 2 at the iteration i.
        (
            "SOLVER.LR_SCHEDULER_NAME",
            "WarmupCosineLR",
            "after warm-up",
            "WarmupCosineLR, such as 0.00381 from 325 (2.60 epochs), 0.00211 from 550 "
            "(4.40 epochs), 0.000599 from 775 (6.20 epochs)",
        ),
        ("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "last iteration", "1.23e-08"),
        # 0.1 of it after each quarter.
        (
            "SOLVER.LR_SCHEDULER_NAME",
            "WarmupStepWithFixedGammaLR",
            "after warm-up",
            "0.0005 from 250 (2.00 epochs), 5e-05 from 500 (4.00 epochs), 5e-06 from 750 "
            "(6.00 epochs)",
        ),
        ("SOLVER.WARMUP_METHOD", "constant", "warm-up", CONSTANT),
        # A step below the warm-up: it ends at the rate after the step.
        ("SOLVER.STEPS", (50,), "warm-up", "100 iterations, linear, from 5e-05 to 0.0005"),
        ("SOLVER.STEPS", (50,), "after warm-up", "constant"),
        ("SOLVER.WARMUP_ITERS", 2000, "warm-up", SQUEEZED),
        ("SOLVER.WARMUP_ITERS", 2000, "after warm-up", "no iteration"),
        ("SOLVER.BASE_LR", 0.025, "learning rate", "0.025, 5 x the linear rule's"),
        ("TEST.EVAL_PERIOD", 5000, "evaluation every", RARELY),
        ("SOLVER.CHECKPOINT_PERIOD", 300, "checkpoint every", THREE),
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


def test_a_table_of_very_many_iterations(cfg):
    cfg.merge_from_list(["SOLVER.MAX_ITER", 5 * 10**7, "SOLVER.STEPS", (3 * 10**7, 4 * 10**7)])
    told = rows(cfg, images=4 * 10**7)["after warm-up"]
    # fvcore takes a step a millionth of the training early, which is 50 iterations here.
    assert told == "0.0005 from 29,999,950 (6.00 epochs), 5e-05 from 39,999,950 (8.00 epochs)"


@pytest.mark.parametrize("gamma", [0.0, -1.0])
def test_a_factor_that_ends_or_reverses_learning(cfg, gamma):
    cfg.SOLVER.GAMMA = gamma
    with pytest.raises(
        UserError, match=rf"^SOLVER.GAMMA is {gamma}: set it to a number within \[0\.0001, "
    ):
        rows(cfg)


# ---- rates -----------------------------------------------------------------------------------


def stepped(cfg):
    """The rate in every iteration, and after the last one, as a training steps the schedule."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=cfg.SOLVER.BASE_LR)
    scheduler, rates = build_lr_scheduler(cfg, optimizer), []
    for _ in range(cfg.SOLVER.MAX_ITER):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*rates, optimizer.param_groups[0]["lr"]]


SCHEDULES = ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"]


def learning_rates(cfg):
    return list(map(learning_rate(cfg), range(cfg.SOLVER.MAX_ITER)))


@pytest.mark.parametrize("rescaled", [False, True])
@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rates_that_a_training_has(cfg, name, rescaled):
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", name, "SOLVER.RESCALE_INTERVAL", rescaled])
    *rates, after = stepped(cfg)
    assert learning_rates(cfg) == rates
    assert after == rates[-1]  # nothing comes after the last iteration


def test_the_rates_of_a_cosine_by_hand(cfg):
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"])
    rates = learning_rates(cfg)
    for i in (100, 500, 999):
        assert rates[i] == pytest.approx(0.005 * (1 + cos(pi * i / 1000)) / 2)


def test_fixed_steps_need_an_iteration_after_the_warm_up(cfg):
    cfg.merge_from_list(["SOLVER.LR_SCHEDULER_NAME", SCHEDULES[2], "SOLVER.WARMUP_ITERS", 1000])
    with pytest.raises(UserError, match="WarmupStepWithFixedGammaLR needs a shorter warm-up"):
        learning_rates(cfg)
    cfg.SOLVER.RESCALE_INTERVAL = True
    assert len(learning_rates(cfg)) == 1000
    cfg.merge_from_list(["SOLVER.RESCALE_INTERVAL", False, "SOLVER.WARMUP_ITERS", 999])
    assert len(learning_rates(cfg)) == 1000


# ---- what is probably not meant --------------------------------------------------------------


def test_a_warm_up_longer_than_the_training(cfg):
    for iterations in (0, 999, 1000):
        cfg.SOLVER.WARMUP_ITERS = iterations
        assert doubts(cfg, from_weights=False) == []
    cfg.SOLVER.WARMUP_ITERS = 1001
    (doubt,) = doubts(cfg, from_weights=False)
    assert doubt == (
        "SOLVER.WARMUP_ITERS is 1001, but SOLVER.MAX_ITER is 1000: the whole training is a "
        "warm-up, made shorter to fit; set SOLVER.WARMUP_ITERS to 50, say."
    )


@pytest.mark.parametrize(
    ("batch", "rate", "factor"),
    [
        *[(4, 0.025, "10"), (4, 0.01, ""), (4, 0.0101, "4.04"), (16, 0.01, "")],
        *[(4, 0.000625, ""), (4, 0.0006, "0.24"), (8, 0.05, "10")],
    ],
)
def test_a_rate_that_does_not_fit_the_batch(cfg, batch, rate, factor):
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", batch, "SOLVER.BASE_LR", rate])
    assert doubts(cfg, from_weights=False) == []  # from random weights larger ones are usual
    found = doubts(cfg, from_weights=True)
    assert len(found) == bool(factor)
    if factor:
        assert f"SOLVER.BASE_LR is {rate:g}, {factor} times that of the linear rule for" in found[0]
        assert f"SOLVER.BASE_LR {0.01 * batch / 16:g} is usual" in found[0]
