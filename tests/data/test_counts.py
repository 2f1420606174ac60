"""What the checks count is what training learns from."""

import itertools

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from fcos.config import get_cfg
from fcos.data import annotations, build_test_stream, build_train_stream, check_dataset
from fcos.data.register import dataset_records, load_dataset
from fcos.utils.errors import UserError

OUTLINE = [[4, 5, 14, 5, 14, 15]]


def make_awkward(coco):
    """Nothing to learn from in images 0, 1 and 2, one object or more in the others."""
    coco.annotations = [a for a in coco.annotations if a["image_id"] > 2]
    coco.add_box(0, [5, 5, 0, 9])  # no width
    coco.add_box(0, [500, 5, 9, 9])  # outside
    coco.add_box(1, [5, 5, 9, 9], iscrowd=1)
    coco.add_box(2, [5, 5, -9, 9])
    coco.add_box(3, [-5, 5, 9, 9])  # half of it outside
    coco.add_box(3, [5, 5, -9, 9])
    coco.add_box(4, [5, 5, 9, 9], iscrowd=1)
    coco.add_box(4, [5, 5, 9, 9], segmentation=OUTLINE)
    coco.add_box(5, [5, 5, 9, 9], segmentation=[[1, 2], *OUTLINE])
    return coco.register()


def as_function(name):
    """The same data set as a function gives it that only its user knows."""
    metadata = MetadataCatalog.get(name)
    files = metadata.json_file, metadata.image_root
    DatasetCatalog.register("by_function", lambda: load_coco_json(*files, "by_function"))
    load_coco_json(*files, "by_function")  # notes the names of the classes
    return "by_function"


def learnt(name, filter_empty):
    """Number of images and of objects in one pass of the training stream."""
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (name,)
    cfg.DATALOADER.NUM_WORKERS, cfg.DATALOADER.ASPECT_RATIO_GROUPING = 0, False
    cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS = filter_empty
    cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = 1, 3
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    objects = {}
    for (sample,) in itertools.islice(build_train_stream(cfg), 6):
        objects[sample["file_name"]] = len(sample["instances"])
    return len(objects), sum(objects.values())


@pytest.mark.parametrize("filter_empty", [True, False])
@pytest.mark.parametrize("registered", ["as COCO", "by a function"])
def test_counts_of_the_checks_are_those_of_the_loader(coco, registered, filter_empty):
    name = make_awkward(coco)
    if registered == "by a function":
        name = as_function(name)
    report = check_dataset(name, 2, filter_empty=filter_empty)
    assert (report.num_images, report.num_objects, report.num_empty_images) == (6, 6, 3)
    num_images = report.num_images - report.num_empty_images * filter_empty
    assert learnt(name, filter_empty) == (num_images, report.num_objects)


def test_segmentations_change_nothing_for_a_detector_of_boxes(coco):
    coco.annotations[1]["segmentation"] = [[1, 2, 3, 4]]
    coco.annotations[2]["segmentation"] = [0, 0, 5, 0, 5, 5]
    assert check_dataset(coco.register(), 2).num_objects == 6
    assert learnt("small", filter_empty=True) == (6, 6)


def test_the_histogram_of_a_training_counts_what_is_learnt(coco, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "fcos.data.build.print_instances_class_histogram", lambda *given: shown.append(given)
    )
    learnt(make_awkward(coco), filter_empty=False)
    ((records, names),) = shown
    classes = [
        thing["category_id"]
        for record in records
        for thing in record["annotations"]
        if not thing["iscrowd"]
    ]
    assert names == ["three", "seven"]
    assert (classes.count(0), classes.count(1)) == (4, 2)


@pytest.mark.parametrize("key", ["segmentation", "keypoints", "iscrowd", None])
def test_records_are_those_of_detectron2(coco, key):
    """Also its metadata; except that ``iscrowd`` is there in any case."""
    fields = {
        "segmentation": {"counts": [0, 48 * 32], "size": [32, 48]},
        "keypoints": [3, 4, 2, 7, 8, 1],
        "iscrowd": 1,
    }
    if key:
        coco.annotations[0][key] = fields[key]
    coco.annotations[1]["segmentation"] = [[1, 2], *OUTLINE]
    coco.annotations[2]["segmentation"] = [[1, 2]]
    coco.images.reverse()
    name = coco.register()
    paths = MetadataCatalog.get(name).json_file, MetadataCatalog.get(name).image_root
    got = dataset_records(name)
    assert got == load_coco_json(*paths, "by_detectron2")
    assert [len(record["annotations"]) for record in got] == [1, 1, 0, 1, 1, 1]
    ours, theirs = MetadataCatalog.get(name), MetadataCatalog.get("by_detectron2")
    assert ours.thing_classes == theirs.thing_classes == ["three", "seven"]
    mapping = {3: 0, 7: 1}
    assert ours.thing_dataset_id_to_contiguous_id == mapping
    assert theirs.thing_dataset_id_to_contiguous_id == mapping
    MetadataCatalog.remove("by_detectron2")


def test_annotations_of_no_image_are_left_out_with_a_warning(coco, caplog):
    number = coco.add_box(77, [1, 1, 5, 5])
    assert sum(len(record["annotations"]) for record in dataset_records(coco.register())) == 6
    assert f"annotation {number} is on image 77, which is not among its images." in caplog.text


def test_other_classes_than_registered(coco):
    name = coco.register()
    MetadataCatalog.get(name).thing_classes = ["a", "b"]
    with pytest.raises(UserError, match=r"'small' has the classes three, seven, but is registered"):
        load_dataset(name)


def test_training_sets_of_different_classes(coco, tmp_path):
    first = coco.register("first")
    coco.categories[0]["name"] = "VII"
    coco.json_file = tmp_path / "other.json"
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = (first, coco.register("second"))
    with pytest.raises(UserError, match=r"'first' and 'second' have different .*seven.*VII"):
        build_train_stream(cfg)


def test_records_to_train_on_are_freed_and_those_to_evaluate_on_are_kept(coco, monkeypatch):
    read = []
    real = annotations.read_lists
    monkeypatch.setattr(
        "fcos.data.annotations.read_lists", lambda path: read.append(path) or real(path)
    )
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (coco.register(),)
    check_dataset("small", 2)
    build_train_stream(cfg)
    build_test_stream(cfg, "small")
    assert len(read) == 1
    cfg.DATASETS.TEST = ()
    build_train_stream(cfg)
    assert len(read) == 1
    check_dataset("small", 2)
    assert len(read) == 2
