import itertools
import json
import os
import re
import reprlib

import pytest

from fcos.data.annotations import forget_annotations, read_annotations, read_classes
from fcos.utils.errors import UserError


def contents(**of_first):
    """A small file, in whose first records some fields are others: ``images={"id": [5]}``."""
    lists = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in (1, 2)],
        "categories": [{"id": i, "name": f"c{i}"} for i in (1, 2)],
        "annotations": [
            {"id": i, "image_id": i, "category_id": i, "bbox": [1, 1, 5, 5]} for i in (1, 2)
        ],
    }
    for key, fields in of_first.items():
        lists[key][0].update(fields)
    return lists


def read(tmp_path, lists):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(lists))
    return read_annotations(str(path))


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("images", "id"),
        ("categories", "id"),
        ("annotations", "id"),
        ("annotations", "image_id"),
        ("annotations", "category_id"),
    ],
)
@pytest.mark.parametrize("value", [[5], {"a": 5}, None, True, float("nan"), float("inf")])
def test_ids_that_are_none(tmp_path, key, name, value):
    with pytest.raises(UserError) as caught:
        read(tmp_path, contents(**{key: {name: value}}))
    assert str(caught.value) == (
        f"{tmp_path / 'a.json'}: {key}[0] has the {name} {value!r}; expected a number or a text."
    )


@pytest.mark.parametrize(("key", "name"), [("images", "file_name"), ("categories", "name")])
@pytest.mark.parametrize("value", [5, None, ["a"], "a\0", "\ud800"])
def test_names_that_are_none(tmp_path, key, name, value):
    want = rf"a\.json: {key}\[0\] has the {name} {re.escape(repr(value))}; expected a text"
    with pytest.raises(UserError, match=want):
        read(tmp_path, contents(**{key: {name: value}}))


@pytest.mark.parametrize("kind", [int, float, str])
def test_ids_of_every_kind_that_can_be_told_apart(tmp_path, kind):
    lists = contents()
    for record in itertools.chain(*lists.values()):
        record.update({name: kind(record[name]) for name in record if name.endswith("id")})
    records = read(tmp_path, lists)
    assert [image.id for image in records.images] == [kind(1), kind(2)]
    assert [image.objects[0].category_id for image in records.images] == [kind(1), kind(2)]


@pytest.mark.parametrize("key", ["images", "categories"])
def test_ids_of_two_kinds_have_no_order(tmp_path, key):
    with pytest.raises(
        UserError,
        match=rf"a\.json: some {key} have a number as id and some a text, such as 2 and '1'\. Make",
    ):
        read(tmp_path, contents(**{key: {"id": "1"}}))


def test_equal_numbers_are_equal_ids(tmp_path):
    with pytest.raises(UserError, match=r"json: images with the same id: 2\.0\. Give"):
        read(tmp_path, contents(images={"id": 2.0}))


# ---- once per process -----------------------------------------------------------------------


def test_a_file_is_read_again_when_it_has_changed_or_is_forgotten(tmp_path):
    lists = contents()
    first, path = read(tmp_path, lists), str(tmp_path / "a.json")
    assert read_annotations(path) is first
    lists["images"][0]["file_name"] = "other.png"  # of another length
    assert read(tmp_path, lists).images[0].file_name == "other.png"
    kept = read_annotations(path)
    os.utime(path, ns=(0, 0))  # of the same length
    again = read_annotations(path)
    assert again is not kept and again == kept
    forget_annotations(path)
    assert read_annotations(path) is not again


def test_records_of_few_files_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("fcos.data.annotations._kept", {})
    paths = [tmp_path / f"{i}.json" for i in range(9)]
    for path in paths:
        path.write_text(json.dumps(contents()))
    first, *_, last = [read_annotations(str(path)) for path in paths]
    assert read_annotations(str(paths[-1])) is last
    assert read_annotations(str(paths[0])) is not first


def test_names_of_a_file_with_a_problem(tmp_path):
    """What is wrong with its images does not matter to who asks for its classes."""
    records = read(tmp_path, contents(annotations={"bbox": [1, 2, 3]}))
    assert (records.class_names, records.category_ids) == (["c1", "c2"], [1, 2])
    assert records.images == []
    want = "a.json: annotation 1 has the bbox [1, 2, 3]; expected 4 finite numbers, in pixels."
    assert records.problem.endswith(want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": {"width": 0}}, "image 1 has the width 0 and the height 10; expected two"),
        ({"annotations": {"category_id": 9}}, "has category_id 9, which is not among its categ"),
        ({"annotations": {"id": 2}}, "annotations with the same id: 2. Give each an id of its"),
        ({"annotations": {"ignore": 1}}, 'annotation 1 is marked "ignore": use "iscrowd"'),
    ],
)
def test_images_that_cannot_be_used(tmp_path, change, message):
    assert message in read(tmp_path, contents(**change)).problem


def test_annotations_of_images_that_are_not_listed(tmp_path):
    records = read(tmp_path, contents(annotations={"image_id": 7}))
    assert [len(image.objects) for image in records.images] == [0, 1]
    assert records.problem == ""
    assert records.stray.endswith("annotation 1 is on image 7, which is not among its images.")


def test_images_are_in_the_order_of_their_ids(tmp_path):
    lists = contents()
    lists["images"].reverse()
    assert [image.id for image in read(tmp_path, lists).images] == [1, 2]


def test_what_the_file_held_goes_to_the_evaluation(tmp_path):
    fields = {"area": 7.5, "iscrowd": 1, "segmentation": [[1, 2, 3, 4, 5, 6]]}
    lists = contents(annotations=fields)
    got = read(tmp_path, lists).as_coco()
    lists["annotations"][1].update(iscrowd=0, area=25)  # of a box of 5x5; where they are missing
    assert got == lists


