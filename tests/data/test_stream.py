import os
import random
from itertools import islice
from multiprocessing import active_children

import numpy as np
import pytest
import torch
from PIL import Image

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode
from fcos.config import get_cfg
from fcos.data import TrainStream, build_test_stream, build_train_stream
from fcos.data.image_checks import ADVICE
from fcos.utils.errors import UserError

RECORDS = [
    {"number": i, "width": 3 if i % 3 else 1, "height": 2, "file_name": f"{i}.png"}
    for i in range(11)
]


def draw(record):
    """What a random augmentation would see: the record, and one number of each generator."""
    return record["number"], random.random(), np.random.rand(), torch.rand(1).item()


def stream(mapper=draw, *, records=RECORDS, batch_size=4, seed=5, **kwargs):
    return TrainStream(records, mapper, batch_size=batch_size, seed=seed, **kwargs)


def first(batches, count=12):
    return list(islice(batches, count))


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("num_workers", [0, 2])
def test_processes_share_the_batches_of_one(world_size, num_workers):
    whole = first(stream())
    shares = [
        first(stream(rank=rank, world_size=world_size, num_workers=num_workers))
        for rank in range(world_size)
    ]
    for number, batch in enumerate(whole):
        for rank in range(world_size):
            assert shares[rank][number] == batch[rank::world_size]


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(num_workers):
    assert first(stream(num_workers=num_workers)) == first(stream())


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("batch", [1, 7])
def test_resumed_is_as_uninterrupted(num_workers, batch):
    resumed = stream(seed=99, num_workers=num_workers)
    resumed.start(batch, seed=5)
    assert first(resumed) == first(stream(), batch + 12)[batch:]


def test_resumed_with_repeated_images():
    factors = torch.linspace(1, 3, len(RECORDS))
    resumed = stream(repeat_factors=factors)
    resumed.start(20, seed=5)
    assert first(resumed) == first(stream(repeat_factors=factors), 32)[20:]
    assert first(stream(repeat_factors=factors)) != first(stream())


def test_skipped_batches_are_not_loaded():
    loaded = []
    resumed = stream(lambda record: loaded.append(record["number"]))
    resumed.start(1000, seed=5)
    first(resumed, 1)
    assert len(loaded) == 4


def test_every_iteration_is_the_same():
    same = stream()
    assert first(same) == first(same)


def test_seeds_differ_in_order_and_in_chance():
    one, two = first(stream(seed=1)), first(stream(seed=2))
    assert [[s[0] for s in batch] for batch in one] != [[s[0] for s in batch] for batch in two]
    assert one[0][0][1:] != two[0][0][1:]


def test_every_sample_has_its_own_chance():
    samples = [sample for batch in first(stream(), 20) for sample in batch]
    for generator in (1, 2, 3):
        assert len({sample[generator] for sample in samples}) == 80


def test_batches_are_of_one_shape():
    batches = [[s[0] % 3 == 0 for s in batch] for batch in first(stream(), 30)]
    assert all(len(set(batch)) == 1 for batch in batches)
    assert {batch[0] for batch in batches} == {True, False}


def test_shapes_mix_when_not_grouped():
    batches = [[s[0] % 3 == 0 for s in batch] for batch in first(stream(group_by_shape=False), 30)]
    assert any(len(set(batch)) == 2 for batch in batches)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_random_numbers_of_the_training_go_on_undisturbed(num_workers):
    def draw_after(action):
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        action()
        return random.random(), np.random.rand(), torch.rand(1).item()

    loading = draw_after(lambda: first(stream(num_workers=num_workers), 3))
    assert loading == draw_after(lambda: None)


def test_workers_start_with_the_first_batch():
    children = set(active_children())
    batches = iter(stream(num_workers=2))
    assert set(active_children()) == children
    next(batches)
    assert len(set(active_children()) - children) == 2
    batches.close()


def test_batch_that_cannot_be_shared():
    with pytest.raises(UserError, match=r"IMS_PER_BATCH is 6, which 4 processes .* multiple of 4"):
        stream(batch_size=6, world_size=4)


