"""Datasets over lists, functions and samplers; the loaders for training and inference."""

import itertools
import logging
import operator
import pickle
import random

import numpy as np
import pytest
import torch
from golden_values import golden_json
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    get_worker_info,
)

import detectron2
from detectron2.config import get_cfg
from detectron2.data import (
    DatasetCatalog,
    DatasetFromList,
    MapDataset,
    MetadataCatalog,
    ToIterableDataset,
    build_batch_data_loader,
    build_detection_test_loader,
    build_detection_train_loader,
    get_detection_dataset_dicts,
    print_instances_class_histogram,
)
from detectron2.data.build import worker_init_reset_seed
from detectron2.data.common import (
    AspectRatioGroupedDataset,
)
from detectron2.data.samplers import (
    InferenceSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

# The first numbers of TrainingSampler(11, seed=1).
ORDER = [0, 10, 2, 3, 7, 6, 4, 8, 1, 9, 5, 9, 10, 3, 1, 6, 5, 8]


def take(iterable, n):
    return list(itertools.islice(iter(iterable), n))


def with_worker(element):
    worker = get_worker_info()
    return element, -1 if worker is None else worker.id


def drop_multiples_of_3(element):
    return None if element % 3 == 0 else element


def random_numbers(element):
    return (
        element,
        np.random.randint(2**31),
        random.randrange(2**31),
        torch.randint(2**20, ()).item(),  # the same in every torch, 2**31 is not
    )


class Numbers(IterableDataset):
    def __iter__(self):
        return iter(range(5))


class Squares(Dataset):
    def __len__(self):
        return 11

    def __getitem__(self, index):
        return index**2


# Datasets


@pytest.mark.parametrize("serialize", [True, False])
def test_a_list_gives_copies(serialize):
    source = [{"a": [1]}, {"b": [2]}]
    dataset = DatasetFromList(source, serialize=serialize)
    dataset[0]["a"].append(2)
    assert dataset[0] == {"a": [1]} and source[0] == {"a": [1]}
    assert len(dataset) == 2 and list(dataset) == source and dataset[-1] == source[1]
    with pytest.raises(IndexError):
        _ = dataset[2]


def test_a_list_itself():
    source = [{"a": 1}]
    assert DatasetFromList(source, copy=False, serialize=False)[0] is source[0]


def test_other_ways_of_storing_a_list():
    assert DatasetFromList([1, 2, 3], serialize=torch.tensor)[2] == torch.tensor(3)
    assert not torch.is_tensor(DatasetFromList([3])[0])


def test_a_map_style_dataset_replaces_what_is_none():
    dataset = MapDataset(DatasetFromList(list(range(11))), drop_multiples_of_3)
    # Which one comes instead is random, with a fixed seed; these are detectron2's.
    assert [dataset[i] for i in range(11)] == [2, 1, 2, 1, 4, 5, 7, 7, 8, 2, 10]
    assert len(dataset) == 11


def test_an_iterable_dataset_skips_what_is_none():
    dataset = MapDataset(Numbers(), drop_multiples_of_3)
    assert isinstance(dataset, IterableDataset) and list(dataset) == [1, 2, 4]


@lite_only
def test_a_mapper_that_gives_nothing_at_all(caplog):
    dataset = MapDataset(DatasetFromList([3, 6, 9, 12]), drop_multiples_of_3)
    with pytest.raises(RuntimeError, match="None for every element"):
        _ = dataset[0]
    assert "None for 3 elements in a row" in caplog.text


def test_mapped_datasets_are_pickled_with_their_lambda():
    for source in (DatasetFromList([1, 2, 3]), Numbers()):
        dataset = MapDataset(source, lambda x: x * 2)
        again = pickle.loads(pickle.dumps(dataset))
        assert list(again) == list(dataset) and type(again) is type(dataset)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_sampled_dataset_does_not_depend_on_workers(num_workers):
    dataset = ToIterableDataset(Squares(), TrainingSampler(11, seed=1))
    loader = DataLoader(
        dataset,
        num_workers=num_workers,
        collate_fn=operator.itemgetter(0),
        worker_init_fn=worker_init_reset_seed,
    )
    assert take(loader, 18) == [i**2 for i in ORDER]


def test_a_sampler_that_is_split_already():
    dataset = ToIterableDataset(Squares(), SequentialSampler(range(3)), shard_sampler=False)
    loader = DataLoader(dataset, num_workers=2, collate_fn=operator.itemgetter(0))
    assert list(loader) == [0, 0, 1, 1, 4, 4]


def test_a_sampled_dataset_needs_a_map_style_dataset_and_a_sampler():
    for dataset, sampler in ((Numbers(), TrainingSampler(3)), (Squares(), [1, 2])):
        with pytest.raises(AssertionError):
            ToIterableDataset(dataset, sampler)


def test_golden_aspect_ratio_grouping():
    golden = golden_json("host_samplers.json")["aspect_ratio_grouping"]
    images = [{"height": h, "width": w, "id": i} for i, (h, w) in enumerate(golden["hw"])]
    for size in (2, 3):
        batches = AspectRatioGroupedDataset(images, size)
        assert [[d["id"] for d in b] for b in batches] == golden[f"batches_of_{size}"]


def test_stopping_early_leaves_nothing_for_the_next_iteration():
    dataset = AspectRatioGroupedDataset(
        [{"width": w, "height": 2, "id": w} for w in (1, 3, 1, 3)], 2
    )
    for _ in range(3):
        assert [[d["id"] for d in b] for b in take(dataset, 2)] == [[1, 1], [3, 3]]


# Loaders


@pytest.mark.parametrize("num_workers", [0, 1, 2, 3])
def test_each_worker_loads_whole_batches(num_workers):
    loader = build_detection_train_loader(
        DatasetFromList(list(range(11))),
        mapper=with_worker,
        sampler=TrainingSampler(11, seed=1),
        total_batch_size=3,
        aspect_ratio_grouping=False,
        num_workers=num_workers,
    )
    batches = take(loader, 6)
    assert [[i for i, _ in batch] for batch in batches] == [
        ORDER[k : k + 3] for k in range(0, 18, 3)
    ]
    workers = [k % num_workers if num_workers else -1 for k in range(6)]
    assert [[worker for _, worker in batch] for batch in batches] == [[w] * 3 for w in workers]


def test_grouping_with_workers():
    images = [{"width": 1 + i % 2, "height": 1, "i": i} for i in range(12)]
    loader = build_detection_train_loader(
        images,
        mapper=lambda d: d,
        sampler=SequentialSampler(range(12)),
        total_batch_size=2,
        num_workers=2,
    )
    # Each worker has two images in turn, and the loader takes one of each: 0, 2, 1, 3, ...
    assert [[d["i"] for d in b] for b in loader] == [
        [0, 2],
        [1, 3],
        [4, 6],
        [5, 7],
        [8, 10],
        [9, 11],
    ]


def test_random_numbers_of_workers_follow_torchs_seed():
    def first_of_each_batch(seed):
        seed_all_rng(seed)
        loader = build_detection_train_loader(
            list(range(11)),
            mapper=random_numbers,
            sampler=TrainingSampler(11, seed=1),
            total_batch_size=3,
            aspect_ratio_grouping=False,
            num_workers=2,
        )
        return [batch[0] for batch in take(loader, 2)]

    # detectron2's numbers.
    assert first_of_each_batch(3) == [
        (0, 1330225319, 1482231520, 630951),
        (3, 792791870, 1083645810, 68414),
    ]
    assert first_of_each_batch(4) != first_of_each_batch(3)


def test_collating_and_options_of_torch():
    images = [{"width": 2, "height": 1}] * 4
    common = {"mapper": lambda d: d, "total_batch_size": 2, "collate_fn": len}
    assert take(build_detection_train_loader(images, **common), 2) == [2, 2]
    loader = build_detection_train_loader(
        images,
        **common,
        aspect_ratio_grouping=False,
        num_workers=2,
        prefetch_factor=5,
        persistent_workers=True,
        timeout=30,
    )
    options = (loader.prefetch_factor, loader.persistent_workers, loader.timeout)
    assert options == (5, True, 30)
    with pytest.raises(TypeError):
        build_detection_train_loader(images, **common, no_such_option=1)


def test_a_seed_for_the_loader():
    def numbers(seed):
        options = {"aspect_ratio_grouping": False, "num_workers": 1, "seed": seed}
        loader = build_batch_data_loader(
            MapDataset(Squares(), random_numbers), TrainingSampler(11, seed=1), 2, **options
        )
        return take(loader, 1)

    assert numbers(7) == numbers(7) != numbers(8)


@pytest.mark.parametrize("num_workers", [0, 3])
@pytest.mark.parametrize("size", [24, 23, 17, 16])
def test_incomplete_batches(size, num_workers):
    for drop_last in (True, False):
        loader = build_batch_data_loader(
            DatasetFromList(list(range(size))),
            InferenceSampler(size),
            8,
            num_workers=num_workers,
            drop_last=drop_last,
        )
        batches = list(loader)
        n = size // 8 if drop_last else -(-size // 8)
        assert len(batches) == len(loader) == n
        assert sum(batches, []) == list(range(min(size, 8 * n)))


def test_batch_size_is_shared_among_processes(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 4)
    # Both detectron2s import the function by its name into the module.
    monkeypatch.setattr("detectron2.data.build.get_world_size", lambda: 4)
    sampler = TrainingSampler(11, seed=1)
    assert len(take(build_batch_data_loader(Squares(), sampler, 8), 1)[0]) == 2
    one = build_batch_data_loader(Squares(), sampler, None, single_gpu_batch_size=8)
    assert len(take(one, 1)[0]) == 8
    for size in (6, 0):
        with pytest.raises(AssertionError):
            build_batch_data_loader(Squares(), sampler, size)
    with pytest.raises(ValueError):
        build_batch_data_loader(Squares(), sampler, 8, single_gpu_batch_size=2)


def test_iterable_datasets():
    train = build_detection_train_loader(
        Numbers(), mapper=str, total_batch_size=2, aspect_ratio_grouping=False
    )
    assert list(train) == [["0", "1"], ["2", "3"]]
    test = build_detection_test_loader(Numbers(), mapper=str, batch_size=2)
    assert list(test) == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_inference_loader(num_workers):
    loader = build_detection_test_loader(list(range(5)), mapper=str, num_workers=num_workers)
    assert isinstance(loader, DataLoader) and len(loader) == 5
    assert list(loader) == [["0"], ["1"], ["2"], ["3"], ["4"]]
    loader = build_detection_test_loader(
        Squares(),
        mapper=str,
        sampler=SequentialSampler(range(3)),
        batch_size=2,
        num_workers=num_workers,
        collate_fn=tuple,
    )
    assert list(loader) == [("0", "1"), ("4",)]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        (build_detection_train_loader, {"total_batch_size": 2}),
        (build_detection_test_loader, {}),
    ],
)
def test_a_sampler_and_an_iterable_dataset_exclude_each_other(build, options):
    with pytest.raises(AssertionError, match="sampler must be None"):
        build(Numbers(), mapper=str, sampler=TrainingSampler(3), **options)


