"""COCO's format for instances: reading, registering, writing."""

import copy
import json
import logging

import numpy as np
import pytest
from golden_values import GOLDEN, golden_json
from pycocotools import mask as mask_api

import detectron2
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import (
    convert_to_coco_json,
    load_coco_json,
    load_voc_instances,
    register_coco_instances,
)
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.structures import BoxMode

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)

SMALL = {
    "images": [
        {"id": 3, "file_name": "a.jpg", "height": 10, "width": 20},
        {"id": 1, "file_name": "sub/b.jpg", "height": 10, "width": 20},
    ],
    "annotations": [
        {"id": 7, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4], "iscrowd": 0, "tag": "x"},
        {"id": 8, "image_id": 1, "category_id": 2, "bbox": [1.5, 2, 3, 4], "iscrowd": 1},
    ],
    "categories": [{"id": 5, "name": "five"}, {"id": 2, "name": "two"}],
}


@pytest.fixture
def small():
    return copy.deepcopy(SMALL)


@pytest.fixture
def name():
    yield "json_test"
    DatasetCatalog.pop("json_test", None)
    MetadataCatalog.pop("json_test", None)


@pytest.fixture
def write(tmp_path):
    def write(content, name="dataset.json"):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_golden_dataset(name):
    reference = golden_json("host_coco_results.json")
    records = load_coco_json(str(GOLDEN / "host_coco_dataset.json"), "", name)
    assert records == reference["loaded_dataset_dicts"]
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == reference["thing_classes"]
    id_map = {str(k): v for k, v in metadata.thing_dataset_id_to_contiguous_id.items()}
    assert id_map == reference["thing_dataset_id_to_contiguous_id"]


def test_records_by_hand(small, write, name):
    b, a = load_coco_json(write(small), "root", name)  # by image id
    assert b == {
        "file_name": "root/sub/b.jpg",
        "height": 10,
        "width": 20,
        "image_id": 1,
        "annotations": [
            {"iscrowd": 1, "bbox": [1.5, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
        ],
    }
    assert a["annotations"][0]["category_id"] == 1  # 5 is the second in ascending order
    assert MetadataCatalog.get(name).thing_classes == ["two", "five"]
    assert MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id == {2: 0, 5: 1}


def test_without_a_name_ids_stay_and_nothing_is_noted(small, write):
    before = set(MetadataCatalog)
    b, a = load_coco_json(write(small), "root", extra_annotation_keys=["tag"])
    assert (b["annotations"][0]["category_id"], a["annotations"][0]["category_id"]) == (2, 5)
    assert a["annotations"][0]["tag"] == "x" and "tag" not in b["annotations"][0]
    assert set(MetadataCatalog) == before


def test_segmentations(small, write):
    triangle, line = [1, 1, 9, 1, 9, 9], [1, 2, 3, 4]
    run_lengths = {"size": [10, 20], "counts": [3, 7, 190]}
    common = {"image_id": 3, "category_id": 5, "bbox": [1, 1, 8, 8]}
    small["annotations"] = [
        {**common, "id": 1, "segmentation": [triangle, line, triangle[:5]]},
        {**common, "id": 2, "segmentation": [line]},  # nothing valid in it: left out
        {**common, "id": 3, "segmentation": run_lengths},
        {**common, "id": 4, "segmentation": []},
    ]
    _, a = load_coco_json(write(small), "")
    first, third, fourth = a["annotations"]
    assert first["segmentation"] == [triangle]
    mask = mask_api.decode(third["segmentation"])
    assert mask.T.reshape(-1).nonzero()[0].tolist() == [3, 4, 5, 6, 7, 8, 9]
    assert "segmentation" not in fourth


def test_keypoints_move_to_the_middle_of_their_pixel(small, write):
    small["annotations"][0]["keypoints"] = [4, 5, 2, 0, 0, 0]
    _, a = load_coco_json(write(small), "")
    assert a["annotations"][0]["keypoints"] == [4.5, 5.5, 2, 0.5, 0.5, 0]


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda d: d["annotations"][1].update(id=7), AssertionError),
        (lambda d: d["annotations"][1].update(category_id=9), KeyError),
        (lambda d: d["annotations"][1].update(bbox=[]), ValueError),
        (lambda d: d["annotations"][1].update(ignore=1), AssertionError),
    ],
)
def test_errors_in_annotations(small, write, name, change, error):
    change(small)
    with pytest.raises(error):
        load_coco_json(write(small), "", name)