def test_polygons_that_are_none_do_not_go_to_the_evaluation(tmp_path):
    outline = [1, 2, 3, 4, 5, 6]
    lists = contents(annotations={"segmentation": [[1, 2], outline, [], 5]})
    assert read(tmp_path, lists).as_coco()["annotations"][0]["segmentation"] == [outline]


# ---- masks that nobody needs ------------------------------------------------------------------

OUTLINE = [1, 1, 5, 1, 5, 5]
ANY_SEGMENTATION = [
    *(None, 5, True, "x", {}, {"counts": "x"}, {"size": [10, 20]}, {"counts": 5, "size": "a"}),
    *([], [5], [None], ["a"], [[]], [["a"] * 6], [[1, 2]], [float("nan")], [[float("inf")] * 6]),
    *(OUTLINE, [OUTLINE], [[1e300] * 6], [[10**400] * 6], {"counts": "zz", "size": [10, 20]}),
]


@pytest.mark.parametrize("segmentation", ANY_SEGMENTATION)
def test_without_masks_no_segmentation_matters(tmp_path, segmentation):
    lists = contents(annotations={"segmentation": segmentation})
    path = tmp_path / "a.json"
    path.write_text(json.dumps(lists))
    (thing,) = read_annotations(str(path), with_masks=False).images[0].objects
    assert thing.is_learnt and thing.segmentation is None
    assert "segmentation" not in thing.as_dict({1: 0})
    for masks_too in (True, False):  # neither is taken for the other
        assert read_annotations(str(path), masks_too).images[0].objects[0].is_crowd is False
    assert read_annotations(str(path), with_masks=False).images[0].objects == [thing]


def test_classes_are_of_the_records_that_are_there(tmp_path):
    for with_masks in (True, False):
        read(tmp_path, contents())
        path = str(tmp_path / "a.json")
        forget_annotations(path)
        records = read_annotations(path, with_masks)
        assert read_classes(path) is records


# ---- values that are none ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [0, 1, True, False, 1.0, 0.0, None])
def test_crowds(tmp_path, value):
    (thing,) = read(tmp_path, contents(annotations={"iscrowd": value})).images[0].objects
    assert thing.is_crowd is bool(value)


@pytest.mark.parametrize("value", ["0", "1", "", 2, -1, 0.5, [], [1], {}, float("nan")])
def test_crowds_that_are_neither(tmp_path, value):
    problem = read(tmp_path, contents(annotations={"iscrowd": value})).problem
    assert problem.endswith(f"a.json: annotation 1 has the iscrowd {value!r}; expected 0 or 1.")


@pytest.mark.parametrize("size", ["64", 64.5, True, 0, -3, None, [], 10**400, float("inf")])
def test_sizes_of_images_that_are_none(tmp_path, size):
    problem = read(tmp_path, contents(images={"width": size})).problem
    want = f"image 1 has the width {reprlib.repr(size)} and the height 10; expected two positive"
    assert want in problem


@pytest.mark.parametrize("number", [10**400, "5", None, [5]])
def test_boxes_of_what_is_no_number(tmp_path, number):
    problem = read(tmp_path, contents(annotations={"bbox": [1, 1, number, 5]})).problem
    assert "annotation 1 has the bbox [1, 1, " in problem
    are_texts = problem.endswith(
        "; expected 4 finite numbers, in pixels: write them without quotation marks."
    )
    assert are_texts is isinstance(number, str)


@pytest.mark.parametrize("keypoints", [5, True, "abc", ["a"], {"a": 1}, [None], [10**400]])
def test_keypoints_do_not_matter(tmp_path, keypoints):
    (thing,) = read(tmp_path, contents(annotations={"keypoints": keypoints})).images[0].objects
    assert "keypoints" not in thing.as_dict({1: 0})


# ---- files that are something else ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("<annotation><object/></annotation>", "XML (as of Pascal VOC or CVAT)"),
        ('\n <?xml version="1.0"?>', "XML (as of Pascal VOC or CVAT)"),
        ("a.jpg,1,2,30,40,cat\n", "a table or a text (as of YOLO or CSV)"),
        ("0 0.5 0.5 0.1 0.1\n", "a table or a text (as of YOLO or CSV)"),
        ("nc: 2\nnames: [a, b]\n", "a table or a text (as of YOLO or CSV)"),
    ],
)
def test_labels_of_other_formats(tmp_path, text, kind):
    path = tmp_path / "a.json"
    for mark in ("", "\ufeff"):
        path.write_text(mark + text, encoding="utf-8")
        with pytest.raises(UserError) as caught:
            read_annotations(str(path))
        assert str(caught.value) == (
            f"{path} is {kind}, not JSON in COCO's format. Labels in another format become such a "
            f"file by: fcos data import {tmp_path} --output my_data."
        )


def test_broken_json_is_no_other_format(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"images": [')
    with pytest.raises(UserError, match=r"a\.json is not complete JSON"):
        read_annotations(str(path))


@pytest.mark.parametrize("other", [[], {}, {"shapes": []}, {"images": {}, "categories": []}, 5])
def test_json_of_other_formats(tmp_path, other):
    with pytest.raises(UserError, match=r"not in COCO's format: it has no list images.*import"):
        read(tmp_path, other)


@pytest.mark.parametrize("name", ["x" * 501, "\x1b[31mred", "two\nlines"])
def test_names_that_cannot_be_shown(coco, name):
    """A table of thousands of columns, colours of a terminal."""
    coco.categories[0]["name"] = name
    message = r"has the name '.*'; expected a text of at most 500 characters that can be shown\.$"
    with pytest.raises(UserError, match=message) as error:
        coco.write()
        read_annotations(str(coco.json_file))
    assert len(str(error.value)) < 400
