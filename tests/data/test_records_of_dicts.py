"""Data sets that a function gives: its numbers may be anyone's, and its mistakes are named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_api

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.structures import BoxMode
from fcos.data.records_of_dicts import records_of_dicts
from fcos.data.register import read_dataset
from fcos.utils.errors import UserError

OUTLINE = [4.0, 5.0, 14.0, 5.0, 14.0, 15.5]
_MASK = np.zeros((32, 48), dtype=np.uint8, order="F")
_MASK[5:15, 4:14] = 1
RUN_LENGTHS = mask_api.encode(_MASK)


def image(annotation=(), **fields):
    """One image with one object, some of whose fields are others."""
    thing = {"bbox": [4, 5, 10, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    whole = {"file_name": "a.png", "image_id": 7, "width": 48, "height": 32}
    return {**whole, "annotations": [{**thing, **dict(annotation)}], **fields}


def records(*images, **options):
    return records_of_dicts("some", images, ["a", "b"], **options)


def refused(message, *images):
    with pytest.raises(UserError) as caught:
        records(*images)
    assert message in str(caught.value)


@pytest.mark.parametrize("of", [np.int64, np.float32, torch.tensor, lambda number: number])
def test_numbers_of_every_library(of):
    box = [of(number) for number in (4, 5, 10, 10)]
    given = image(
        {"bbox": box, "category_id": of(1), "iscrowd": of(1)},
        image_id=of(7),
        width=of(48),
        height=of(32),
    )
    got = records(given)
    assert json.loads(json.dumps(got.as_coco())) == {
        "images": [{"id": 7, "file_name": "a.png", "height": 32, "width": 48}],
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "category_id": 1,
                "bbox": [4, 5, 10, 10],
                "area": 100,
                "iscrowd": 1,
            }
        ],
    }
    (loaded,) = got.dicts()
    assert loaded == image({"iscrowd": 1})
    assert type(loaded["annotations"][0]["category_id"]) is int


@pytest.mark.parametrize("of", [np.array, np.float32, torch.tensor, tuple])
def test_boxes_of_every_library(of):
    (loaded,) = records(image({"bbox": of([4, 5, 10, 10])})).dicts(for_training=True)
    assert loaded["annotations"][0]["bbox"] == [4, 5, 10, 10]


@pytest.mark.parametrize(
    "segmentation",
    [
        [np.array(OUTLINE)],
        [tuple(OUTLINE)],
        (OUTLINE,),
        np.array([OUTLINE]),
        {**RUN_LENGTHS, "size": np.array([32, 48])},
        {"counts": [164, *[10, 22] * 9, 10, 1536 - 164 - 9 * 32 - 10], "size": (32, 48)},
    ],
)
def test_masks_of_every_library(segmentation):
    (thing,) = records(image({"segmentation": segmentation})).images[0].objects
    assert thing.mask_form in ("polygons", "run lengths")
    json.dumps(records(image({"segmentation": segmentation})).as_coco())


@pytest.mark.parametrize("mapped", [False, True])
def test_an_evaluation_sees_what_detectron2_converts(catalog, mapped):
    images = [
        image({"segmentation": [OUTLINE, [20.0, 20.0, 30.0, 20.0, 30.0, 31.0]]}),
        image({"segmentation": RUN_LENGTHS, "iscrowd": 1, "category_id": 0}, image_id=3),
        image({"bbox": [1.12345, 2, 9, 9], "bbox_mode": BoxMode.XYXY_ABS}, image_id=9),
        image({"bbox": [1, 2.98765, 9, 9]}, image_id=4),
        image(image_id=5, annotations=[]),
    ]
    DatasetCatalog.register("own", lambda: images)
    MetadataCatalog.get("own").thing_classes = ["a", "b"]
    if mapped:
        MetadataCatalog.get("own").thing_dataset_id_to_contiguous_id = {5: 1, 8: 0}
    want = convert_to_coco_dict("own")
    got = read_dataset("own", for_training=False).as_coco()
    assert got["images"] == want["images"]
    assert got["categories"] == want["categories"]
    for ours, theirs in zip(got["annotations"], want["annotations"], strict=True):
        assert ours.pop("area") == pytest.approx(theirs.pop("area"))
        assert ours == theirs


def test_without_masks_the_area_is_that_of_the_box():
    got = records(image({"segmentation": [OUTLINE]}), with_masks=False).as_coco()
    assert got["annotations"][0]["area"] == 100
    assert "segmentation" not in got["annotations"][0]


@pytest.mark.parametrize("segmentation", [OUTLINE, [["a"] * 6], {"counts": 5}, object()])
def test_without_masks_no_segmentation_matters(segmentation):
    got = records(image({"segmentation": segmentation}), with_masks=False)
    assert got.images[0].num_objects == 1
    assert "segmentation" not in got.dicts()[0]["annotations"][0]


def test_images_without_ids_are_numbered():
    images = [image(), image()]
    for one in images:
        del one["image_id"]
    assert [one["image_id"] for one in records(*images).dicts()] == [0, 1]
    assert "image_id" not in images[0]


def test_a_path_is_a_name():
    assert records(image(file_name=Path("b") / "a.png")).dicts()[0]["file_name"] == "b/a.png"


@pytest.mark.parametrize("value", ["0", "1", 2, np.int64(2), float("nan"), [], np.zeros(0)])
def test_crowds_that_are_neither(value):
    refused("Data set 'some': annotation 0 of a.png has the iscrowd ", image({"iscrowd": value}))


def test_crowds_are_read_as_they_are_trained_on():
    things = records(*[image({"iscrowd": v}, image_id=i) for i, v in enumerate([None, 0, True])])
    assert [one.num_objects for one in things.images] == [1, 1, 0]
    crowds = [one["annotations"][0]["iscrowd"] for one in things.dicts()]
    assert crowds == [0, 0, 1]


@pytest.mark.parametrize("mode", [None, "XYWH", 9, BoxMode.XYWH_REL])
def test_modes_of_boxes_that_are_none(mode):
    refused(
        f"annotation 0 of a.png has the bbox_mode {mode!r}; expected BoxMode.XYXY_ABS or BoxMode.",
        image({"bbox_mode": mode}),
    )


@pytest.mark.parametrize("box", [["4", "5", "9", "9"], [1, 2, 3], None, [1, 2, 3, 10**400], "1234"])
def test_boxes_that_are_none(box):
    refused("annotation 0 of a.png has the bbox ", image({"bbox": box}))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("a", "image 0 is 'a', expected a dict in detectron2's form."),
        (image(image_id=[7]), "image 0 has the image_id [7]; expected a number or a text."),
        (image(image_id=None), "image 0 has the image_id None; expected a number or a text."),
        (image(width="48"), "image 7 has the width '48'; expected a positive whole number, of"),
        (image(height=32.5), "image 7 has the height 32.5; expected a positive whole number, of"),
        (image(file_name=3), "image 7 has the file_name 3; expected the path of a file."),
        (image(file_name="\0"), "image 7 has the file_name '\\x00'; expected the path of a file."),
        (image(annotations=["a"]), "annotation 0 of a.png is 'a', expected a dict."),
        (image(annotations=5), "image 7 has the annotations 5; expected a list of dicts."),
        (image(annotations={}), "image 7 has the annotations {}; expected a list of dicts."),
    ],
)
def test_images_that_are_none(given, message):
    refused(f"Data set 'some': {message}", given)


def test_images_of_one_id():
    refused("Data set 'some': images with the same id: 7. Give each", image(), image())
    refused(
        "some images have a number as id and some a text, such as 7", image(), image(image_id="7")
    )