@lite_only
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            lambda d: d["annotations"][1].update(category_id=9),
            KeyError,
            "annotation 8 of image 1 has category id 9, which is not in 'categories'",
        ),
        (
            lambda d: d["annotations"][1].update(bbox=[]),
            ValueError,
            "annotation 8 of image 1 has an empty 'bbox'",
        ),
        (lambda d: d["annotations"][1].update(ignore=1), AssertionError, 'is marked "ignore"'),
        (lambda d: d["images"][0].pop("height"), ValueError, "image 3 has no 'height'"),
        (lambda d: d.pop("categories"), ValueError, "has no 'categories'"),
        (lambda d: d["images"][0].pop("id"), ValueError, "is no COCO annotation file: no 'id'"),
    ],
)
def test_messages_name_the_file_and_the_place(small, write, name, change, error, message):
    change(small)
    with pytest.raises(error, match="dataset.json") as caught:
        load_coco_json(write(small), "", name)
    assert message in str(caught.value)


@lite_only
@pytest.mark.parametrize("text", ["{", "[]", '"text"'])
def test_a_file_that_is_no_coco_file(text, write):
    with pytest.raises(ValueError, match=r"dataset.json' is no COCO annotation file: "):
        load_coco_json(write(text), "")


@lite_only
def test_a_missing_file_names_the_expected_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        load_coco_json("coco/annotations/x.json", "coco/images", "a name")
    message = str(caught.value)
    assert f"of dataset 'a name' is expected at '{tmp_path}/coco/annotations/x.json'" in message
    assert f"'{tmp_path}/coco/images'" in message and "DETECTRON2_DATASETS" in message


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match=r"no/where.json"):
        load_coco_json("no/where.json", "")


def test_what_is_only_warned_of(small, write, name, caplog):
    small["annotations"].append({**small["annotations"][0], "id": 9, "image_id": 99})
    small["annotations"][0]["segmentation"] = [[1, 2, 3, 4]]
    with caplog.at_level(logging.WARNING, logger="detectron2"):
        load_coco_json(write(small), "", name)
    warnings = " ".join(record.getMessage() for record in caplog.records)
    assert "3 annotations, but only 2 of them" in warnings
    assert "category ids" in warnings.lower() and " 1 " in warnings


def test_ids_from_1_without_gaps_are_not_warned_of(small, write, name, caplog):
    small["categories"] = [{"id": i + 1, "name": str(i)} for i in range(5)]
    with caplog.at_level(logging.WARNING, logger="detectron2"):
        load_coco_json(write(small), "", name)
    assert not caplog.records


def test_registering(small, write, name):
    path = write(small)
    register_coco_instances(name, {"thing_colors": [[1, 2, 3]] * 2}, path, "root")
    metadata = MetadataCatalog.get(name)
    assert metadata.as_dict() == {
        "name": name,
        "json_file": path,
        "image_root": "root",
        "evaluator_type": "coco",
        "thing_colors": [[1, 2, 3]] * 2,
    }
    assert [record["image_id"] for record in DatasetCatalog.get(name)] == [1, 3]
    assert metadata.thing_classes == ["two", "five"]


def test_registering_again_needs_the_same_files(small, write, name):
    path = write(small)
    register_coco_instances(name, {}, path, "root")
    register_coco_instances(name, {}, path, "root")
    with pytest.raises(AssertionError, match="json_file"):
        register_coco_instances(name, {}, write(small, "other.json"), "root")
    assert len(DatasetCatalog.get(name)) == 2


@lite_only
def test_registering_does_not_take_over_another_datasets_name(name):
    DatasetCatalog.register(name, list)
    with pytest.raises(AssertionError, match="already registered"):
        register_coco_instances(name, {}, "a.json", "root")


@pytest.mark.parametrize("arguments", [(3, {}, "a", "b"), ("n", {}, 3, "b"), ("n", {}, "a", 3)])
def test_registering_with_something_else_than_names_and_paths(arguments):
    with pytest.raises(AssertionError):
        register_coco_instances(*arguments)


def test_classes_that_contradict_the_metadata(small, write, name):
    MetadataCatalog.get(name).thing_classes = ["other", "names"]
    with pytest.raises(AssertionError, match="thing_classes"):
        load_coco_json(write(small), "", name)


