"""Learning rates per iteration, recorded from detectron2 0.6 or by hand."""

import math

import pytest
import torch
from fvcore.common.param_scheduler import (
    ConstantParamScheduler,
    CosineParamScheduler,
    LinearParamScheduler,
    MultiStepParamScheduler,
)
from golden_values import golden_json
from torch import nn

from detectron2.config import get_cfg
from detectron2.solver import (
    LRMultiplier,
    WarmupParamScheduler,
    build_lr_scheduler,
)

PAPER = ["SOLVER.BASE_LR", 0.01, "SOLVER.MAX_ITER", 90000, "SOLVER.STEPS", (60000, 80000)]
SHORT = ["SOLVER.MAX_ITER", 12, "SOLVER.STEPS", (6, 9), "SOLVER.WARMUP_ITERS", 3]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


def sgd(base_lr):
    """Two groups, the second with twice the rate."""
    one, two = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    return torch.optim.SGD([{"params": [one]}, {"params": [two], "lr": 2 * base_lr}], lr=base_lr)


def rates(cfg, iterations=None):
    """The rate of the first group at each iteration; that of the second is checked."""
    optimizer = sgd(cfg.SOLVER.BASE_LR)
    schedule = build_lr_scheduler(cfg, optimizer)
    out = []
    for _ in range(iterations or cfg.SOLVER.MAX_ITER):
        first, second = (group["lr"] for group in optimizer.param_groups)
        assert second == pytest.approx(2 * first, rel=1e-12)
        out.append(first)
        optimizer.step()
        schedule.step()
    return out


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        ("config_default_warmup_linear", []),
        (
            "config_warmup_constant_third_500",
            [
                *("SOLVER.WARMUP_METHOD", "constant", "SOLVER.WARMUP_ITERS", 500),
                *("SOLVER.WARMUP_FACTOR", 1 / 3),
            ],
        ),
        ("config_cosine", ["SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR"]),
        (
            "config_no_warmup_num_decays_gamma0.5",
            ["SOLVER.WARMUP_ITERS", 0, "SOLVER.GAMMA", 0.5],
        ),
        ("config_2x", ["SOLVER.MAX_ITER", 180000, "SOLVER.STEPS", (120000, 160000)]),
    ],
)
def test_recorded_schedules(schedule, options):
    schedule = golden_json("host_lr.json")["schedules"][schedule]
    optimizer = sgd(0.01)
    lr = build_lr_scheduler(config(*PAPER, *options), optimizer)
    for iteration, expected in schedule:
        lr.last_epoch = iteration
        assert lr.get_lr() == pytest.approx([expected, 2 * expected], rel=1e-9), iteration


def test_a_schedule_step_by_step():
    got = rates(config(*SHORT, "SOLVER.BASE_LR", 1.0, "SOLVER.WARMUP_FACTOR", 0.1))
    assert got == pytest.approx([0.1, 0.4, 0.7] + [1.0] * 3 + [0.1] * 3 + [0.01] * 3)


def test_rescaling_runs_the_schedule_in_what_the_warm_up_leaves():
    got = rates(config(*SHORT, "SOLVER.BASE_LR", 1.0, "SOLVER.RESCALE_INTERVAL", True))
    # 9 iterations are left, so the steps 6 and 9 of 12 come 4.5 and 6.75 iterations after 3.
    assert got[3:] == pytest.approx([1.0] * 5 + [0.1] * 2 + [0.01] * 2)


def test_fixed_gamma_lowers_the_rate_in_equal_parts():
    cfg = config(
        *("SOLVER.LR_SCHEDULER_NAME", "WarmupStepWithFixedGammaLR", "SOLVER.BASE_LR", 1.0),
        *("SOLVER.MAX_ITER", 12, "SOLVER.NUM_DECAYS", 2, "SOLVER.GAMMA", 0.5),
        *("SOLVER.WARMUP_ITERS", 0),
    )
    assert rates(cfg, 11) == pytest.approx([1.0] * 4 + [0.5] * 4 + [0.25] * 3)


