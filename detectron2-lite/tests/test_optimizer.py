"""Parameter groups, SGD from the config, gradient clipping."""

import pytest
import torch
from torch import nn

from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d
from detectron2.solver import build_optimizer, get_default_optimizer_params
from detectron2.solver.build import maybe_add_gradient_clipping, reduce_param_groups


class Net(nn.Module):
    """One parameter of each kind: shared, frozen, normalisation, bias, of the model itself."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.conv = nn.Conv2d(1, 2, 1)
        self.bn = nn.BatchNorm2d(2)
        self.gn = nn.GroupNorm(1, 2)
        self.frozen_bn = FrozenBatchNorm2d(2)
        self.lin = nn.Linear(2, 2)
        self.tied = nn.Linear(2, 2, bias=False)
        self.tied.weight = self.lin.weight
        self.again = self.conv
        self.fixed = nn.Linear(2, 2).requires_grad_(False)


NORMS = ["bn.weight", "bn.bias", "gn.weight", "gn.bias"]
WEIGHTS = ["scale", "conv.weight", "lin.weight"]
EVERYTHING = ["scale", "conv.weight", "conv.bias", *NORMS, "lin.weight", "lin.bias"]


def config(*options):
    cfg = get_cfg()
    cfg.merge_from_list(list(options))
    return cfg


def named(net, groups, keys=("lr", "weight_decay", "momentum")):
    """Groups with names in place of parameters."""
    names = {id(p): name for name, p in net.named_parameters()}
    return [
        ({k: v for k, v in group.items() if k in keys}, [names[id(p)] for p in group["params"]])
        for group in groups
    ]


def params(**kwargs):
    net = Net()
    return named(net, get_default_optimizer_params(net, **kwargs))


def test_by_default_one_group_of_everything_that_trains_each_once():
    assert params() == [({}, EVERYTHING)]
    assert params(base_lr=0.1, weight_decay=0.01) == [
        ({"lr": 0.1, "weight_decay": 0.01}, EVERYTHING)
    ]


def test_norm_layers_have_their_own_weight_decay():
    assert params(base_lr=0.1, weight_decay=0.01, weight_decay_norm=0.0) == [
        (
            {"lr": 0.1, "weight_decay": 0.01},
            ["scale", "conv.weight", "conv.bias"] + EVERYTHING[-2:],
        ),
        ({"lr": 0.1, "weight_decay": 0.0}, NORMS),
    ]


@pytest.mark.parametrize(
    "layer",
    [
        nn.BatchNorm1d(2),
        nn.BatchNorm3d(2),
        nn.SyncBatchNorm(2),
        nn.InstanceNorm2d(2, affine=True),
        nn.LayerNorm(2),
    ],
)
def test_what_counts_as_a_norm_layer(layer):
    groups = get_default_optimizer_params(layer, weight_decay=0.01, weight_decay_norm=0.5)
    assert [group["weight_decay"] for group in groups] == [0.5]


def test_biases_have_their_own_rate_and_weight_decay_also_in_norm_layers():
    groups = params(
        base_lr=0.1,
        weight_decay=0.01,
        weight_decay_norm=0.0,
        bias_lr_factor=2.0,
        weight_decay_bias=0.5,
    )
    assert groups == [
        ({"lr": 0.1, "weight_decay": 0.01}, WEIGHTS),
        ({"lr": 0.2, "weight_decay": 0.5}, ["conv.bias", "bn.bias", "gn.bias", "lin.bias"]),
        ({"lr": 0.1, "weight_decay": 0.0}, ["bn.weight", "gn.weight"]),
    ]


def test_overrides_go_by_the_last_part_of_the_name():
    overrides = {"weight": {"lr": 5.0, "momentum": 0.3}}
    biases = ["conv.bias", "bn.bias", "gn.bias", "lin.bias"]
    assert params(base_lr=0.1, overrides=overrides) == [
        ({"lr": 0.1}, ["scale", *biases]),
        ({"lr": 5.0, "momentum": 0.3}, ["conv.weight", "bn.weight", "gn.weight", "lin.weight"]),
    ]
    assert params(base_lr=0.1, overrides={"scale": {"lr": 1.0}})[0] == ({"lr": 1.0}, ["scale"])


def test_lr_factor_func_gets_full_names_and_overrides_win():
    groups = params(
        base_lr=0.1,
        bias_lr_factor=2.0,
        overrides={"scale": {"lr": 1.0}},
        lr_factor_func=lambda name: 0.5 if name.startswith("bn.") else 1.0,
    )
    assert groups == [
        ({"lr": 1.0}, ["scale"]),
        ({"lr": 0.1}, ["conv.weight", "gn.weight", "lin.weight"]),
        ({"lr": 0.2}, ["conv.bias", "bn.bias", "gn.bias", "lin.bias"]),
        ({"lr": 0.05}, ["bn.weight"]),
    ]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"bias_lr_factor": 2.0},
        {"lr_factor_func": lambda name: 1.0},
        {"weight_decay_bias": 0.1, "overrides": {"bias": {"lr": 1.0}}},
        {"base_lr": 0.1, "bias_lr_factor": 2.0, "overrides": {"bias": {"weight_decay": 1.0}}},
    ],
)
def test_settings_that_do_not_go_together(kwargs):
    with pytest.raises(ValueError):
        params(**kwargs)


def test_a_shared_parameter_has_the_settings_of_the_first_module_that_has_it():
    net = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    net[1].bias = net[0].bias
    groups = get_default_optimizer_params(net, weight_decay=0.01, weight_decay_norm=0.0)
    assert named(net, groups) == [
        ({"weight_decay": 0.01}, ["0.weight", "0.bias"]),
        ({"weight_decay": 0.0}, ["1.weight"]),
    ]


def test_reduce_merges_groups_of_equal_settings():
    groups = [
        {"params": ["a", "b"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["c"], "lr": 2.0},
        {"params": ["d"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b"], "weight_decay": 4.0},
    ]
    assert reduce_param_groups(groups) == [
        {"params": ["a", "d"], "lr": 1.0, "weight_decay": 3.0},
        {"params": ["b"], "lr": 1.0, "weight_decay": 4.0},
        {"params": ["c"], "lr": 2.0},
    ]


def test_sgd_from_the_config():
    net = Net()
    cfg = config("SOLVER.BASE_LR", 0.02, "SOLVER.NESTEROV", True, "SOLVER.MOMENTUM", 0.8)
    optimizer = build_optimizer(cfg, net)
    assert type(optimizer) is torch.optim.SGD
    assert all(group["nesterov"] for group in optimizer.param_groups)
    others = ["scale", "conv.weight", "conv.bias", "lin.weight", "lin.bias"]
    assert named(net, optimizer.param_groups) == [
        ({"lr": 0.02, "weight_decay": 1e-4, "momentum": 0.8}, others),
        ({"lr": 0.02, "weight_decay": 0.0, "momentum": 0.8}, NORMS),
    ]


def test_an_sgd_step_by_hand():
    net = nn.Conv2d(1, 1, 1)
    nn.init.constant_(net.weight, 2.0)
    nn.init.constant_(net.bias, 1.0)
    cfg = config("SOLVER.BASE_LR", 0.1, "SOLVER.WEIGHT_DECAY", 0.5, "SOLVER.WEIGHT_DECAY_BIAS", 0.0)
    optimizer = build_optimizer(cfg, net)
    for _ in range(2):
        optimizer.zero_grad()
        net(torch.ones(1, 1, 1, 1)).sum().backward()  # both gradients are 1
        optimizer.step()
    # weight: buffer 1 + 0.5 * 2 = 2, weight 1.8; buffer 0.9 * 2 + 1.9 = 3.7, weight 1.43
    # bias:   buffer 1, bias 0.9;                  buffer 0.9 + 1 = 1.9,     bias 0.71
    assert net.weight.item() == pytest.approx(1.43)
    assert net.bias.item() == pytest.approx(0.71)


def clipping(kind, value=1.5, norm_type=2.0):
    return config(
        *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind),
        *("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", value),
        *("SOLVER.CLIP_GRADIENTS.NORM_TYPE", norm_type),
    )


@pytest.mark.parametrize(
    ("kind", "norm_type", "clipped"),
    [
        ("value", 2.0, [1.5, -1.5]),
        ("norm", 2.0, [0.9, -1.2]),  # |(3, -4)| = 5
        ("norm", 1.0, [4.5 / 7, -6 / 7]),
        ("norm", float("inf"), [1.125, -1.5]),
    ],
)
def test_clipping_is_of_each_parameter(kind, norm_type, clipped):
    large, small = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))
    optimizer_class = maybe_add_gradient_clipping(clipping(kind, 1.5, norm_type), torch.optim.SGD)
    optimizer = optimizer_class([large, small], lr=1.0)
    large.grad = torch.tensor([3.0, -4.0])
    small.grad = torch.tensor([0.3, 0.4])
    optimizer.step()
    torch.testing.assert_close(-large.detach(), torch.tensor(clipped), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(-small.detach(), torch.tensor([0.3, 0.4]))


def test_clipping_is_off_unless_asked_for():
    assert maybe_add_gradient_clipping(config(), torch.optim.AdamW) is torch.optim.AdamW


def test_clipping_optimizer_is_an_optimizer_of_the_class_it_extends():
    plain = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1.0)
    clipped = maybe_add_gradient_clipping(clipping("value"), plain)
    assert clipped is plain
    assert isinstance(clipped, torch.optim.SGD)
    assert type(clipped).__name__ == "SGDWithGradientClip"


def test_state_goes_from_a_plain_to_a_clipping_optimizer_and_back():
    def trained(cfg, state=None):
        torch.manual_seed(0)
        net = nn.Linear(3, 1)
        optimizer = build_optimizer(cfg, net)
        if state is not None:
            optimizer.load_state_dict(state)
        net(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        return optimizer.state_dict()

    plain, clipped = trained(config()), trained(clipping("norm"))
    assert plain["param_groups"] == clipped["param_groups"]
    trained(config(), clipped)
    twice = trained(clipping("value", 100.0), plain)
    # Momentum 0.9 of the first gradient, 1, and the second, 1 (weight decay is 1e-4).
    torch.testing.assert_close(
        twice["state"][0]["momentum_buffer"], torch.full((1, 3), 1.9), rtol=0, atol=1e-3
    )


def test_unknown_way_of_clipping():
    with pytest.raises(ValueError, match="full_model"):
        build_optimizer(clipping("full_model"), nn.Linear(1, 1))
