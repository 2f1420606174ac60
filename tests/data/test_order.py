from itertools import chain, islice

import pytest
import torch

from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from fcos.data.order import group_into_batches, share_of_rank, shuffled_indices


def first(iterable, count):
    return list(islice(iterable, count))


def test_order_is_that_of_detectron2_in_one_process():
    assert first(shuffled_indices(7, 3), 50) == first(TrainingSampler(7, seed=3), 50)


def test_repetition_is_that_of_detectron2_in_one_process():
    factors = torch.tensor([1, 1.5, 2.25, 1])
    ours = first(shuffled_indices(4, 3, factors), 200)
    assert ours == first(RepeatFactorTrainingSampler(factors, seed=3), 200)


def test_each_pass_has_every_index_once():
    indices = first(shuffled_indices(5, 0), 15)
    passes = [indices[i : i + 5] for i in (0, 5, 10)]
    assert [sorted(p) for p in passes] == [[0, 1, 2, 3, 4]] * 3
    assert passes[0] != passes[1] != passes[2]


def test_factors_are_kept_on_average():
    # A pass has 1 + 3 + 1.25 + 0 indices on average: 4000 indices are about 762 passes.
    counts = torch.bincount(
        torch.tensor(first(shuffled_indices(4, 0, torch.tensor([1, 3, 1.25, 0])), 4000)),
        minlength=4,
    )
    assert counts[3] == 0
    torch.testing.assert_close(counts / counts[0], torch.tensor([1, 3, 1.25, 0]), atol=0.1, rtol=0)


def test_seed_decides():
    assert first(shuffled_indices(50, 1), 50) == first(shuffled_indices(50, 1), 50)
    assert first(shuffled_indices(50, 1), 50) != first(shuffled_indices(50, 2), 50)


@pytest.mark.parametrize(
    ("size", "factors", "message"),
    [
        (0, None, "without records"),
        (2, torch.ones(3), "expected 2, not all 0"),
        (2, torch.zeros(2), "expected 2, not all 0"),
    ],
)
def test_endless_nothing_is_an_error(size, factors, message):
    with pytest.raises(ValueError, match=message):
        shuffled_indices(size, 0, factors)


def test_batches_come_in_the_order_in_which_they_fill():
    group_of = [True, False, True, True, False]
    # 0 and 2 fill the first batch, then 1 and 4, then 3 and 0; the last 1 fills none.
    got = group_into_batches([0, 1, 2, 3, 4, 0, 1], group_of, 2)
    assert list(got) == [[0, 2], [1, 4], [3, 0]]


def test_batches_of_one_group():
    group_of = [i % 3 == 0 for i in range(20)]
    batches = first(group_into_batches(shuffled_indices(20, 0), group_of, 4), 100)
    assert all(len({group_of[i] for i in batch}) == 1 and len(batch) == 4 for batch in batches)
    assert {group_of[batch[0]] for batch in batches} == {True, False}


def test_shares_of_all_ranks_are_the_whole():
    batches = [[10, 11, 12, 13], [14, 15, 16, 17]]
    shares = [list(share_of_rank(batches, rank, 2)) for rank in (0, 1)]
    assert shares[0] == [[(0, 10), (2, 12)], [(4, 14), (6, 16)]]
    assert shares[1] == [[(1, 11), (3, 13)], [(5, 15), (7, 17)]]
    both = [chain(*(shares[rank][i] for rank in (0, 1))) for i in (0, 1)]
    assert [[index for _, index in sorted(batch)] for batch in both] == batches


def test_start_leaves_out_batches_and_keeps_positions():
    batches = [[10, 11], [12, 13], [14, 15]]
    assert list(share_of_rank(batches, 0, 1, start=2)) == [[(4, 14), (5, 15)]]