@pytest.mark.parametrize("with_id_map", [False, True])
def test_golden_conversion(name, with_id_map):
    reference = golden_json("host_coco_results.json")
    DatasetCatalog.register(name, lambda: copy.deepcopy(reference["own_format"]))
    MetadataCatalog.get(name).thing_classes = ["u", "v"]
    if with_id_map:
        MetadataCatalog.get(name).thing_dataset_id_to_contiguous_id = {11: 0, 12: 1}
    converted = convert_to_coco_dict(name)
    key = "own_format_as_coco_with_id_map" if with_id_map else "own_format_as_coco"
    assert {**converted, "info": {}} == reference[key]


def test_conversion_is_undone_by_loading(small, write, name, tmp_path):
    small["annotations"][0]["segmentation"] = [[1, 2, 4, 2, 4, 6]]
    small["annotations"][1]["keypoints"] = [4, 5, 2, 0, 0, 0]
    register_coco_instances(name, {}, write(small), "root")
    path = str(tmp_path / "deep" / "converted.json")
    convert_to_coco_json(name, path)
    again = load_coco_json(path, "", None)
    for record in again:
        for obj in record["annotations"]:
            obj["category_id"] = {2: 0, 5: 1}[obj["category_id"]]
    for record in (expected := DatasetCatalog.get(name)):
        for obj in record["annotations"]:
            obj.setdefault("iscrowd", 0)
    assert again == expected


def test_masks_survive_conversion(name):
    mask = np.zeros((10, 12), dtype=np.uint8, order="F")
    mask[2:5, 3:9] = 1
    obj = {"bbox": [3, 2, 9, 5], "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
    obj["segmentation"] = mask_api.encode(mask)
    record = {"file_name": "a", "height": 10, "width": 12, "annotations": [obj]}
    DatasetCatalog.register(name, lambda: [record])
    MetadataCatalog.get(name).thing_classes = ["a"]
    (annotation,) = json.loads(json.dumps(convert_to_coco_dict(name)))["annotations"]
    assert annotation["area"] == 18 and annotation["bbox"] == [3, 2, 6, 3]
    assert (mask_api.decode(annotation["segmentation"]) == mask).all()


def test_a_written_file_is_used_again_unless_told_otherwise(small, write, name, tmp_path, caplog):
    register_coco_instances(name, {}, write(small), "root")
    path = tmp_path / "converted.json"
    path.write_text("earlier")
    with caplog.at_level(logging.WARNING, logger="detectron2"):
        convert_to_coco_json(name, str(path))
    assert path.read_text() == "earlier" and "converted.json" in caplog.text
    convert_to_coco_json(name, str(path), allow_cached=False)
    assert len(json.loads(path.read_text())["images"]) == 2


VOC = """<annotation><size><width>50</width><height>40</height></size>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>
</object></annotation>"""


@pytest.fixture
def voc(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Annotations" / "000007.xml").write_text(VOC)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("000007\n")
    return tmp_path


def test_pascal_voc(voc):
    # VOC counts pixels from 1: pixels 1 to 30 are the stretch from 0 to 30.
    obj = {"category_id": 1, "bbox": [0.0, 1.0, 30.0, 40.0], "bbox_mode": BoxMode.XYXY_ABS}
    # As a list: detectron2 itself accepts no split of a single image.
    (voc / "ImageSets" / "Main" / "train.txt").write_text("000007\n000007\n")
    records = load_voc_instances(str(voc), "train", ["cat", "dog"])
    assert records == 2 * [
        {
            "file_name": str(voc / "JPEGImages" / "000007.jpg"),
            "image_id": "000007",
            "height": 40,
            "width": 50,
            "annotations": [obj],
        }
    ]


@lite_only
def test_pascal_voc_messages(voc):
    with pytest.raises(FileNotFoundError, match=r"ImageSets/Main/val.txt' does not exist"):
        load_voc_instances(str(voc), "val", ["dog"])
    with pytest.raises(ValueError, match="000007.xml' has an object of class 'dog'"):
        load_voc_instances(str(voc), "train", ["cat"])
    (voc / "Annotations" / "000007.xml").write_text(VOC.replace("height", "tallness"))
    with pytest.raises(ValueError, match="000007.xml': <annotation> has no <size/height>"):
        load_voc_instances(str(voc), "train", ["dog"])
