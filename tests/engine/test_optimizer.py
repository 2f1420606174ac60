"""SGD and AdamW: their groups of parameters, a loop by hand, and what is said."""

import logging

import pytest
import torch
from torch import nn

from detectron2.modeling import build_model
from detectron2.solver import build_optimizer as detectron2s
from fcos.config import get_cfg
from fcos.config.unused import solver_keys, unused_keys
from fcos.data import register_custom_datasets
from fcos.engine import Trainer
from fcos.engine.optimizer import build_optimizer
from fcos.engine.schedule import doubts, schedule_table
from fcos.utils.errors import UserError
from tests.helpers import tiny_cfg

pytestmark = pytest.mark.cpu

ADAMW = ["SOLVER.OPTIMIZER", "AdamW", "SOLVER.BASE_LR", 0.0001, "SOLVER.WEIGHT_DECAY", 0.05]


def cfg_of(*options):
    cfg = tiny_cfg()
    cfg.merge_from_list([*ADAMW, *options])
    return cfg


def decays(optimizer, model):
    """The decay of every parameter, by its name."""
    of = {id(p): g["weight_decay"] for g in optimizer.param_groups for p in g["params"]}
    return {n: of[id(p)] for n, p in model.named_parameters() if p.requires_grad}


def test_sgd_is_detectron2s():
    cfg = tiny_cfg()
    model = build_model(cfg)
    ours, theirs = build_optimizer(cfg, model), detectron2s(cfg, model)
    assert type(ours) is type(theirs) is torch.optim.SGD
    assert str(ours) == str(theirs)


def test_what_adamw_decays():
    cfg = cfg_of()
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    assert type(optimizer) is torch.optim.AdamW
    found = decays(optimizer, model)
    assert set(found.values()) == {0.0, 0.05}
    for name, parameter in model.named_parameters():
        assert found[name] == (0.05 if parameter.dim() > 1 else 0.0), name
    assert sum("scale" in name for name in found) >= 5
    assert {group["lr"] for group in optimizer.param_groups} == {0.0001}


def test_the_keys_of_norms_and_biases():
    cfg = cfg_of(
        *("SOLVER.WEIGHT_DECAY_NORM", 0.01),
        *("SOLVER.WEIGHT_DECAY_BIAS", 0.02),
        *("SOLVER.BIAS_LR_FACTOR", 2.0),
    )
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    found = decays(optimizer, model)
    assert found["backbone.bottom_up.stem.conv1.norm.weight"] == 0.01
    assert found["backbone.fpn_output3.bias"] == 0.02
    assert found["backbone.fpn_output3.weight"] == 0.05
    rates = {g["lr"] for g in optimizer.param_groups for p in g["params"] if p.dim() == 1}
    assert 0.0002 in rates


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("swin_tiny_patch4_window7_224", {"relative_position_bias_table"}),
        ("swinv2_tiny_window8_256", {"cpb_mlp", "logit_scale"}),
        ("convnext_atto", set()),
    ],
)
def test_what_timm_does_not_decay(name, without):
    pytest.importorskip("timm", reason="timm is not installed (pip install timm)")
    cfg = cfg_of(
        *("MODEL.BACKBONE.NAME", "build_fcos_timm_fpn_backbone"),
        *("MODEL.TIMM.NAME", name, "MODEL.DEVICE", "meta"),
    )
    with torch.device("meta"):
        model = build_model(cfg)
    found = decays(build_optimizer(cfg, model), model)
    parts = {part for name in found for part in name.split(".")}
    assert without <= parts
    for parameter_name, parameter in model.named_parameters():
        is_free = parameter.dim() <= 1 or not without.isdisjoint(parameter_name.split("."))
        assert found[parameter_name] == (0.0 if is_free else 0.05), parameter_name


# ---- in a training ---------------------------------------------------------------------------


def training_cfg(*options):
    cfg = get_cfg()
    cfg.merge_from_file("tiny.yaml")
    cfg.merge_from_list(["DATASETS.TEST", "()", "SOLVER.MAX_ITER", 4, *ADAMW, *options])
    register_custom_datasets(cfg)
    return cfg


def trained(*options, resume=False):
    torch.manual_seed(0)
    trainer = Trainer(training_cfg(*options))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


def test_it_is_a_loop_by_hand(project):
    clip = ["SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.01]
    got = trained(*clip).model.state_dict()

    torch.manual_seed(0)
    cfg = training_cfg(*clip)
    model = Trainer.build_model(cfg).train()
    stream = iter(Trainer.build_train_loader(cfg))
    free = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.05},
        {"params": free, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups)
    for iteration in range(4):
        warm = 0.001 + (1 - 0.001) * iteration / 3 if iteration < 3 else 1.0
        for group in optimizer.param_groups:
            group["lr"] = 0.0001 * warm
        optimizer.zero_grad()
        sum(model(next(stream)).values()).backward()
        nn.utils.clip_grad_value_(model.parameters(), 0.01)
        optimizer.step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(got[name], value, msg=name, rtol=1e-4, atol=1e-7)


def test_another_optimizer_cannot_go_on(project):
    trained()
    with pytest.raises(UserError, match=r"was with SOLVER.OPTIMIZER AdamW, whose state SGD cannot"):
        trained("SOLVER.OPTIMIZER", "SGD", resume=True)


def test_settings_are_those_of_the_config(project, caplog):
    trained()
    with caplog.at_level(logging.WARNING):
        trainer = trained("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.MAX_ITER", 5, resume=True)
    assert "SOLVER.WEIGHT_DECAY is 0.1, but was 0.05 before" in caplog.text
    assert {group["weight_decay"] for group in trainer.optimizer.param_groups} == {0.0, 0.1}


# ---- what is said ----------------------------------------------------------------------------


def test_an_unknown_one():
    with pytest.raises(UserError, match="OPTIMIZER is 'adam': set it to one of 'SGD', 'AdamW'"):
        build_optimizer(cfg_of("SOLVER.OPTIMIZER", "adam"), nn.Linear(1, 1))


def test_keys_that_are_not_read():
    assert unused_keys(cfg_of("SOLVER.MOMENTUM", 0.8)) == {"SOLVER.MOMENTUM": ""}
    assert unused_keys(cfg_of("SOLVER.NESTEROV", True)) == {"SOLVER.NESTEROV": ""}
    assert unused_keys(cfg_of("SOLVER.MOMENTUM", 0.8, "SOLVER.OPTIMIZER", "SGD")) == {}
    assert "MOMENTUM" not in solver_keys(cfg_of())


def test_the_linear_rule_is_of_sgd():
    assert doubts(cfg_of(), from_weights=True) == []
    (said,) = doubts(cfg_of("SOLVER.BASE_LR", 0.01), from_weights=False)
    assert said.startswith("SOLVER.BASE_LR is 0.01, which moves every weight by about that much")
    table = schedule_table(cfg_of(), 10, 1)
    assert "linear rule" not in table
    assert "learning rate      0.0001, of AdamW" in table
