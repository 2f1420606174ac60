"""Deformable convolution by hand, and against a slow twin in plain loops."""

import math

import pytest
import torch

from fcos.layers import DeformConv, DeformConvLayer, as_deformable, split_offsets


def picks_the_middle(channels=1):
    """A 3x3 convolution that returns its input."""
    conv = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[range(channels), range(channels), 1, 1] = 1
    return conv


X = torch.tensor([[[[1.0, 2, 4], [8, 16, 32]]]])


@pytest.mark.parametrize(
    "dy, dx, want",
    [
        (0, 0, [[1, 2, 4], [8, 16, 32]]),
        (0, 1, [[2, 4, 0], [16, 32, 0]]),  # one to the right; 0 outside
        (-1, 0, [[0, 0, 0], [1, 2, 4]]),
        (0, 0.5, [[1.5, 3, 2], [12, 24, 16]]),  # halfway: the mean of two cells
        (0.25, 0, [[2.75, 5.5, 11], [6, 12, 24]]),  # 3/4 of this row and 1/4 of the next
    ],
)
def test_offsets_by_hand(dy, dx, want):
    offset = torch.tensor([dy, dx]).float().repeat(9).view(1, 18, 1, 1).expand(1, 18, 2, 3)
    got = DeformConv(picks_the_middle())(X, offset)
    torch.testing.assert_close(got, torch.tensor([[want]]).float())


def test_weights_of_the_places_by_hand():
    mask = torch.zeros(1, 9, 2, 3)
    mask[:, 4] = 0.25  # the middle of the kernel
    got = DeformConv(picks_the_middle())(X, torch.zeros(1, 18, 2, 3), mask)
    torch.testing.assert_close(got, X / 4)


def test_split_by_hand():
    raw = torch.arange(6.0).view(1, 6, 1, 1)
    offset, mask = split_offsets(raw, modulated=True)
    assert offset.flatten().tolist() == [0, 1, 2, 3]
    assert mask.flatten().tolist() == pytest.approx([1 / (1 + math.exp(-x)) for x in (4, 5)])
    assert split_offsets(raw, modulated=False) == (raw, None)


def bilinear(plane, y, x):
    """The value between the cells of a plane; 0 outside of it."""
    rows, columns = plane.shape
    value = 0.0
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < rows and 0 <= column < columns:
                share = (1 - abs(y - row)) * (1 - abs(x - column))
                value += share * plane[row, column].item()
    return value


def slow_twin(x, raw, conv, modulated, num_groups):
    """Eq. (1) of arXiv:1811.11168, one output at a time."""
    stride, padding, dilation = conv.stride[0], conv.padding[0], conv.dilation[0]
    out = torch.zeros(conv.out_channels, *raw.shape[-2:])
    inputs_per_group = conv.in_channels // conv.groups
    for o in range(conv.out_channels):
        first = o // (conv.out_channels // conv.groups) * inputs_per_group
        for p, q in torch.cartesian_prod(*map(torch.arange, raw.shape[-2:])).tolist():
            for i in range(inputs_per_group):
                group = (first + i) // (conv.in_channels // num_groups)
                for k in range(9):
                    place = group * 9 + k
                    dy, dx = raw[0, 2 * place, p, q].item(), raw[0, 2 * place + 1, p, q].item()
                    y = p * stride - padding + (k // 3) * dilation + dy
                    x_ = q * stride - padding + (k % 3) * dilation + dx
                    value = bilinear(x[0, first + i], y, x_) * conv.weight[o, i, k // 3, k % 3]
                    if modulated:
                        value *= raw[0, 18 * num_groups + place, p, q].sigmoid()
                    out[o, p, q] += value.item()
    return out[None]


@pytest.mark.parametrize(
    "modulated, num_groups, options",
    [
        (False, 1, {"stride": 1, "padding": 1}),
        (True, 2, {"stride": 2, "padding": 1}),
        (True, 1, {"stride": 1, "padding": 2, "dilation": 2, "groups": 2}),
    ],
)
def test_it_equals_plain_loops(modulated, num_groups, options):
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(4, 2, 3, bias=False, **options)
    predictor, deformable = as_deformable(conv, modulated, num_groups)
    torch.nn.init.normal_(predictor.weight, std=0.3)
    x = torch.randn(1, 4, 4, 5)
    with torch.no_grad():
        raw = predictor(x)
        got = deformable(x, *split_offsets(raw, modulated))
        want = slow_twin(x, raw, conv, modulated, num_groups)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modulated, factor", [(False, 1.0), (True, 0.5)])
def test_training_starts_from_a_plain_convolution(modulated, factor):
    torch.manual_seed(0)
    layer, x = DeformConvLayer(8, modulated), torch.randn(2, 8, 5, 6)
    plain = torch.nn.functional.conv2d(x, layer.conv.weight, padding=1) * factor
    want = plain + layer.conv.bias[:, None, None]
    torch.testing.assert_close(layer(x), want)
    layer(x).square().sum().backward()
    assert all(p.grad.any() for p in layer.parameters())


def test_half_precision_is_computed_in_full():
    layer, x = DeformConvLayer(8), torch.randn(1, 8, 6, 6)
    got = layer.bfloat16()(x.bfloat16())
    assert got.dtype == torch.bfloat16
    assert got.isfinite().all()


def test_errors():
    with pytest.raises(ValueError, match=r"raw: expected \(N, a multiple of 3, H, W\), got"):
        split_offsets(torch.zeros(1, 18 + 1, 2, 2), modulated=True)
    with pytest.raises(ValueError, match="num_groups: expected a divisor of the 8 channels, got 3"):
        as_deformable(torch.nn.Conv2d(8, 8, 3), modulated=True, num_groups=3)
