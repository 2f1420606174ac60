import logging

import numpy as np
import pytest
from PIL import Image

from fcos.data import (
    build_test_stream,
    build_train_stream,
    check_dataset,
    check_datasets,
    coco_lists,
    image_checks,
)
from fcos.data.image_checks import ImageUse, check_images
from fcos.data.left_out import leave_out, left_out
from fcos.data.register import read_dataset
from fcos.utils.errors import UserError
from fcos.utils.json_files import read_json


@pytest.fixture
def config(coco):
    return coco.config()


@pytest.fixture
def no_time(monkeypatch):
    """Nothing but the sample is decoded."""
    monkeypatch.setattr(image_checks, "SECONDS", 0.0)


def repeat_last(coco, number):
    """So many images more, of one file."""
    last = coco.images[-1]
    coco.images += [{**last, "id": 10 + i} for i in range(number)]


def break_three(coco):
    """A truncated image, a missing one and one of another size."""
    coco.path(1).write_bytes(coco.path(1).read_bytes()[:300])
    coco.path(3).unlink()
    coco.images[4].update(width=48, height=32)
    coco.write()


def test_a_sample_of_many_images(coco, no_time):
    repeat_last(coco, 244)  # 250 in all
    for image in coco.images[6:]:
        name = f"{image['id']}.png"
        (coco.image_root / name).hardlink_to(coco.path(5))
        image["file_name"] = name
    report = check_dataset(coco.register(), 2)
    assert report.num_files_checked == 100
    want = "100 of 250 images were decoded; --check-all-images decodes all of them."
    assert report.notes[-1] == want
    coco.path(1).unlink()  # numbers 0, 2, 5, 7, 10 ... are in the sample
    assert check_dataset("small", 2).num_files_checked == 100
    with pytest.raises(UserError, match=r"1 of 250 images cannot be used\. Image .*1\.png does no"):
        check_dataset("small", 2, all_images=True)
    coco.path(2).unlink()
    with pytest.raises(UserError, match=r"1 of 100 images cannot be used\. Image .*2\.png does no"):
        check_dataset("small", 2)


@pytest.fixture
def clock(monkeypatch):
    """Decoding takes the time that a test says, and one thread."""
    seconds = [0.0]

    def set_duration(of_sample, of_others):
        looked = iter([of_sample] * 100 + [of_others] * 1000)

        def look(key):
            seconds[0] += next(looked)
            return image_checks._Found()

        monkeypatch.setattr(image_checks, "_look", look)

    monkeypatch.setattr(image_checks, "perf_counter", lambda: seconds[0])
    monkeypatch.setattr(image_checks, "ThreadPoolExecutor", OneThread)
    return set_duration


class OneThread:
    """A pool that looks at an image when its result is asked for."""

    map = staticmethod(map)

    def shutdown(self, cancel_futures):
        assert cancel_futures


def many_images(coco):
    repeat_last(coco, 494)  # 500 in all
    for image in coco.images[6:]:
        image["file_name"] = f"{image['id']}.png"
    return [ImageUse("small", read_dataset(coco.register()))]


@pytest.mark.parametrize(("duration", "decoded"), [(0.11, 500), (0.13, 100)])
def test_all_images_if_there_is_time(coco, clock, duration, decoded):
    """A minute is enough for 500 images of 0.12 seconds."""
    uses = many_images(coco)
    clock(duration, duration)
    assert check_images(uses)[0].num_decoded == decoded


def test_a_sample_that_was_faster_than_the_rest(coco, clock):
    """After two minutes, of which the sample took none, it ends."""
    uses = many_images(coco)
    clock(0, 1)
    assert check_images(uses)[0].num_decoded == 100 + 121
    clock(0, 1)
    assert check_images(uses, all_images=True)[0].num_decoded == 500


def test_images_of_several_uses_are_decoded_once(config, monkeypatch):
    seen = []
    decode = image_checks.decode_image

    def look(path, *how):
        seen.append(path)
        return decode(path, *how)

    monkeypatch.setattr(image_checks, "decode_image", look)
    config.INPUT.MIN_SIZE_TRAIN, config.INPUT.MAX_SIZE_TRAIN = (800,), 1333
    config.INPUT.MIN_SIZE_TEST, config.INPUT.MAX_SIZE_TEST = 800, 1333
    config.DATASETS.TRAIN *= 2
    assert [r.num_files_checked for r in check_datasets(config)] == [6, 6, 6]
    assert len(seen) == 12  # the keys of their sizes have other names in training and test


def test_annotations_are_checked_before_any_image(coco, config, monkeypatch):
    monkeypatch.setattr(image_checks, "decode_image", None)
    coco.images[0]["width"] = "wide"
    coco.write()
    with pytest.raises(UserError, match="expected two positive whole numbers"):
        check_datasets(config)


