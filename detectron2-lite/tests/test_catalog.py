"""DatasetCatalog, MetadataCatalog and the datasets that are known from the start."""

import copy
import os
import pickle
import subprocess
import sys

import pytest

import detectron2
from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)


@pytest.fixture
def name():
    yield "catalog_test"
    DatasetCatalog.pop("catalog_test", None)
    MetadataCatalog.pop("catalog_test", None)


def test_a_dataset_is_its_function_called_anew(name):
    DatasetCatalog.register(name, lambda: [{"image_id": 1}])
    first, second = DatasetCatalog.get(name), DatasetCatalog.get(name)
    assert first == second == [{"image_id": 1}]
    assert first is not second
    assert name in DatasetCatalog and name in DatasetCatalog.list()
    DatasetCatalog.remove(name)
    assert name not in DatasetCatalog
    with pytest.raises(KeyError):
        DatasetCatalog.remove(name)


def test_a_name_is_registered_once_and_with_a_function(name):
    with pytest.raises(AssertionError, match="function"):
        DatasetCatalog.register(name, [])
    DatasetCatalog.register(name, list)
    with pytest.raises(AssertionError, match="'catalog_test' is already registered"):
        DatasetCatalog.register(name, list)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(KeyError, match=r"'nowhere' is not registered.*coco_2017_val"):
        DatasetCatalog.get("nowhere")


@lite_only
@pytest.mark.parametrize(
    "name",
    ["keypoints_coco_2017_val", "coco_2017_val_panoptic", "lvis_v1_val", "ade20k_sem_seg_val"],
)
def test_a_builtin_dataset_that_is_left_out_says_so(name):
    with pytest.raises(NotImplementedError, match=f"'{name}' is not part of detectron2-lite"):
        DatasetCatalog.get(name)


def test_metadata_is_one_object_per_name_and_set_once(name):
    metadata = MetadataCatalog.get(name)
    assert metadata is MetadataCatalog.get(name)
    assert metadata.as_dict() == {"name": name}
    metadata.thing_classes = ["a", "b"]
    metadata.thing_classes = ["a", "b"]  # the same once more
    with pytest.raises(AssertionError, match="different value"):
        metadata.thing_classes = ["a"]
    assert metadata.set(evaluator_type="coco") is metadata
    assert metadata.get("evaluator_type") == "coco"
    assert metadata.get("nothing", 3) == 3 and metadata.get("nothing") is None
    assert metadata.as_dict() == {
        "name": name,
        "thing_classes": ["a", "b"],
        "evaluator_type": "coco",
    }
    with pytest.raises(AttributeError, match=f"'nothing'.*{name}|{name}.*'nothing'"):
        _ = metadata.nothing
    with pytest.raises(AssertionError):
        MetadataCatalog.get("")
    MetadataCatalog.remove(name)
    assert MetadataCatalog.get(name).as_dict() == {"name": name}


def test_old_names_of_metadata_still_work():
    metadata = Metadata(name="x")
    metadata.class_names = ["a"]
    assert metadata.thing_classes == metadata.class_names == ["a"]
    assert "class_names" not in metadata.as_dict()


def test_metadata_can_be_copied_and_pickled():
    metadata = Metadata(name="x", thing_classes=["a"])
    for same in (copy.deepcopy(metadata), pickle.loads(pickle.dumps(metadata))):
        assert same.as_dict() == {"name": "x", "thing_classes": ["a"]}


def test_coco_metadata():
    metadata = MetadataCatalog.get("coco_2017_val")
    classes, id_map = metadata.thing_classes, metadata.thing_dataset_id_to_contiguous_id
    assert len(classes) == len(id_map) == len(metadata.thing_colors) == 80
    assert (classes[0], classes[79]) == ("person", "toothbrush")
    # Ids of COCO have gaps: there is no 12.
    assert (id_map[1], id_map[11], id_map[13], id_map[90]) == (0, 10, 11, 79)
    assert metadata.thing_colors[0] == [220, 20, 60]
    assert metadata.evaluator_type == "coco"
    assert metadata is not MetadataCatalog.get("coco_2017_train")


def test_voc_metadata():
    metadata = MetadataCatalog.get("voc_2007_test")
    assert (metadata.year, metadata.split, metadata.evaluator_type) == (2007, "test", "pascal_voc")
    assert len(metadata.thing_classes) == 20 and metadata.thing_classes[14] == "person"


PRINT_ROOTS = """
from detectron2.data import MetadataCatalog
for name in ("coco_2014_minival", "coco_2017_test-dev"):
    print(MetadataCatalog.get(name).json_file, MetadataCatalog.get(name).image_root)
print(MetadataCatalog.get("voc_2012_train").dirname)
"""


def test_builtin_datasets_lie_under_an_environment_variable():
    environment = {**os.environ, "DETECTRON2_DATASETS": "/data"}
    command = [sys.executable, "-W", "ignore", "-c", PRINT_ROOTS]
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert output.stdout.splitlines()[-3:] == [
        "/data/coco/annotations/instances_minival2014.json /data/coco/val2014",
        "/data/coco/annotations/image_info_test-dev2017.json /data/coco/test2017",
        "/data/VOC2012",
    ]
