"""What losses are divided by."""

import pytest
import torch

from fcos.layers import LossNormalizer


@pytest.mark.parametrize(
    "kind, want",
    [
        ("fg", [4.0, 1.0]),
        ("all", [50.0, 50.0]),
        # 0.9 * 100 + 0.1 * 4, then 0.9 of that + 0.1 * 1.
        ("moving_fg", [90.4, 81.46]),
    ],
)
def test_normalizers_by_hand(kind, want):
    normalizer = LossNormalizer(kind)
    got = [normalizer(torch.tensor(n), torch.tensor(50.0)) for n in (4.0, 1.0)]
    assert [value.item() for value in got] == pytest.approx(want)


def test_the_moving_normalizer_is_part_of_the_weights():
    first = LossNormalizer("moving_fg")
    for number in (3.0, 7.0):
        first(torch.tensor(number), torch.tensor(9.0))
    resumed = LossNormalizer("moving_fg")
    resumed.load_state_dict(first.state_dict())
    step = (torch.tensor(5.0), torch.tensor(9.0))
    assert resumed(*step) == first(*step) != LossNormalizer("moving_fg")(*step)
    # It stands still outside of training, and starts anew from weights that have none.
    assert resumed.eval()(*step) == resumed(*step)
    resumed.load_state_dict(LossNormalizer("fg").state_dict())
    assert resumed.moving_num_fg.item() == 100
    assert LossNormalizer("fg").state_dict() == LossNormalizer("all").state_dict() == {}


def test_two_steps_of_the_moving_normalizer_before_one_backward():
    normalizer, loss = LossNormalizer("moving_fg"), torch.tensor(1.0, requires_grad=True)
    parts = [loss * loss / normalizer(torch.tensor(n), torch.tensor(9.0)) for n in (100.0, 200.0)]
    sum(parts).backward()
    assert loss.grad.item() == pytest.approx(2 / 100 + 2 / 110)