def test_a_sampler_that_is_none():
    with pytest.raises(AssertionError):
        build_detection_train_loader(Squares(), mapper=str, sampler=3, total_batch_size=2)


# From registered datasets and a config


def image(width, height, *classes, crowd=0):
    objects = [{"category_id": c, "iscrowd": crowd} for c in classes]
    return {
        "file_name": f"{width}x{height}",
        "width": width,
        "height": height,
        "annotations": objects,
    }


DATASETS = {
    "loader_a": [image(3, 2, 0, 1), image(2, 3), image(4, 2, 1, crowd=1), image(5, 2, 1)],
    "loader_b": [image(6, 2, 0)],
}


@pytest.fixture
def register():
    registered = []

    def register(name, function, classes=("x", "y")):
        DatasetCatalog.register(name, function)
        registered.append(name)
        if classes:
            MetadataCatalog.get(name).thing_classes = list(classes)

    for name, images in DATASETS.items():
        register(name, lambda images=images: images)
    yield register
    for name in registered:
        DatasetCatalog.pop(name)
        MetadataCatalog.pop(name, None)


def test_datasets_are_joined_and_empty_images_left_out(register):
    names = ["loader_a", "loader_b"]
    widths = [d["width"] for d in get_detection_dataset_dicts(names)]
    assert widths == [3, 5, 6]
    widths = [d["width"] for d in get_detection_dataset_dicts(names, filter_empty=False)]
    assert widths == [3, 2, 4, 5, 6]
    assert len(get_detection_dataset_dicts("loader_b")) == 1


