"""Samplers, against the sequences of detectron2's."""

import itertools

import pytest
import torch
from golden_values import golden_json
from torch.utils.data import SequentialSampler

import detectron2
from detectron2.data.samplers import (
    GroupedBatchSampler,
    InferenceSampler,
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

GOLDEN = golden_json("host_samplers.json")


@pytest.fixture
def be_rank(monkeypatch):
    def be_rank(rank, world_size):
        monkeypatch.setattr(comm, "get_rank", lambda: rank)
        monkeypatch.setattr(comm, "get_world_size", lambda: world_size)

    return be_rank


def take(sampler, n):
    return list(itertools.islice(sampler, n))


def test_golden_training(be_rank):
    for case in GOLDEN["training"]:
        be_rank(case["rank"], case["world_size"])
        sampler = TrainingSampler(case["size"], shuffle=case["shuffle"], seed=case["seed"])
        assert take(sampler, len(case["first"])) == case["first"], case
        assert take(sampler, 3) == case["first"][:3], "each iteration starts anew"


def test_golden_inference(be_rank):
    for case in GOLDEN["inference"]:
        be_rank(case["rank"], case["world_size"])
        sampler = InferenceSampler(case["size"])
        assert list(sampler) == case["indices"] and len(sampler) == case["len"], case


def test_golden_repeat_factors(be_rank):
    golden = GOLDEN["repeat_factor"]
    images = [
        {"annotations": [{"category_id": c} for c in present]}
        for present in golden["category_ids_per_image"]
    ]
    factors_of = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency
    for key, expected in golden["factors"].items():
        threshold, sqrt = key.removeprefix("thresh").split("_sqrt")
        factors = factors_of(images, float(threshold), sqrt=sqrt == "True")
        torch.testing.assert_close(factors, torch.tensor(expected))
    for case in golden["sequences"]:
        be_rank(case["rank"], case["world_size"])
        factors = factors_of(images, case["thresh"])
        sampler = RepeatFactorTrainingSampler(factors, shuffle=case["shuffle"], seed=case["seed"])
        assert take(sampler, len(case["first"])) == case["first"], case


def test_repeat_factors_by_hand():
    images = [
        {"annotations": [{"category_id": c} for c in classes]} for classes in ([0, 1], [0], [])
    ]
    factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(images, 0.5)
    # Class 1 is in a third of the images: sqrt(0.5 / (1/3)). Class 0 is in two thirds.
    torch.testing.assert_close(factors, torch.tensor([1.5**0.5, 1.0, 1.0]))


def test_random_subset():
    sampler = RandomSubsetTrainingSampler(20, 0.4, seed_shuffle=1, seed_subset=2)
    # As detectron2's.
    first = [14, 10, 19, 12, 4, 0, 1, 8]
    assert take(sampler, 8) == first and sorted(take(sampler, 16)[8:]) == sorted(first)
    in_order = RandomSubsetTrainingSampler(20, 0.4, False, seed_shuffle=1, seed_subset=2)
    assert take(in_order, 16) == [8, 1, 19, 0, 10, 14, 12, 4] * 2
    for ratio in (0.0, 1.5):
        with pytest.raises(AssertionError):
            RandomSubsetTrainingSampler(20, ratio)


def test_without_a_seed_it_is_drawn_when_the_sampler_is_made():
    seed_all_rng(42)
    first = take(TrainingSampler(30), 65)
    seed_all_rng(42)
    sampler = TrainingSampler(30)
    seed_all_rng(7)
    assert take(sampler, 65) == first
    assert take(TrainingSampler(30), 65) != first


def test_grouped_batches():
    groups = [0, 1, 1, 0, 0, 1, 1, 0, 2]
    sampler = GroupedBatchSampler(SequentialSampler(groups), groups, 2)
    assert take(sampler, 9) == [[1, 2], [0, 3], [5, 6], [4, 7]]  # as they become complete
    with pytest.raises(ValueError):
        GroupedBatchSampler([0, 1], groups, 2)


def test_a_size_that_is_none():
    for size, error in ((0, ValueError), (-1, ValueError), (2.5, TypeError)):
        with pytest.raises(error):
            TrainingSampler(size)


@lite_only
def test_messages():
    with pytest.raises(ValueError, match="at least one image, got size=0"):
        TrainingSampler(0)
    with pytest.raises(AssertionError, match=r"subset_ratio: expected a part in \(0, 1\], got 2"):
        RandomSubsetTrainingSampler(20, 2)
