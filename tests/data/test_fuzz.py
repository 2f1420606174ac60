"""Random damage to annotations: refused before the first iteration, or trained and evaluated on.

``make fuzz`` tries many more.
"""

import copy
import itertools
import json
import os
import random

import pytest
import torch

from detectron2.structures import Boxes, Instances
from fcos.config import get_cfg
from fcos.data import annotations, build_test_stream, build_train_stream, check_datasets
from fcos.evaluation.coco_evaluation import FastCOCOEvaluator
from fcos.utils.errors import UserError

SEEDS = int(os.environ.get("FCOS_FUZZ_SEEDS", "40"))

VALUES = [
    *(None, True, False, 0, 1, -1, 2, 0.5, 1e-30, 1e30, float("nan"), float("inf"), 10**400),
    *(
        "",
        "0",
        "a",
        "\0",
        "\ud800",
        [],
        [0],
        [[]],
        [[[1]]],
        {},
        {"a": 1},
        ["1", "2", "3", "4"],
        [1, 2, 3],
    ),
    *([0.1, 0.2, 0.3, 0.4], [-5, -5, 20, 20], [30, 30, 1e-9, 5], [-1e9, -1e9, 2e9, 2e9]),
    *([[1e9] * 6], [[1, 2, 3, 4, 5, 6]], {"counts": "0", "size": [32, 48]}, {"counts": [9]}),
]
KEYS = {
    "images": ["id", "file_name", "width", "height"],
    "categories": ["id", "name"],
    "annotations": [
        *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore"),
        *("segmentation", "keypoints"),
    ],
}


def damage(lists, rng):
    """Change one value or a few, of one member or of all."""
    for _ in range(rng.choice([1, 1, 1, 2, 4])):
        key = rng.choice(list(KEYS))
        name, value = rng.choice(KEYS[key]), rng.choice(VALUES)
        chosen = lists[key] if rng.random() < 0.2 else rng.sample(lists[key], 1)
        how = rng.random()
        for member in chosen:
            if how < 0.1:
                member.pop(name, None)
            elif how < 0.3 and isinstance(member.get("bbox"), list) and member["bbox"]:
                member["bbox"][rng.randrange(len(member["bbox"]))] = value
            elif how < 0.9:
                member[name] = copy.deepcopy(value)
            else:
                lists[key].append(copy.deepcopy(member))
                break


def found(image, with_masks):
    size = image["height"], image["width"]
    instances = Instances(size, pred_boxes=Boxes(torch.tensor([[4.0, 5.0, 14.0, 14.0]])))
    instances.scores, instances.pred_classes = torch.tensor([0.9]), torch.tensor([0])
    if with_masks:
        instances.pred_masks = torch.zeros(1, *size, dtype=torch.bool)
        instances.pred_masks[0, 5:14, 4:14] = True
    return {"instances": instances}


@pytest.mark.parametrize("seed", range(SEEDS))
def test_damaged_annotations(coco, tmp_path, monkeypatch, seed):
    monkeypatch.setattr(annotations, "_kept", {})
    rng = random.Random(seed)
    with_masks = rng.random() < 0.4
    for a in coco.annotations:
        a["segmentation"] = [[4, 5, 14, 5, 14, 15]]
    sound = coco.register("sound")
    coco.json_file = coco.json_file.with_name("damaged.json")
    lists = {"images": coco.images, "annotations": coco.annotations, "categories": coco.categories}
    damage(lists, rng)
    damaged = coco.register("damaged")
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE = "OneStageDetector"
    cfg.MODEL.FCOS.NUM_CLASSES, cfg.MODEL.MASK_ON = 2, with_masks
    cfg.INPUT.MASK_FORMAT = rng.choice(["polygon", "bitmask"])
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (64,), 64
    cfg.DATALOADER.NUM_WORKERS, cfg.SOLVER.IMS_PER_BATCH = 0, 1
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (
        ((damaged,), (sound,)) if rng.random() < 0.5 else ((sound,), (damaged,))
    )
    try:
        training, _ = check_datasets(cfg)
    except UserError as refusal:
        assert "\n" not in str(refusal)
        return
    stream = build_train_stream(cfg)
    images = training.num_images - training.num_empty_images
    samples = itertools.chain(*itertools.islice(stream, images))
    assert sum(len(sample["instances"]) for sample in samples) == training.num_objects
    (name,) = cfg.DATASETS.TEST
    tasks = ("bbox", "segm") if with_masks else ("bbox",)
    evaluator = FastCOCOEvaluator(name, tasks, str(tmp_path / "out"))
    evaluator.reset()
    for batch in build_test_stream(cfg, name):
        evaluator.process(batch, [found(image, with_masks) for image in batch])
    assert set(evaluator.evaluate()) == set(tasks)
    json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
