"""The annotations, and results that do not belong to them."""

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.evaluation.runs import open_folders, read_run
from fcos.evaluation.truth import (
    check_ids,
    default_name,
    read_truth,
    register_from_configs,
    truth_of_dataset,
)
from fcos.utils.errors import UserError
from tests.data.importing.making import make_voc
from tests.evaluation.conftest import IDS, NAMES, SIZE


def read(data):
    return read_truth("pets", str(data.json_file), str(data.image_root))


def open_one(folder, *others):
    return open_folders([f"run={folder}", *(f"{i}={f}" for i, f in enumerate([folder, *others]))])


def check(data, result, **changes):
    folder = data.write_results("run", [result | changes])
    check_ids(read_run(open_one(folder)[0], "pets"), read(data))


def test_classes_are_in_the_order_of_their_ids(data):
    truth = read(data)
    assert (truth.category_ids, truth.class_names) == (list(IDS), list(NAMES))
    assert truth.has_masks and len(truth.coco.imgs) == 6


def test_classes_of_the_same_name_are_told_apart(data, monkeypatch):
    monkeypatch.setattr("tests.evaluation.conftest.NAMES", ("cat", "dog", "cat"))
    data.write()
    assert read(data).class_names == [f"cat (id {IDS[0]})", "dog", f"cat (id {IDS[2]})"]


def test_annotations_without_masks(data):
    del data.annotations[3]["segmentation"]
    data.write()
    assert not read(data).has_masks


def test_a_missing_iscrowd_means_no_crowd(data):
    del data.annotations[0]["iscrowd"]
    data.write()
    assert read(data).coco.anns[1]["iscrowd"] == 0


@pytest.mark.parametrize("key", ["id", "image_id", "category_id", "bbox"])
def test_an_annotation_that_lacks_something(data, key):
    del data.annotations[2][key]
    data.write()
    with pytest.raises(UserError, match=rf"val.json: annotation (3|{{.*}}) has no {key}\."):
        read(data)


def test_a_missing_area_is_that_of_the_box(data):
    data.annotations[2]["area"] = None
    data.write()
    _, _, width, height = data.annotations[2]["bbox"]
    assert read(data).coco.anns[3]["area"] == width * height
    data.annotations[2]["area"] = "123"
    data.write()
    with pytest.raises(UserError, match=r"val\.json: annotation 3 has the area '123'; expected a"):
        read(data)


@pytest.mark.parametrize(
    "segmentation",
    [[0, 0, 5, 0, 5, 5], [[1, 2]], [["a"] * 6], {"counts": "zz", "size": [1, 1]}, {"counts": 5}],
)
def test_masks_that_cannot_be_used_are_none(data, segmentation):
    want = read(data).evaluate([], "bbox", 100)
    data.annotations[3]["segmentation"] = segmentation
    data.write()
    truth = read(data)
    assert not truth.has_masks
    assert truth.evaluate([], "bbox", 100).recall.shape == want.recall.shape


@pytest.mark.parametrize("key", ["id", "file_name", "width", "height"])
def test_an_image_that_lacks_something(data, key):
    del data.images[2][key]
    data.write()
    with pytest.raises(UserError, match=rf"val.json: image .* has no {key}\."):
        read(data)


def test_files_that_are_not_there(data):
    with pytest.raises(UserError, match=r"The annotations none.json do not exist"):
        read_truth("pets", "none.json", "")
    with pytest.raises(UserError, match=r"The annotations .* are a folder, expected .* import"):
        read_truth("pets", str(data.root), "")
    with pytest.raises(UserError, match=r"The folder of pictures nowhere does not exist"):
        read_truth("pets", str(data.json_file), "nowhere")
    data.json_file.write_text('{"images": [], "categories": []}')
    with pytest.raises(UserError, match=r"has no annotations: there is nothing to compare with"):
        read(data)


def test_a_data_set_that_is_not_in_cocos_format(data):
    DatasetCatalog.register("own", list)
    with pytest.raises(
        UserError, match=r"'own' has no annotations in COCO's.*own_coco_format.json"
    ):
        truth_of_dataset("own")


def test_a_custom_data_set_is_registered_from_the_folders_config(data):
    folder = data.write_results("run", [])
    assert "pets" not in DatasetCatalog.list()
    register_from_configs("pets", open_one(folder))
    assert MetadataCatalog.get("pets").json_file == str(data.json_file)
    truth = truth_of_dataset("pets")
    assert (truth.name, truth.image_root) == ("pets", str(data.image_root))
    other = data.write_results("other", [])
    text = (other / "config.yaml").read_text()
    (other / "config.yaml").write_text(text.replace("val.json", "train.json"))
    with pytest.raises(UserError, match=r"a data set of this name is registered already"):
        register_from_configs("pets", open_one(folder, other))


def test_labels_in_another_format_are_read_from_the_runs_of_two_folders(data, tmp_path):
    voc = make_voc(tmp_path / "labels", 3)
    folders = [data.write_results(name, []) for name in ("run", "other")]
    for folder in folders:
        custom = f"DATASETS: {{TEST: [pets], CUSTOM: {{pets: {{VOC: {voc}}}}}}}"
        (folder / "config.yaml").write_text(f"{custom}\nVERSION: 2\n")
    register_from_configs("pets", open_one(*folders))
    truth = truth_of_dataset("pets")
    assert truth.class_names == ["cat"] and len(truth.coco.imgs) == 3
    assert truth.json_file == str(folders[0] / "datasets" / "pets.json")


def test_results_of_another_data_set(data):
    found = data.detections((1, 0.5), (2, 0.5))
    found[1]["image_id"] = 4711
    run = read_run(open_one(data.write_results("run", found))[0], "pets")
    message = r"is of another data set than pets: 1 of 2 detections.*such as image_id 4711"
    with pytest.raises(UserError, match=message):
        check_ids(run, read(data))


def test_an_unknown_class(data):
    message = r"1 of 1 detections are of classes that pets does not have, such as category_id 1; "
    with pytest.raises(UserError, match=message + r"its own are 2, 3, 9\."):
        check(data, data.detections((1, 0.5))[0], category_id=1)


def test_masks_that_are_not_of_the_image(data):
    result = data.detections((1, 0.5))[0]
    with pytest.raises(UserError, match="detection 0 has a segmentation that is no compressed"):
        check(data, result, segmentation=[[1, 1, 2, 2, 3, 3]])
    data.root = data.root / "again"
    with pytest.raises(UserError, match=rf"a mask of \[8, 9\].*image 10 of pets has \[{SIZE}, "):
        check(data, result, segmentation={"size": [8, 9], "counts": "abc"})
    data.root = data.root / "once more"
    with pytest.raises(UserError, match=r"0 has run lengths that do not add up to the pixels of"):
        check(data, result, segmentation={"size": [SIZE, SIZE], "counts": "abc"})


def test_the_name_of_a_file(data):
    assert default_name("a/instances_val2017.json") == "instances_val2017"
