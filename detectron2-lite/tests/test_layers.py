"""Layers: convolution with norm, norms by name, frozen batch norm, NMS, ROIAlign."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import detectron2
from detectron2.layers import (
    BatchNorm2d,
    CNNBlockBase,
    Conv2d,
    ConvTranspose2d,
    FrozenBatchNorm2d,
    Linear,
    ROIAlign,
    ShapeSpec,
    batched_nms,
    cat,
    get_norm,
    interpolate,
    nms,
    nonzero_tuple,
)

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)
STATISTICS = ("weight", "bias", "running_mean", "running_var")


def trained_batch_norm(channels=3, layer=nn.BatchNorm2d):
    """A layer whose four vectors are random and differ."""
    generator = torch.Generator().manual_seed(0)
    norm = layer(channels)
    for name in STATISTICS:
        getattr(norm, name).data.copy_(torch.rand(channels, generator=generator) + 0.5)
    return norm.eval()


def test_conv_applies_norm_then_activation():
    torch.manual_seed(0)
    conv = Conv2d(2, 3, 3, padding=1, bias=False, norm=trained_batch_norm(), activation=F.relu)
    x = torch.randn(2, 2, 5, 6)
    expected = F.relu(conv.norm(F.conv2d(x, conv.weight, padding=1)))
    torch.testing.assert_close(conv(x), expected)
    assert (expected == 0).any()
    assert [name for name in conv.state_dict() if "tracked" not in name] == [
        "weight",
        *(f"norm.{name}" for name in STATISTICS),
    ]


def test_conv_without_extras_is_torchs():
    conv = Conv2d(2, 3, kernel_size=3, stride=2)
    x = torch.randn(1, 2, 7, 7)
    torch.testing.assert_close(conv(x), F.conv2d(x, conv.weight, conv.bias, stride=2))
    assert conv(x[:0]).shape == (0, 3, 3, 3)


def test_conv_refuses_empty_input_with_synchronised_norm():
    conv = Conv2d(1, 1, 1, norm=nn.SyncBatchNorm(1))
    with pytest.raises(AssertionError, match="SyncBatchNorm"):
        conv(torch.zeros(0, 1, 2, 2))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("BN", nn.BatchNorm2d),
        ("SyncBN", nn.SyncBatchNorm),
        ("nnSyncBN", nn.SyncBatchNorm),
        ("FrozenBN", FrozenBatchNorm2d),
        ("GN", nn.GroupNorm),
        (nn.InstanceNorm2d, nn.InstanceNorm2d),
        (lambda channels: nn.GroupNorm(2, channels), nn.GroupNorm),
    ],
)
def test_get_norm(name, layer):
    assert type(get_norm(name, 64)) is layer


def test_get_norm_details():
    assert get_norm("", 64) is None
    assert get_norm(None, 64) is None
    assert get_norm("GN", 64).num_groups == 32
    with pytest.raises(KeyError):
        get_norm("none", 64)


def test_layer_norm_is_over_channels():
    norm = get_norm("LN", 4)
    assert {name: tuple(p.shape) for name, p in norm.named_parameters()} == {
        "weight": (4,),
        "bias": (4,),
    }
    x = torch.randn(2, 4, 3, 5)
    variance = x.var(dim=1, keepdim=True, unbiased=False)
    expected = (x - x.mean(dim=1, keepdim=True)) / (variance + 1e-6).sqrt()
    torch.testing.assert_close(norm(x), expected)


@lite_only
def test_get_norm_messages():
    with pytest.raises(KeyError, match="'none'.*'GN'"):
        get_norm("none", 64)
    with pytest.raises(NotImplementedError, match="naiveSyncBN"):
        get_norm("naiveSyncBN", 64)


@pytest.mark.parametrize("layer", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_frozen_batch_norm_computes_the_same(layer):
    norm = trained_batch_norm(layer=layer)
    x = torch.randn(2, 3, 4, 4)
    expected = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    frozen = FrozenBatchNorm2d.convert_frozen_batchnorm(norm)
    # A converted layer keeps the counter, as detectron2's checkpoints have it.
    assert list(frozen.state_dict()) == [*STATISTICS, "num_batches_tracked"]
    assert list(FrozenBatchNorm2d(3).state_dict()) == list(STATISTICS)
    assert not list(frozen.parameters())
    frozen.train()
    torch.testing.assert_close(frozen(x), expected)
    torch.testing.assert_close(frozen(x.requires_grad_()), expected)  # goes another way
    back = FrozenBatchNorm2d.convert_frozenbatchnorm2d_to_batchnorm2d(frozen).eval()
    assert type(back) is nn.BatchNorm2d
    torch.testing.assert_close(back(x), expected)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_frozen_batch_norm_keeps_half_precision(dtype, requires_grad):
    x = torch.rand(1, 2, 3, 3).to(dtype).requires_grad_(requires_grad)
    assert FrozenBatchNorm2d(2)(x).dtype == dtype


def test_frozen_batch_norm_starts_as_the_identity():
    x = torch.randn(1, 2, 3, 3)
    assert torch.equal(FrozenBatchNorm2d(2, eps=1e-3)(x), x)


def test_frozen_batch_norm_conversion_is_in_place_and_deep():
    model = nn.Sequential(nn.BatchNorm2d(2, eps=1e-3), nn.Sequential(nn.BatchNorm2d(3)), nn.ReLU())
    assert FrozenBatchNorm2d.convert_frozen_batchnorm(model) is model
    assert type(model[0]) is type(model[1][0]) is FrozenBatchNorm2d
    assert (model[0].eps, model[0].num_features) == (1e-3, 2)


@pytest.mark.parametrize(("version", "loads"), [(None, True), (1, True), (2, False), (3, False)])
def test_frozen_batch_norm_upgrades_old_checkpoints(version, loads):
    """Before version 2, files have no running statistics."""
    state = OrderedDict(weight=torch.full((2,), 3.0), bias=torch.ones(2))
    state._metadata = {"": {"version": version}}
    norm = FrozenBatchNorm2d(2)
    norm.running_mean.fill_(5)
    if not loads:
        with pytest.raises(RuntimeError, match="running_var"):
            norm.load_state_dict(state)
        return
    norm.load_state_dict(state)
    assert norm.weight.tolist() == [3, 3]
    assert norm.running_mean.tolist() == [0, 0]
    assert norm.running_var.tolist() == [1, 1]


def test_block_freeze():
    class Block(CNNBlockBase):
        def __init__(self):
            super().__init__(2, 3, 1)
            self.conv = Conv2d(2, 3, 1, norm=BatchNorm2d(3))

    block = Block()
    assert block.freeze() is block
    assert (block.in_channels, block.out_channels, block.stride) == (2, 3, 1)
    assert not any(p.requires_grad for p in block.parameters())
    assert type(block.conv.norm) is FrozenBatchNorm2d


def test_shape_spec():
    assert ShapeSpec(channels=3, stride=4) == ShapeSpec(3, None, None, 4)
    assert ShapeSpec(3).height is None


def test_small_functions():
    tensor = torch.ones(2)
    assert cat([tensor]) is tensor
    assert cat((tensor, tensor)).shape == (4,)
    assert cat([tensor[None], tensor[None]], dim=1).shape == (1, 4)
    rows, columns = nonzero_tuple(torch.tensor([[0, 1], [1, 0]]))
    assert (rows.tolist(), columns.tolist()) == ([0, 1], [1, 0])
    assert nonzero_tuple(torch.tensor(5))[0].tolist() == [0]
    assert (Linear, ConvTranspose2d) == (nn.Linear, nn.ConvTranspose2d)
    assert interpolate(torch.ones(1, 1, 2, 2), scale_factor=2).shape == (1, 1, 4, 4)


@pytest.mark.parametrize(
    ("threshold", "groups", "kept"),
    [
        (0.5, [0, 0, 0], [1, 2]),  # box 0 overlaps box 1 by 0.9 and scores less
        (0.95, [0, 0, 0], [1, 0, 2]),
        (0.5, [0, 7, 0], [1, 0, 2]),  # another group
    ],
)
def test_nms(threshold, groups, kept):
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30.0]])
    scores = torch.tensor([0.8, 0.9, 0.1])
    assert batched_nms(boxes, scores, torch.tensor(groups), threshold).tolist() == kept
    if len(set(groups)) == 1:
        assert nms(boxes, scores, threshold).tolist() == kept
    assert batched_nms(boxes[:0], scores[:0], torch.tensor([]), 0.5).tolist() == []


@pytest.mark.parametrize(
    ("aligned", "expected"),
    [
        # Value of row y, column x: 5y + x, at the pixel's centre (aligned) or corner. Bins of 0.5
        # pixels from 1 on: samples at 1.25, 1.75, ..., half a pixel less when aligned.
        (True, [[4.5, 5.0], [7.0, 7.5]]),
        (False, [[7.5, 8.0], [10.0, 10.5]]),
    ],
)
def test_roi_align(aligned, expected):
    features = torch.arange(25.0).reshape(1, 1, 5, 5)
    align = ROIAlign((4, 4), spatial_scale=0.5, sampling_ratio=0, aligned=aligned)
    out = align(features, torch.tensor([[0, 2, 2, 6, 6.0]]))
    torch.testing.assert_close(out[0, 0, :2, :2], torch.tensor(expected))
    assert align(features[:0], torch.zeros(0, 5)).shape == (0, 1, 4, 4)
    with pytest.raises(AssertionError):
        align(features, torch.zeros(1, 4))
