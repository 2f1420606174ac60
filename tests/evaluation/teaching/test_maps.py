"""Targets and scores of one level."""

import math

import pytest
import torch

from fcos.evaluation.teaching import RawOutputs, score_maps, target_maps
from fcos.modeling.fcos import DetectionRules, FCOSTargets
from tests.helpers import ground_truth

NONE = math.nan


def logit(probability):
    return math.log(probability / (1 - probability))


def test_targets_by_hand(scene):
    *ltrb, centerness = target_maps(scene.targets, scene.sizes, scene.truth, 0)
    want = {
        "l": [[4, 4, 12], [4, 12, NONE]],
        "t": [[4, 4, 4], [12, 12, NONE]],
        "r": [[12, 12, 4], [12, 4, NONE]],
        "b": [[12, 4, 4], [4, 4, NONE]],
    }
    for (side, values), shown in zip(want.items(), ltrb, strict=True):
        assert shown.title.startswith(f"{side}: ") and shown.highest == 12
        torch.testing.assert_close(shown.values, torch.tensor(values).float(), equal_nan=True)
    third, root = 1 / 3, math.sqrt(1 / 3)
    want = torch.tensor([[third, root, root], [third, third, NONE]])
    torch.testing.assert_close(centerness.values, want, equal_nan=True)
    assert centerness.highest == 1


def test_the_level_that_is_asked_for():
    targets = FCOSTargets(strides=(8, 16), sizes_of_interest=(16,))
    truth = ground_truth([[0.0, 0, 30, 16]], [0])
    distances = [target_maps(targets, [(2, 4), (1, 2)], truth, level)[0] for level in (0, 1)]
    assert distances[0].values.shape == (2, 4) and distances[1].values.shape == (1, 2)
    assert distances[1].values.tolist() == [[8, 24]]


def outputs_by_hand():
    """Four locations on one level and one on the next, two classes."""
    best = [0.81, 0.64, 0.04, 1e-20, 0.25]
    other = [0.5, 0.01, 0.36, 1e-20, 0.01]
    cls_logits = torch.tensor([[logit(a), logit(b)] for a, b in zip(best, other, strict=True)])
    centerness = torch.tensor([logit(p) for p in (0.25, 1 - 1e-7, 0.25, 0.5, 0.5)])
    return RawOutputs(cls_logits, torch.ones(5, 4), centerness, [(2, 2), (1, 1)], (16, 16))


@pytest.mark.parametrize(
    "options, level, before, after",
    [
        ({}, 0, [[0.9, 0.8], [0.6, 0]], [[0.45, 0.8], [0.3, 0]]),  # square roots
        ({"square_root": False}, 0, [[0.81, 0.64], [0.36, 0]], [[0.2025, 0.64], [0.09, 0]]),
        ({}, 1, [[0.5]], [[math.sqrt(0.125)]]),
        # The threshold and the best of each level hide nothing.
        ({"score_threshold": 0.5, "pre_nms_topk": 1}, 1, [[0.5]], [[math.sqrt(0.125)]]),
    ],
)
def test_scores_by_hand(options, level, before, after):
    maps = score_maps(outputs_by_hand(), DetectionRules(**options), level)
    assert [shown.highest for shown in maps] == [1, 1, 1]
    assert maps[0].title.startswith("before: ") and maps[2].title.startswith("after: ")
    assert ("square root" in maps[0].title) == options.get("square_root", True)
    torch.testing.assert_close(maps[0].values, torch.tensor(before), atol=1e-5, rtol=0)
    torch.testing.assert_close(maps[2].values, torch.tensor(after), atol=1e-5, rtol=0)
    centerness = [[0.25, 1], [0.25, 0.5]] if level == 0 else [[0.5]]
    torch.testing.assert_close(maps[1].values, torch.tensor(centerness), atol=1e-5, rtol=0)


def test_scores_of_one_class():
    before, _, _ = score_maps(outputs_by_hand(), DetectionRules(), 0, class_=0)
    torch.testing.assert_close(before.values, torch.tensor([[0.9, 0.8], [0.2, 0]]))