def test_cosine_ends_at_the_rate_that_is_asked_for():
    cfg = config(
        *("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR", 1.0),
        *("SOLVER.BASE_LR_END", 0.2, "SOLVER.MAX_ITER", 4, "SOLVER.WARMUP_ITERS", 0),
    )
    half = 0.4 * math.cos(math.pi / 4)
    assert rates(cfg, 5) == pytest.approx([1.0, 0.6 + half, 0.6, 0.6 - half, 0.2])


def test_warm_up_longer_than_the_training_is_cut():
    cfg = config(
        *("SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (), "SOLVER.WARMUP_ITERS", 10),
        *("SOLVER.BASE_LR", 1.0, "SOLVER.WARMUP_FACTOR", 0.0),
    )
    assert rates(cfg) == pytest.approx([0.0, 0.25, 0.5, 0.75])


def test_warm_up_climbs_to_where_the_schedule_takes_over():
    step = MultiStepParamScheduler([1.0, 0.1], num_updates=12, milestones=[2])
    warm = WarmupParamScheduler(step, 0.0, 5 / 12)
    assert [warm(i / 12) for i in range(7)] == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.1])


def test_constant_warm_up_is_relative_to_the_first_value():
    warm = WarmupParamScheduler(ConstantParamScheduler(2.0), 0.25, 0.5, "constant")
    assert [warm(where) for where in (0.0, 0.4, 0.6)] == pytest.approx([0.5, 0.5, 2.0])


def test_steps_past_the_end_have_no_effect(caplog):
    got = rates(config(*SHORT, "SOLVER.BASE_LR", 1.0, "SOLVER.STEPS", (6, 30)))
    assert got[3:] == pytest.approx([1.0] * 3 + [0.1] * 6)
    assert "SOLVER.STEPS" in caplog.text


def test_resuming_goes_on_where_it_stopped():
    cfg = config(*SHORT)
    uninterrupted = rates(cfg)
    first = build_lr_scheduler(cfg, sgd(cfg.SOLVER.BASE_LR))
    for _ in range(5):
        first.optimizer.step()
        first.step()
    state = first.state_dict()
    assert state == {"base_lrs": [0.001, 0.002], "last_epoch": 5}

    optimizer = sgd(cfg.SOLVER.BASE_LR)
    resumed = build_lr_scheduler(cfg, optimizer)
    resumed.load_state_dict(state)
    optimizer.step()
    resumed.step()
    assert optimizer.param_groups[0]["lr"] == uninterrupted[6]


def test_multiplier_can_start_in_the_middle():
    optimizer = sgd(1.0)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    schedule = LRMultiplier(optimizer, LinearParamScheduler(1.0, 0.0), 10, last_iter=3)
    assert schedule.get_last_lr() == pytest.approx([0.6, 1.2])


@pytest.mark.parametrize(
    "build",
    [
        lambda: rates(config("SOLVER.LR_SCHEDULER_NAME", "NoSuchSchedule")),
        lambda: rates(config(*SHORT, "SOLVER.WARMUP_METHOD", "quadratic")),
        lambda: rates(config(*SHORT, "SOLVER.STEPS", (9, 6))),
        lambda: rates(config(*SHORT, "SOLVER.STEPS", (0, 6))),
        lambda: rates(
            config("SOLVER.LR_SCHEDULER_NAME", "WarmupCosineLR", "SOLVER.BASE_LR_END", 0.5)
        ),
        lambda: LRMultiplier(sgd(1.0), 0.1, 10),
        lambda: WarmupParamScheduler(CosineParamScheduler(1.0, 0.0), 0.1, 0.5, "quadratic"),
    ],
)
def test_what_is_refused(build):
    with pytest.raises((AssertionError, ValueError)):
        build()
