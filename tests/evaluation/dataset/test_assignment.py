"""The figures of the assignment against a slow loop over all pairs, and fates by hand."""

import itertools
import math

import pytest
import torch

from fcos.evaluation.dataset.assignment import FATES, assign
from fcos.evaluation.dataset.objects import Inputs
from fcos.modeling.fcos import FCOSTargets


def inputs_of(scenes, sizes):
    """``scenes``: per image a list of (x1, y1, x2, y2, class)."""
    rows = [row for scene in scenes for row in scene]
    index = [i for i, scene in enumerate(scenes) for _ in scene]
    return Inputs(
        torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[4] for row in rows], dtype=torch.int64),
        torch.tensor(index, dtype=torch.int64),
        torch.tensor(sizes, dtype=torch.int64),
    )


def slow(scenes, sizes, strides, limits, radius):
    """The paper's rules, one pair of a location and a box after the other."""
    ends = [0, *limits, math.inf]
    totals = {"positive": 0, "ambiguous": 0, "between": 0}
    positives, fates = [], []
    for scene, (height, width) in zip(scenes, sizes, strict=True):
        wins = [[0] * len(strides) for _ in scene]
        above, fits, near = ([False] * len(scene) for _ in range(3))
        for level, stride in enumerate(strides):
            rows, columns = (-(-(-(-side // 32) * 32) // stride) for side in (height, width))
            for row, column in itertools.product(range(rows), range(columns)):
                x, y = column * stride + stride // 2, row * stride + stride // 2
                candidates = []
                for number, (x1, y1, x2, y2, _) in enumerate(scene):
                    sides = (x - x1, y - y1, x2 - x, y2 - y)
                    if min(sides) <= 0:
                        continue
                    above[number] |= max(sides) > ends[level + 1]
                    if not ends[level] <= max(sides) <= ends[level + 1]:
                        continue
                    fits[number] = True
                    off = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2))
                    if radius is None or off < radius * stride:
                        near[number] = True
                        candidates.append(number)
                if not candidates:
                    continue
                areas = [
                    (scene[n][2] - scene[n][0]) * (scene[n][3] - scene[n][1]) for n in candidates
                ]
                wins[candidates[areas.index(min(areas))]][level] += 1
                totals["positive"] += 1
                totals["ambiguous"] += len(candidates) > 1
                totals["between"] += len({scene[n][4] for n in candidates}) > 1
        positives += wins
        for number, row in enumerate(wins):
            name = "out of range" if above[number] else "too small"
            name = "off center" if fits[number] else name
            name = "hidden" if near[number] else name
            fates.append("learnt" if sum(row) else name)
    return positives, fates, totals


def random_scenes(seed):
    generator = torch.Generator().manual_seed(seed)
    sizes = [(64, 96), (40, 50), (64, 90), (64, 64), (70, 30)]
    scenes = []
    for height, width in sizes:
        scene = []
        for _ in range(0 if (height, width) == (64, 64) else 30):
            x, y, w, h, c = torch.rand(5, generator=generator).tolist()
            side = 2 ** (1 + 5 * w), 2 ** (1 + 5 * h)  # 2 to 64 pixels
            x1, y1 = round(x * (width - 2)), round(y * (height - 2))
            scene.append(
                (x1, y1, min(x1 + round(side[0]), width), min(y1 + round(side[1]), height))
                + (int(3 * c),)
            )
        scenes.append(scene)
    return scenes, sizes


@pytest.mark.parametrize("radius", [None, 1.5, 0.4])
@pytest.mark.parametrize("seed", range(2))
def test_recall_and_ambiguity_equal_a_slow_loop(seed, radius, monkeypatch):
    scenes, sizes = random_scenes(seed)
    strides, limits = (4, 8, 16), (12, 30)
    # Few pairs at once, so that images of one size come in several parts.
    monkeypatch.setattr("fcos.evaluation.dataset.assignment._MOST_PAIRS", 9000)
    targets = FCOSTargets(
        strides=strides, sizes_of_interest=limits, num_classes=3, center_radius=radius
    )
    found = assign(inputs_of(scenes, sizes), targets)
    positives, fates, totals = slow(scenes, sizes, strides, limits, radius)
    assert found.positives.tolist() == positives
    assert [list(FATES)[i] for i in found.fates.tolist()] == fates
    assert len(set(fates)) >= 4
    assert (found.num_positive, found.num_ambiguous, found.num_between) == tuple(totals.values())
    assert 0 < totals["ambiguous"] < totals["positive"]
    assert found.learnt == pytest.approx(100 * fates.count("learnt") / len(fates))
    assert found.ambiguous == pytest.approx(100 * totals["ambiguous"] / totals["positive"])
    assert found.between == pytest.approx(100 * totals["between"] / totals["positive"])


def test_fates_by_hand():
    # Stride 8: locations at 4, 12, 20, ...; stride 16: at 8, 24, ...
    scene = [
        (5, 5, 11, 11, 0),  # (8, 8) of the second level, which is for larger ones
        (13, 13, 19, 19, 0),  # no location at all
        (30, 0, 34, 60, 0),  # x 30 to 34: none of 28, 36; none of 24, 40
        (34, 20, 38, 60, 0),  # (36, 28), ...: its far side is more than 16 away
        (43, 3, 45, 13, 1),  # (44, 4) and (44, 12): learnt
        (42, 2, 46, 14, 0),  # the same locations, and larger
    ]
    targets = FCOSTargets(strides=(8, 16), sizes_of_interest=(16,), num_classes=2)
    found = assign(inputs_of([scene], [(64, 64)]), targets)
    assert [list(FATES)[i] for i in found.fates.tolist()] == [
        "too small",
        "too small",
        "too small",
        "out of range",
        "learnt",
        "hidden",
    ]
    assert (found.num_positive, found.num_ambiguous, found.num_between) == (2, 2, 2)
    assert found.locations.tolist() == [64, 16]
    assert found.learnt == pytest.approx(100 / 6)
    assert found.share_positive == pytest.approx(100 * 2 / 80)


def test_without_objects_there_is_nothing_to_measure():
    targets = FCOSTargets(strides=(8,), sizes_of_interest=(), num_classes=2)
    found = assign(inputs_of([[], []], [(64, 64), (32, 40)]), targets)
    assert math.isnan(found.learnt) and math.isnan(found.ambiguous)
    assert found.locations.tolist() == [64 + 4 * 8]
    assert found.share_positive == 0
