import itertools
import json
import os
import re

import pytest

from fcos.data.annotations import forget_annotations, read_annotations
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
@pytest.mark.parametrize("value", [5, None, ["a"]])
def test_names_that_are_none(tmp_path, key, name, value):
    want = rf"a\.json: {key}\[0\] has the {name} {re.escape(repr(value))}; expected a text\.$"
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
    lists["annotations"][1]["iscrowd"] = 0  # taken for granted where it is missing
    assert read(tmp_path, lists).as_coco() == lists
