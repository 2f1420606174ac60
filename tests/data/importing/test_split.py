"""Splits: in proportion, seeded, and with near-duplicates on one side."""

import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from fcos.data.importing.duplicates import group_near_duplicates
from fcos.data.importing.files import split_of
from fcos.data.importing.labels import LabelledImage, LabelledObject, Labels, Problems
from fcos.data.importing.split import split_images
from fcos.data.importing.tables import split_in_name
from tests.data.importing.making import contents, make_image, make_voc, run


def labelled(tmp_path, classes):
    """One image for each item of ``classes``, which lists the classes on it."""
    images = []
    for number, names in enumerate(classes):
        path = str(make_image(tmp_path / f"{number}.png"))
        found = [LabelledObject(name, (0, 0, 9, 9)) for name in names]
        images.append(LabelledImage(path, path, found))
    return Labels(images)


def sides(labels):
    return [image.split for image in labels.images]


def test_each_class_in_proportion(tmp_path):
    classes = [["a"]] * 60 + [["a", "b"]] * 20 + [["c"]] * 10 + [[]] * 10
    random.Random(1).shuffle(classes)
    labels = labelled(tmp_path, classes)
    assert split_images(labels, Problems(), 0.2, 0) == "split by image, seed 0"
    val = Counter()
    for image in labels.images:
        if image.split == "val":
            val.update({found.name for found in image.objects} or {"none"})
    assert val == {"a": 16, "b": 4, "c": 2, "none": 2}


def test_the_seed_decides(tmp_path):
    results = []
    for seed in (0, 0, 1):
        labels = labelled(tmp_path, [["a"]] * 20)
        split_images(labels, Problems(), 0.3, seed)
        results.append(sides(labels))
        assert results[-1].count("val") == 6
    assert results[0] == results[1] != results[2]


@pytest.mark.parametrize("number", [2, 3])
def test_no_side_is_empty(tmp_path, number):
    labels = labelled(tmp_path, [["a"]] * number)
    split_images(labels, Problems(), 0.1, 0)
    assert set(sides(labels)) == {"train", "val"}


def test_near_duplicates_are_on_one_side(tmp_path):
    """Of each image there is a JPEG of low quality and one a pixel smaller."""
    paths = []
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((200, 160), Image.Resampling.BICUBIC)
        for copy, quality in enumerate((95, 30, 80)):
            paths.append(str(tmp_path / f"{number}_{copy}.jpg"))
            image.resize((200 - copy, 160)).save(paths[-1], quality=quality)
    groups = group_near_duplicates(paths)
    assert groups == [3 * (i // 3) for i in range(36)]
    images = [LabelledImage(p, p, [LabelledObject("a", (0, 0, 9, 9))]) for p in paths]
    said = split_images(Labels(images), Problems(), 0.25, 0)
    assert said == "split by image, seed 0 (24 near-duplicates are on the side of their first)"
    of_group = [{image.split for image in images[i : i + 3]} for i in range(0, 36, 3)]
    assert all(len(found) == 1 for found in of_group)
    assert of_group.count({"val"}) == 3


def test_images_with_little_contrast_are_told_apart(tmp_path):
    """Pages that differ in where they have a dark spot: a sixteenth of the width."""
    paths = []
    for number in range(8):
        page = np.full((160, 160), 250, np.uint8)
        page[80:90, 20 * number : 20 * number + 10] = 0
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(page).save(paths[-1])
    assert group_near_duplicates(paths) == list(range(8))


def test_what_roboflow_made_of_one_image_is_one_group(tmp_path):
    names = ["a_jpg.rf.01ab.jpg", "b_jpg.rf.01ab.jpg", "a_jpg.rf.99ff.jpg"]
    paths = [str(make_image(tmp_path / name)) for name in names]
    assert group_near_duplicates(paths) == [0, 1, 0]


def test_when_all_look_alike(tmp_path):
    labels = labelled(tmp_path, [["a"]] * 10)
    for image in labels.images:
        make_image(tmp_path / image.path, seed=3)
    said = split_images(labels, Problems(), 0.2, 0)
    assert said.endswith("too many look alike to keep those on one side")
    assert sides(labels).count("val") == 2


@pytest.mark.parametrize(
    "words, split",
    [
        (["images", "train2017"], "train"),
        (["Valid", "test"], "val"),
        (["testing"], "test"),
        (["trainer", "latest", "evaluation"], ""),
    ],
)
def test_words_that_name_a_split(words, split):
    assert split_of(words) == split


def test_names_of_files_that_name_a_split():
    assert split_in_name("a/instances_val2017.json") == "val"
    assert split_in_name("a/validation-annotations-bbox.csv") == "val"
    assert split_in_name("train/boxes.csv") == ""


def test_a_split_without_validation_is_made_anew(tmp_path):
    make_voc(tmp_path / "source" / "train", 10)
    said = run(tmp_path / "source", tmp_path / "out")
    assert "Split: 8 train, 2 val; split by image, seed 0" in said
    contents(tmp_path / "out", "train", "val")