def test_datasets_without_annotations_or_class_names(register):
    register("loader_c", lambda: [{"file_name": "a"}])
    assert get_detection_dataset_dicts("loader_c") == [{"file_name": "a"}]
    register("loader_d", lambda: [image(1, 1, 99)], classes=None)
    assert len(get_detection_dataset_dicts(["loader_a", "loader_d"])) == 3


def test_errors_of_datasets(register):
    register("loader_empty", list)
    register("loader_crowd", lambda: [image(1, 1, 0, crowd=1)])
    register("loader_other", lambda: [image(1, 1, 0)], classes=("z",))
    register("loader_class", lambda: [image(1, 1, 2)])
    register("loader_negative", lambda: [image(1, 1, -1)])
    for names in ([], "loader_empty", "loader_crowd", "loader_class", "loader_negative"):
        with pytest.raises(AssertionError):
            get_detection_dataset_dicts(names)
    with pytest.raises(ValueError, match="thing_classes"):
        get_detection_dataset_dicts(["loader_a", "loader_other"])
    unchecked = get_detection_dataset_dicts(["loader_a", "loader_other"], check_consistency=False)
    assert len(unchecked) == 3
    with pytest.raises(KeyError, match="nowhere"):
        get_detection_dataset_dicts("nowhere")


@lite_only
def test_messages_of_datasets(register):
    register("loader_empty", list)
    register("loader_crowd", lambda: [image(1, 1, 0, crowd=1)])
    register("loader_class", lambda: [image(7, 1, 2)])
    register("loader_other", lambda: [image(1, 1, 0)], classes=("z",))
    for names, message in (
        ([], "No dataset is named"),
        ("loader_empty", "Dataset 'loader_empty' is empty"),
        ("loader_crowd", "No valid data found in loader_crowd"),
        ("loader_class", "Image '7x1' has an invalid category_id=2: the dataset has 2 classes"),
    ):
        with pytest.raises(AssertionError, match=message):
            get_detection_dataset_dicts(names)
    with pytest.raises(ValueError, match=r"loader_a has \['x', 'y'\] and loader_other has \['z'\]"):
        get_detection_dataset_dicts(["loader_a", "loader_other"])
    for options in ({"min_keypoints": 1}, {"proposal_files": ["a.pkl"]}):
        with pytest.raises(NotImplementedError, match="not part of detectron2-lite"):
            get_detection_dataset_dicts("loader_a", **options)


