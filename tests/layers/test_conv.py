from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from fcos.layers import Conv3x3


def _map(height: int, width: int, images: int = 2, channels: int = 3) -> Tensor:
    x = torch.randn(images, channels, height, width)
    return x.contiguous(memory_format=torch.channels_last)


def _gradients(conv: nn.Conv2d, x: Tensor, grad: Tensor) -> list[Tensor]:
    x = x.detach().requires_grad_()
    conv(x).backward(grad)
    return [g for g in (x.grad, conv.weight.grad, conv.bias.grad) if g is not None]


def _kind(conv: nn.Conv2d, x: Tensor) -> str:
    return type(conv(x).grad_fn).__name__


# 2 bands; 5 uneven ones; a row alone; rows that are bands of their own.
@pytest.mark.parametrize("size", [(83, 79), (211, 127), (1, 6001), (3, 7000)])
@pytest.mark.cpu
def test_gradients_in_bands_are_those_of_the_whole(size):
    torch.manual_seed(0)
    conv, x, grad = Conv3x3(3, 5), _map(*size), _map(*size, channels=5)
    assert _kind(conv, x) == "_BandedConvBackward"
    exact = copy.deepcopy(conv).double()
    assert _kind(exact, x.double()) == "ConvolutionBackward0"
    expected = _gradients(exact, x.double(), grad.double())
    for ours, truth in zip(_gradients(conv, x, grad), expected, strict=True):
        assert (ours - truth).abs().max() < 1e-5 * truth.abs().max()
    assert torch.equal(conv(x), nn.functional.conv2d(x, conv.weight, conv.bias, padding=1))


def test_bands_take_gradients_in_any_memory_format():
    torch.manual_seed(0)
    conv, x = Conv3x3(3, 4), _map(90, 80)
    grad = torch.randn(2, 4, 90, 80)
    other = copy.deepcopy(conv)
    ours = _gradients(conv, x, grad)
    same = _gradients(other, x, grad.contiguous(memory_format=torch.channels_last))
    assert all(torch.equal(a, b) for a, b in zip(ours, same, strict=True))


def test_only_the_gradients_asked_for_are_computed():
    conv, x = Conv3x3(2, 2), _map(90, 80, channels=2)
    conv.bias.requires_grad_(False)
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    assert conv.bias.grad is None


def test_elsewhere_it_is_a_plain_convolution():
    conv, x = Conv3x3(3, 3), _map(90, 80)
    plain = "ConvolutionBackward0"
    assert _kind(conv, _map(70, 80)) == plain  # small
    assert _kind(conv, x.contiguous()) == plain
    with torch.autocast("cpu", torch.bfloat16):
        assert "Banded" not in _kind(conv, x)
    with torch.no_grad():
        assert conv(x).grad_fn is None
    conv.weight.requires_grad_(False)
    assert _kind(conv, x) == plain