def test_grouping_needs_sizes():
    with pytest.raises(UserError, match=r"width and height of a\.png.*ASPECT_RATIO_GROUPING False"):
        stream(records=[{"file_name": "a.png"}])
    stream(records=[{"file_name": "a.png"}], group_by_shape=False)


def config(name, num_workers=0):
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (name,)
    cfg.DATALOADER.NUM_WORKERS = num_workers
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.SEED = 3
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (24, 32, 40), 64
    cfg.INPUT.MIN_SIZE_TEST = 32
    return cfg


def names_in(batches):
    return [[os.path.basename(sample["file_name"]) for sample in batch] for batch in batches]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_samples_of_detectron2_with_its_augmentation(coco, num_workers):
    name = coco.register()
    batches = first(build_train_stream(config(name, num_workers)), 20)
    again = first(build_train_stream(config(name)), 20)
    assert names_in(batches) == names_in(again)
    for sample, twin in zip(sum(batches, []), sum(again, []), strict=True):
        assert torch.equal(sample["image"], twin["image"])
        assert torch.equal(sample["instances"].gt_boxes.tensor, twin["instances"].gt_boxes.tensor)
        assert torch.equal(sample["instances"].gt_classes, twin["instances"].gt_classes)
    assert len({sample["image"].shape for batch in batches for sample in batch}) > 3


def test_degenerate_boxes_are_left_out(coco):
    for bbox in ([5, 5, 0, 9], [5, 5, 9, 0], [5, 5, -4, 9], [60, 5, 9, 9], [-9, 5, 9, 9]):
        coco.add_box(0, bbox)
    partly_inside = [-5, 5, 9, 9]
    coco.add_box(0, partly_inside)
    batches = first(build_train_stream(config(coco.register())), 12)
    lengths = {
        os.path.basename(sample["file_name"]): len(sample["instances"])
        for batch in batches
        for sample in batch
    }
    assert lengths == {"0.png": 2, **{f"{i}.png": 1 for i in range(1, 6)}}


def without_objects(coco):
    """Image 0 has a degenerate box, image 1 none, image 3 a crowd region; 2, 4, 5 one object."""
    coco.annotations = [a for a in coco.annotations if a["image_id"] in (2, 4, 5)]
    coco.add_box(0, [5, 5, 0, 9])
    coco.add_box(3, [5, 5, 9, 9], iscrowd=1)
    return coco.register()


def test_images_without_objects_are_filtered(coco):
    batches = first(build_train_stream(config(without_objects(coco))), 12)
    assert set(sum(names_in(batches), [])) == {"2.png", "4.png", "5.png"}


def test_images_without_objects_are_trained_on(coco):
    cfg = config(without_objects(coco))
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    instances = {
        os.path.basename(sample["file_name"]): sample["instances"]
        for batch in first(build_train_stream(cfg), 12)
        for sample in batch
    }
    assert {name: len(i) for name, i in instances.items()} == {
        "0.png": 0,
        "1.png": 0,
        "2.png": 1,
        "3.png": 0,
        "4.png": 1,
        "5.png": 1,
    }
    assert instances["1.png"].gt_boxes.tensor.shape == (0, 4)
    assert instances["1.png"].gt_classes.shape == (0,)


def test_nothing_to_train_on(coco):
    coco.annotations = []
    coco.add_box(0, [1, 1, 0, 0])
    with pytest.raises(UserError, match="Nothing to train on: no image of small has an object"):
        build_train_stream(config(coco.register()))


def test_repeat_factor_sampler_repeats_the_rare(coco):
    for annotation in coco.annotations:
        annotation["category_id"] = 7 if annotation["image_id"] == 0 else 3
    cfg = config(coco.register())
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 1.0
    # Class 7 is in 1 of 6 images: factor sqrt(6) = 2.45; class 3 in 5 of 6: sqrt(6/5) = 1.10.
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    names = sum(names_in(first(build_train_stream(cfg), 400)), [])
    assert names.count("0.png") / names.count("1.png") == pytest.approx(6**0.5 / 1.2**0.5, rel=0.1)


