"""Batch normalisation with one layer for each level."""

import pytest
import torch

from fcos.layers import PerLevelNorm


def test_each_level_has_its_own_statistics():
    norm = PerLevelNorm(2, 1)
    # Values 1 and 3: mean 2, standard deviation 1. Values 10 and 30: mean 20, deviation 10.
    first, second = (torch.tensor([1.0, 3]) * scale for scale in (1, 10))
    for level, values in enumerate((first, second)):
        got = norm(values.view(1, 1, 1, 2), level)
        torch.testing.assert_close(got.flatten(), torch.tensor([-1.0, 1]), atol=1e-4, rtol=0)
    # After one step with a momentum of 0.1: 0.1 of the mean.
    assert norm[0].running_mean.item() == pytest.approx(0.2)
    assert norm[1].running_mean.item() == pytest.approx(2.0)


def test_names():
    names = set(PerLevelNorm(2, 4).state_dict())
    assert {"0.weight", "1.bias", "1.running_var"} < names
    assert set(PerLevelNorm(2, 4, synchronized=True).state_dict()) == names


def test_synchronized_infers_anywhere():
    norm, plain = PerLevelNorm(2, 4, synchronized=True), PerLevelNorm(2, 4)
    plain(torch.randn(1, 4, 2, 2), 1)
    norm.load_state_dict(plain.state_dict())
    x = torch.randn(1, 4, 2, 2)
    torch.testing.assert_close(norm.eval()(x, 1), plain.eval()(x, 1))