def test_images_that_cannot_be_used_end_the_program(coco, config):
    break_three(coco)
    with pytest.raises(
        UserError,
        match=r"^Data set 'for_train': 3 of 6 images cannot be used\. Image .*1\.png is broken or "
        r"not an image \(.*\)\. Image .*3\.png does not exist\. Image "
        r".*4\.png is 32x48 pixels, but the annotations say 48x32\. Replace the file, or take it "
        r"out of the annotations; or set DATALOADER\.SKIP_UNREADABLE True, which leaves such",
    ):
        check_datasets(config)


def test_images_that_cannot_be_used_are_left_out(coco, config, caplog):
    break_three(coco)
    config.DATALOADER.SKIP_UNREADABLE = True
    with caplog.at_level(logging.WARNING):
        train, test = check_datasets(config)
    assert (train.num_images, train.num_objects) == (test.num_images, test.num_objects) == (3, 3)
    assert train.notes[-1] == (
        "3 of 6 images cannot be used (1.png, 3.png, 4.png) and are left out of training "
        "(DATALOADER.SKIP_UNREADABLE True)."
    )
    assert test.notes[-1] == (
        "3 of 6 images cannot be used (1.png, 3.png, 4.png) and are left out with their objects: "
        "the evaluation is of the other 3 (DATALOADER.SKIP_UNREADABLE True)."
    )
    assert caplog.text.count("Left out of 'for_train'") == 3
    assert f"Left out of 'for_train': Image {coco.path(3)} does not exist." in caplog.text
    for name in ("for_train", "for_test"):
        left = read_dataset(name).images
        assert [image.file_name for image in left] == ["0.png", "2.png", "5.png"]


def test_images_that_were_repaired_are_used_again(coco, config):
    break_three(coco)
    config.DATALOADER.SKIP_UNREADABLE = True
    check_datasets(config)
    Image.new("RGB", (32, 48)).save(coco.path(1))
    assert check_datasets(config)[0].num_images == 4
    assert left_out("for_train") == {"3.png", "4.png"}
    with pytest.raises(UserError, match="2 of 6 images cannot be used"):
        config.DATALOADER.SKIP_UNREADABLE = False
        check_datasets(config)


def test_nothing_is_left(coco, config):
    for i in range(6):
        coco.path(i).unlink()
    config.DATALOADER.SKIP_UNREADABLE = True
    with pytest.raises(UserError, match="'for_train' leaves nothing to train on: 0 images"):
        check_datasets(config)


def test_what_is_left_out_is_forgotten_with_the_data_set(coco):
    name = coco.register()
    assert left_out(name) is None
    leave_out(name, ["1.png"])
    leave_out(name, ["2.png"])
    assert left_out(name) == {"2.png"}
    assert len(read_dataset(name).images) == 5
    leave_out(name, None)
    assert left_out(name) is None
    assert len(read_dataset(name).images) == 6


@pytest.mark.parametrize("stretch_range", [False, True])
def test_images_that_use_little_of_their_range(coco, config, stretch_range):
    """One value alone, 12 bits of 16, and just below a quarter; the fourth uses a quarter."""
    for i, most in enumerate([0, 4095, 16127, 16384]):
        values = np.zeros(coco.images[i]["height"] * coco.images[i]["width"], np.uint16)
        values[-1] = most
        Image.fromarray(values.reshape(coco.images[i]["height"], -1)).save(coco.path(i))
    config.INPUT.STRETCH_RANGE = stretch_range
    notes = check_datasets(config)[0].notes
    note = (
        "3 of them have 16 bits and use less than a quarter of that range, so they are dark or of "
        "little contrast (INPUT.STRETCH_RANGE True stretches the range of each image): 0.png, "
        "1.png, 2.png."
    )
    assert notes == ("6 of 6 images were decoded.", *([] if stretch_range else [note]))


def test_streams_without_a_check_before(coco, config):
    """As of a ``Trainer`` in a notebook."""
    break_three(coco)
    config.DATALOADER.SKIP_UNREADABLE, config.SOLVER.IMS_PER_BATCH = True, 1
    config.DATALOADER.ASPECT_RATIO_GROUPING, config.DATALOADER.NUM_WORKERS = False, 0
    assert build_train_stream(config).num_images == 3
    assert len(build_test_stream(config, "for_test")) == 3
    config.DATALOADER.SKIP_UNREADABLE = False
    assert build_train_stream(config).num_images == 6


@pytest.mark.parametrize("has_masks", [False, True])
def test_a_stream_that_asks_reads_annotations_once(config, monkeypatch, has_masks):
    read = []
    monkeypatch.setattr(coco_lists, "read_json", lambda path: read.append(path) or read_json(path))
    config.DATALOADER.SKIP_UNREADABLE = True
    config.MODEL.MASK_ON = has_masks
    build_test_stream(config, "for_test")
    assert len(read) == 1


def test_streams_ask_once(coco, config, monkeypatch):
    config.DATALOADER.SKIP_UNREADABLE = True
    check_datasets(config)
    monkeypatch.setattr(image_checks, "decode_image", None)
    build_train_stream(config)
    for _ in range(2):
        build_test_stream(config, "for_test")
