"""Images that are trained on and evaluated on."""

import shutil
from collections import Counter

import pytest
from PIL import Image

from fcos.config import get_cfg
from fcos.data import check_datasets, overlap
from fcos.data.overlap import ImageFile, note_on_overlap


def notes_on_test(coco, training=True):
    """Of a test set that has the last two images of six, and a training set of the first four."""
    images, annotations = coco.images, coco.annotations
    coco.images, coco.annotations = images[:4], annotations[:4]
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
    cfg.DATASETS.TRAIN = (coco.register("for_train"),)
    coco.json_file = coco.json_file.with_name("test.json")
    coco.images, coco.annotations = images[4:], annotations[4:]
    cfg.DATASETS.TEST = (coco.register("for_test"),)
    return check_datasets(cfg, training=training)[-1].notes


def test_apart(coco):
    assert not any("trained on" in note for note in notes_on_test(coco))


@pytest.mark.parametrize("training", [True, False])
def test_the_same_file(coco, training):
    coco.images[5]["file_name"] = "../img/2.png"
    want = (
        "1 of its 2 images is also trained on, in for_train: 2.png. Figures on these say what is "
        "remembered, not what is recognised."
    )
    assert (want in notes_on_test(coco, training)) is training


def test_the_same_bytes(coco):
    shutil.copy(coco.path(1), coco.path(4))  # 32x48 and 48x32: only the records differ
    coco.images[4].update(width=32, height=48)
    assert any(note.startswith("1 of its 2 images is also") for note in notes_on_test(coco))


@pytest.mark.parametrize("differs", [False, True])
def test_files_of_one_length(coco, differs):
    coco.images[4].update(width=32, height=48)
    for i in (1, 4):  # as BMP, which is not compressed
        Image.new("RGB", (32, 48), (0, 0, i * differs)).save(coco.path(i), "BMP")
    notes = notes_on_test(coco)
    assert any("trained on" in note for note in notes) is not differs


@pytest.mark.parametrize("differs", [False, True])
def test_files_of_one_length_and_beginning(coco, differs):
    coco.images[4].update(width=32, height=48)
    for i in (1, 4):  # what comes after the pixels of a BMP is not read as an image
        Image.new("RGB", (32, 48)).save(coco.path(i), "BMP")
        with open(coco.path(i), "ab") as file:
            file.write(bytes(1 << 16) + bytes([i * differs]))
    notes = notes_on_test(coco)
    assert any("trained on" in note for note in notes) is not differs


def test_many_files_of_one_length_are_compared_once_each(tmp_path, monkeypatch):
    files = []
    for i in range(60):
        (tmp_path / f"{i}").write_bytes(bytes([i % 50]))
        files.append(ImageFile(str(tmp_path / f"{i}"), (1, 1)))
    read = Counter()

    def count(path, *length):
        read[path] += 1
        return _digest(path, *length)

    _digest = overlap._digest
    monkeypatch.setattr(overlap, "_digest", count)
    assert note_on_overlap({"train": files[:50]}, files[50:]).startswith("10 of its 10 images")
    assert max(read.values()) == 2  # its beginning, and the whole


def test_one_data_set_for_both(coco):
    cfg = get_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.FCOS.NUM_CLASSES = "OneStageDetector", 2
    cfg.DATASETS.TRAIN = cfg.DATASETS.TEST = (coco.register(),)
    assert any(note.startswith("6 of its 6 images are") for note in check_datasets(cfg)[1].notes)