def test_histogram_counts_no_crowds(caplog):
    images = [image(1, 1, 0, 0, 1), image(1, 1, 0, crowd=1)]
    with caplog.at_level(logging.INFO, logger="detectron2"):
        print_instances_class_histogram(images, ["short", "a name that is too long", "third"])
    table = caplog.records[-1].getMessage()
    cells = [cell.strip() for line in table.splitlines()[1:] for cell in line.split("|")]
    counts = {name: cells[cells.index(name) + 1] for name in ("short", "third", "total")}
    assert counts == {"short": "2", "third": "0", "total": "3"}
    assert "a name that.." in table


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("loader_a", "loader_b")
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.DATALOADER.NUM_WORKERS = 0
    return cfg


def test_train_loader_from_config(register, cfg):
    loader = build_detection_train_loader(
        cfg, mapper=lambda d: d["width"], aspect_ratio_grouping=False
    )
    # Three images; SEED is -1, which detectron2 too takes as the sampler's seed.
    order = take(TrainingSampler(3, seed=-1), 6)
    assert sum(take(loader, 3), []) == [[3, 5, 6][i] for i in order]
    cfg.SEED = 5
    loader = build_detection_train_loader(
        cfg, mapper=lambda d: d["width"], aspect_ratio_grouping=False
    )
    order = take(TrainingSampler(3, seed=5), 6)
    assert sum(take(loader, 3), []) == [[3, 5, 6][i] for i in order]


