"""Class names and category ids."""

import json
import logging

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from fcos.config import get_cfg
from fcos.predict.classes import (
    DatasetClasses,
    choose_category_ids,
    choose_names,
    configured_classes,
    dataset_classes,
)


@pytest.fixture
def dataset(tmp_path):
    """Two classes with ids that are neither consecutive nor in the order of the file."""
    file = tmp_path / "annotations.json"
    categories = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    images = [{"id": 1, "file_name": "a.jpg", "height": 48, "width": 64}]
    file.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    register_coco_instances("pets_in_test", {}, str(file), str(tmp_path))
    yield "pets_in_test"
    DatasetCatalog.remove("pets_in_test")
    MetadataCatalog.remove("pets_in_test")


def test_classes_of_a_data_set_come_from_its_file(dataset):
    assert dataset_classes(dataset) == DatasetClasses(("cat", "dog"), (3, 7))


def test_classes_of_coco_need_no_file():
    coco = dataset_classes("coco_2017_val")
    assert len(coco.names) == len(coco.category_ids) == 80
    assert (coco.names[79], coco.category_ids[79]) == ("toothbrush", 90)


def test_nothing_is_known_of_an_unregistered_data_set():
    assert dataset_classes("") == dataset_classes("never_registered") == DatasetClasses()
    assert "never_registered" not in MetadataCatalog.list()


def test_the_configured_classes_are_those_of_the_first_data_set(dataset):
    cfg = get_cfg()
    assert configured_classes(cfg) == DatasetClasses()
    cfg.DATASETS.TRAIN = (dataset, "never_registered")
    assert configured_classes(cfg).names == ("cat", "dog")
    cfg.DATASETS.TEST = ("coco_2017_val",)
    assert len(configured_classes(cfg).names) == 80


def test_a_data_set_that_is_not_there_is_logged(tmp_path, caplog):
    register_coco_instances("gone_in_test", {}, str(tmp_path / "gone.json"), str(tmp_path))
    try:
        assert dataset_classes("gone_in_test") == DatasetClasses()
    finally:
        DatasetCatalog.remove("gone_in_test")
        MetadataCatalog.remove("gone_in_test")
    assert "The classes of gone_in_test, and their category ids, are not at hand" in caplog.text


@pytest.mark.parametrize(
    "in_checkpoint, in_dataset, want",
    [
        (["a", "b"], ["c", "d"], ("a", "b")),  # the checkpoint wins
        (None, ["c", "d"], ("c", "d")),
        (["a", "b", "c"], ["c", "d"], ("c", "d")),  # three names are not for two classes
        ([], (), ("class 0", "class 1")),
        (None, ["c"], ("class 0", "class 1")),
    ],
)
def test_names(in_checkpoint, in_dataset, want):
    assert choose_names(2, in_checkpoint, in_dataset) == want


def test_missing_names_are_logged(caplog):
    with caplog.at_level(logging.WARNING):
        choose_names(80, ["a", "b"], None)
    assert "No names for the 80 classes" in caplog.text
    assert "2 in the checkpoint, 0 in the data set" in caplog.text


def test_category_ids_are_those_of_the_data_set_only_for_its_classes(caplog):
    pets = DatasetClasses(("cat", "dog"), (3, 7))
    assert choose_category_ids(["cat", "dog"], pets) == (3, 7)
    assert choose_category_ids(["cat", "dog"], DatasetClasses(("cat", "dog"))) == (0, 1)
    assert choose_category_ids(["cat", "dog"], DatasetClasses()) == (0, 1)
    caplog.clear()
    assert choose_category_ids(["dog", "cat"], pets) == (0, 1)
    assert "The data set has other classes than the model" in caplog.text
