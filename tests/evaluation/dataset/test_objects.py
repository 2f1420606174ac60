"""The boxes that the page measures are those that training learns."""

import numpy as np
import pytest
import torch

from fcos.config.defaults import read_cfg
from fcos.data import register_custom_datasets
from fcos.data.mapper import ImageMapper
from fcos.evaluation.dataset.assignment import assign
from fcos.evaluation.dataset.objects import network_inputs
from fcos.evaluation.dataset.splits import read_splits
from fcos.modeling.fcos.settings import targets_of
from fcos.utils.errors import UserError
from tests.evaluation.dataset.conftest import scenes


@pytest.fixture
def cfg(project):
    beyond = [[(100, 70, 60, 60, 1), (-9, -5, 30, 20, 0)]]
    project.write("train", [*scenes(4, 3, 70, objects=8), [], *beyond])
    project.write("val", scenes(1, 10, 20))
    cfg = read_cfg(str(project.config), ["INPUT.RANDOM_FLIP", "none"])
    register_custom_datasets(cfg)
    return cfg


@pytest.mark.parametrize("short, longest", [(96, 128), (50, 61), (133, 700), (0, 8)])
def test_boxes_and_labels_are_those_of_training(cfg, short, longest):
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (short,), longest
    [split, _] = read_splits(cfg)
    inputs = network_inputs(cfg, [split.objects])
    targets = targets_of(cfg)
    assigned = assign(inputs, targets)
    mapper, positive = ImageMapper(cfg, is_train=True), 0
    for number, record in enumerate(split.data.dicts(for_training=True)):
        truth = mapper(record)["instances"]
        is_here = inputs.image_index == number
        torch.testing.assert_close(inputs.boxes[is_here], truth.gt_boxes.tensor)
        assert inputs.classes[is_here].tolist() == truth.gt_classes.tolist()
        assert tuple(inputs.sizes[number].tolist()) == truth.image_size
        if not len(truth):
            continue
        padded = [-(-side // 32) * 32 for side in truth.image_size]
        sizes = [(-(-padded[0] // s), -(-padded[1] // s)) for s in targets.strides]
        labels, _ = targets.fcos_target(sizes, [truth])
        positive += int((labels < targets.num_classes).sum())
    assert assigned.num_positive == positive == int(assigned.positives.sum()) > 0


def test_each_image_has_one_of_several_lengths(cfg):
    cfg.INPUT.MAX_SIZE_TRAIN = 1000
    [split, _] = read_splits(cfg)
    objects = [split.objects] * 30
    for lengths, kind in (((48, 96), "choice"), ((40, 60), "range")):
        cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = lengths, kind
        found = set(network_inputs(cfg, objects).sizes[:, 0].tolist())
        assert found == (set(lengths) if kind == "choice" else set(range(40, 61)))


def test_a_sample_is_of_whole_images(cfg):
    [split, _] = read_splits(cfg)
    whole = network_inputs(cfg, [split.objects])
    assert whole.sample(6) is whole
    half = whole.sample(3)  # images 0, 2 and 4 of six
    assert len(half.sizes) == 3
    counts = np.bincount(half.image_index, minlength=3)
    assert counts.tolist() == split.objects.per_image[[0, 2, 4]].tolist()


def test_images_without_a_size_are_refused(cfg, project, monkeypatch):
    [split, _] = read_splits(cfg)
    split.data.images[2].width = float("inf")
    with pytest.raises(UserError, match=r"does not give the width and height of train2\.png"):
        read_splits(cfg)