def test_train_loader_from_config_with_other_samplers(register, cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.9
    cfg.SEED = 3
    loader = build_detection_train_loader(
        cfg, mapper=lambda d: d["width"], aspect_ratio_grouping=False
    )
    factor = (0.9 / (2 / 3)) ** 0.5  # each class is in two of the three images
    sampler = RepeatFactorTrainingSampler(torch.full((3,), factor), seed=3)
    assert sum(take(loader, 3), []) == [[3, 5, 6][i] for i in take(sampler, 6)]
    cfg.DATALOADER.SAMPLER_TRAIN = "BestSampler"
    with pytest.raises(ValueError, match="BestSampler"):
        build_detection_train_loader(cfg)


def test_explicit_arguments_replace_the_configs(register, cfg):
    loader = build_detection_train_loader(
        cfg,
        dataset=Squares(),
        mapper=str,
        sampler=SequentialSampler(range(4)),
        total_batch_size=4,
        aspect_ratio_grouping=False,
    )
    assert list(loader) == [["0", "1", "4", "9"]]


def test_empty_images_stay_when_the_config_says_so(register, cfg):
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = False
    loader = build_detection_train_loader(
        cfg, mapper=lambda d: d["width"], aspect_ratio_grouping=False
    )
    assert set(sum(take(loader, 5), [])) == {2, 3, 4, 5, 6}


def test_test_loader_from_config(register, cfg):
    loader = build_detection_test_loader(cfg, "loader_a", mapper=lambda d: d["width"])
    assert list(loader) == [[3], [2], [4], [5]]  # also those without objects


def test_iterable_datasets_from_config(register, cfg):
    register("loader_iterable", Numbers, classes=None)
    cfg.DATASETS.TRAIN = ("loader_iterable",)
    loader = build_detection_train_loader(cfg, mapper=str, aspect_ratio_grouping=False)
    assert list(loader) == [["0", "1"], ["2", "3"]]
    loader = build_detection_test_loader(cfg, "loader_iterable", mapper=str)
    assert sum(list(loader), []) == list("01234")


@lite_only
def test_several_iterable_datasets(register):
    register("loader_iterable", Numbers, classes=None)
    joined = get_detection_dataset_dicts(["loader_iterable", "loader_iterable"])
    assert list(joined) == [0, 1, 2, 3, 4] * 2


@lite_only
@pytest.mark.parametrize("key", ["KEYPOINT_ON", "LOAD_PROPOSALS"])
def test_tasks_that_are_left_out(register, cfg, key):
    cfg.MODEL[key] = True
    with pytest.raises(NotImplementedError, match=f"MODEL.{key} is not part of detectron2-lite"):
        build_detection_train_loader(cfg)
    with pytest.raises(NotImplementedError, match=f"MODEL.{key} is not part of detectron2-lite"):
        build_detection_test_loader(cfg, "loader_a")