def test_unknown_sampler(coco):
    cfg = config(coco.register())
    cfg.DATALOADER.SAMPLER_TRAIN = "RandomSubsetTrainingSampler"
    with pytest.raises(
        UserError, match="'RandomSubsetTrainingSampler': set it to one of 'TrainingSampler'"
    ):
        build_train_stream(cfg)


def test_no_data_set_named():
    cfg = get_cfg()
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        build_train_stream(cfg)


def test_missing_data_set_is_named(coco):
    name = coco.register()
    coco.json_file.unlink()
    with pytest.raises(UserError, match=rf"{coco.json_file} does not exist"):
        build_train_stream(config(name))
    with pytest.raises(UserError, match=rf"{coco.json_file} does not exist"):
        build_test_stream(config(name), name)


def test_seed_of_its_own_where_none_is_set(coco):
    cfg = config(coco.register())
    cfg.SEED = -1
    assert len({build_train_stream(cfg).seed for _ in range(3)}) > 1


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("build", [build_train_stream, lambda cfg: build_test_stream(cfg, "small")])
def test_truncated_image_is_named_and_nothing_else_is_said(coco, num_workers, build):
    name = coco.register()
    path = coco.path(4)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError) as caught:
        first(build(config(name, num_workers)), 20)
    message = str(caught.value)
    assert message.startswith(f"Image {path} is broken or not an image (")
    assert message.endswith(ADVICE)
    assert "Traceback" not in message
    assert "\n" not in message


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_stream_has_every_image_once(coco, num_workers):
    name = without_objects(coco)
    loader = build_test_stream(config(name, num_workers), name)
    assert len(loader) == 6
    assert names_in(loader) == [[f"{i}.png"] for i in range(6)]
    assert names_in(loader) == [[f"{i}.png"] for i in range(6)]


def test_test_stream_in_batches_keeps_shapes_together(coco):
    for i, image in enumerate(coco.images):
        image["height"], image["width"] = ((20, 30), (30, 20))[i % 2]
        Image.new("RGB", (image["width"], image["height"])).save(coco.path(i))
    cfg = config(coco.register())
    cfg.TEST.IMS_PER_BATCH = 2
    loader = build_test_stream(cfg, "small")
    assert len(loader) == 3
    assert names_in(loader) == [["0.png", "2.png"], ["4.png", "1.png"], ["3.png", "5.png"]]
    cfg.TEST.IMS_PER_BATCH = -1
    with pytest.raises(UserError, match=r"TEST\.IMS_PER_BATCH is -1: set it to 1 or more"):
        build_test_stream(cfg, "small")


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("use", ["TRAIN", "TEST"])
def test_an_image_of_which_nothing_is_left_is_named(use, num_workers, tmp_path):
    """Its size is not in the annotations, so that nothing can be said before it is read."""
    path = tmp_path / "thread.png"
    Image.new("RGB", (1000, 3)).save(path)
    box = {"bbox": [0, 0, 9, 2], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    DatasetCatalog.register("threads", lambda: [{"file_name": str(path), "annotations": [box]}])
    MetadataCatalog.get("threads").thing_classes = ["thread"]
    try:
        cfg = config("threads", num_workers)
        cfg.INPUT.MAX_SIZE_TEST, cfg.DATALOADER.ASPECT_RATIO_GROUPING = 64, False
        is_train = use == "TRAIN"
        batches = build_train_stream(cfg) if is_train else build_test_stream(cfg, "threads")
        with pytest.raises(
            UserError,
            match=rf"thread\.png is 1000x3 pixels, and INPUT\.MAX_SIZE_{use} 64 leaves nothing of "
            r"its shorter side: raise it if the image is to stay\. Replace the file, or take it",
        ):
            next(iter(batches))
    finally:
        DatasetCatalog.remove("threads")
        MetadataCatalog.remove("threads")
