"""Augmented batches do not depend on processes, workers or interruptions."""

import hashlib
from itertools import islice

import numpy as np
import pytest
import torch

from fcos.data import TrainStream, build_test_stream, build_train_stream
from fcos.utils.errors import UserError
from tests.data.test_augment import COLOURING, MOVING, configured, record_of
from tests.data.test_stream import config

MOSAIC = {"Mosaic": {"p": 0.5}}
# A few of each kind, with the mosaic that reads further images.
COMBINED = [
    MOSAIC,
    {"RandomZoomOut": {"p": 0.5, "side_range": [1.0, 2.0]}},
    "RandomIoUCrop",
    {"RandomRotation": {"degrees": 10}},
    "RandomPhotometricDistort",
    {"RandomApply": {"transforms": [{"GaussianBlur": {"kernel_size": 3}}], "p": 0.5}},
]
RECORDS = [
    {**record_of((number, 5, 30, 20), (9, number, 12, 40)), "number": number} for number in range(9)
]


def read(record):
    rng = np.random.default_rng(record["number"])
    return rng.integers(0, 256, (60 + record["number"], 80, 3), dtype=np.uint8)


class EachOfThem:
    """A mapper that applies every transform alone, with masks, and says briefly what came out."""

    def __init__(self):
        entries = [MOSAIC, *MOVING, *COLOURING]
        self.augments = {str(entry): configured(entry, masks=True) for entry in entries}
        for augment in self.augments.values():
            augment.records = RECORDS

    def __call__(self, record):
        found = {}
        for name, augment in self.augments.items():
            image, after = augment(record, read(record), read)
            text = str((image.shape, after["annotations"])).encode()
            found[name] = hashlib.sha256(image.tobytes() + text).hexdigest()
        return found


def test_every_transform_is_the_same_everywhere():
    def batches(count, start=0, **where):
        stream = TrainStream(
            RECORDS, EachOfThem(), batch_size=4, seed=5, group_by_shape=False, **where
        )
        stream.start(start, seed=5)
        return list(islice(stream, count))

    whole = batches(5)
    for rank in (0, 1):
        resumed = batches(3, start=2, rank=rank, world_size=2, num_workers=2)
        for batch, share in zip(whole[2:], resumed, strict=True):
            assert share == batch[rank::2]
    for name in whole[0][0]:
        assert len({sample[name] for batch in whole for sample in batch}) >= len(RECORDS)


def samples_of(cfg, count=8, start=0):
    stream = build_train_stream(cfg)
    stream.start(start, seed=3)
    return sum(islice(stream, count), [])


def assert_same(samples, others):
    for one, other in zip(samples, others, strict=True):
        assert one["file_name"] == other["file_name"]
        assert torch.equal(one["image"], other["image"])
        fields, wanted = one["instances"].get_fields(), other["instances"].get_fields()
        assert torch.equal(fields["gt_boxes"].tensor, wanted["gt_boxes"].tensor)
        assert torch.equal(fields["gt_classes"], wanted["gt_classes"])


def test_from_the_config(coco):
    cfg = config(coco.register())
    cfg.INPUT.AUGMENTATIONS = COMBINED
    whole = samples_of(cfg, 12)
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_same(samples_of(cfg, 7, start=5), whole[10:])
    shapes = {tuple(sample["image"].shape[1:]) for sample in whole}
    assert len(shapes) > 3
    assert {min(shape) for shape in shapes} <= {24, 32, 40}  # by INPUT.MIN_SIZE_TRAIN
    for sample in whole:
        boxes = sample["instances"].gt_boxes.tensor
        assert boxes.shape == (len(sample["instances"]), 4)
        assert (boxes[:, 2:] <= torch.tensor(sample["image"].shape[:0:-1])).all()
    assert max(len(sample["instances"]) for sample in whole) > 1  # a mosaic


def test_resizing_and_flips_keep_their_chance(coco):
    """A list that changes nothing, and no list, give the same samples."""
    for one in coco.annotations:
        one["bbox"] = [float(number) for number in one["bbox"]]
    cfg = config(coco.register())
    plain = samples_of(cfg)
    cfg.INPUT.AUGMENTATIONS = [{"RandomInvert": {"p": 0.0}}]
    assert_same(samples_of(cfg), plain)
    cfg.INPUT.AUGMENTATIONS = [{"RandomVerticalFlip": {"p": 0.0}}]
    assert_same(samples_of(cfg), plain)


@pytest.mark.parametrize("sampling", ["choice", "range"])
def test_a_list_that_chooses_sizes_is_not_undone(coco, sampling):
    cfg = config(coco.register())
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = (24, 32), sampling
    cfg.INPUT.AUGMENTATIONS = [
        {"ScaleJitter": {"target_size": [64, 64], "scale_range": [0.5, 2.0]}},
        {"RandomCrop": {"size": [48, 56], "pad_if_needed": True}},
    ]
    assert {tuple(sample["image"].shape) for sample in samples_of(cfg)} == {(3, 48, 56)}


def test_images_that_lose_all_objects(coco):
    cfg = config(coco.register())
    cfg.INPUT.AUGMENTATIONS = [{"RandomCrop": {"size": [8, 8], "pad_if_needed": True}}]
    lengths = {len(sample["instances"]) for sample in samples_of(cfg, 20)}
    assert lengths == {0, 1}


@pytest.mark.parametrize("is_broken", [False, True])
def test_an_image_of_a_mosaic_that_cannot_be_used_is_named(coco, is_broken):
    """All but the one of the first batch, around which the mosaic is made."""
    cfg = config(coco.register("sound"))
    cfg.SOLVER.IMS_PER_BATCH = 1
    first = samples_of(cfg, 1)[0]["image_id"]
    for number in {*range(6)} - {first}:
        if is_broken:
            coco.path(number).write_bytes(coco.path(number).read_bytes()[:300])
        else:
            coco.images[number]["height"] += 1
    cfg.DATASETS.TRAIN = (coco.register(),)
    samples_of(cfg, 1)
    cfg.INPUT.AUGMENTATIONS = [{"Mosaic": {"p": 1.0}}]
    problem = "is broken or not an image" if is_broken else r"is .* pixels, but the annotations say"
    with pytest.raises(UserError, match=rf"^Image .*[0-5]\.png {problem}.* Replace the file, or "):
        samples_of(cfg, 1)


def test_evaluation_is_not_augmented(coco):
    cfg = config(coco.register())
    plain = [sample["image"] for batch in build_test_stream(cfg, "small") for sample in batch]
    cfg.INPUT.AUGMENTATIONS = [{"RandomInvert": {"p": 1.0}}]
    again = [sample["image"] for batch in build_test_stream(cfg, "small") for sample in batch]
    assert all(map(torch.equal, plain, again))
