"""demo.py from its arguments to its files."""

import json
import logging
import os
import re
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from fcos.predict import sinks
from fcos_cli import demo
from tests.helpers import tiny_cfg, tiny_mask_cfg, write_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder with a config and random weights that detect something in everything."""
    return write_model(tmp_path_factory.mktemp("model"), tiny_cfg())


@pytest.fixture(scope="module")
def mask_model(tmp_path_factory):
    """The same with masks, of the whole box or of nothing."""
    return write_model(tmp_path_factory.mktemp("mask_model"), tiny_mask_cfg())


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with two images, a damaged one, a video and a data set."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    os.mkdir("images")
    for name in ("a.png", "b.png"):
        cv2.imwrite(f"images/{name}", rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    whole = Path("images/a.png").read_bytes()
    Path("damaged.png").write_bytes(whole[: len(whole) // 2])
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for number in range(3):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    images = [
        {"id": 10 + i, "file_name": name, "height": 48, "width": 64}
        for i, name in enumerate(("a.png", "b.png"))
    ]
    box = {"id": 1, "image_id": 10, "category_id": 7, "bbox": [8, 8, 30, 20], "area": 600}
    box["segmentation"] = [[8, 8, 38, 8, 38, 28, 8, 28]]
    categories = [
        {"id": i, "name": n} for i, n in zip((3, 7, 9), ("feline", "canine", "avian"), strict=True)
    ]
    contents = {"images": images, "annotations": [box | {"iscrowd": 0}], "categories": categories}
    Path("truth.json").write_text(json.dumps(contents))
    return tmp_path


@pytest.fixture(autouse=True)
def logs_reach_caplog(monkeypatch):
    """Handlers made once would write to the captured output of a test that is over."""
    monkeypatch.setattr("fcos.predict.demo.show_log", lambda *_: None)
    monkeypatch.setattr(logging.getLogger("fcos"), "propagate", True)


@pytest.fixture
def run(model, place, capsys):
    """Runs demo.py with the words of a line; returns exit code, output and errors."""

    def run(line, opts="", config=model / "config.yaml"):
        argv = ["--config-file", str(config), *line.split()]
        code = demo.main([*argv, *(["--opts", *opts.split()] if opts else [])])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def pets(model, place):
    """Name of the data set, different for each test since registering is for good; its config."""
    name = f"{place.name}_val"
    data = {"CUSTOM": {name: {"JSON": f"{place}/truth.json", "IMAGES": f"{place}/images"}}}
    config = {"_BASE_": str(model / "config.yaml"), "DATASETS": {**data, "TEST": [name]}}
    Path("pets.yaml").write_text(json.dumps(config))  # JSON is YAML
    return name


def name_classes_as_the_model_does():
    contents = json.loads(Path("truth.json").read_text())
    for category, name in zip(contents["categories"], ("cat", "dog", "bird"), strict=True):
        category["name"] = name
    Path("truth.json").write_text(json.dumps(contents))


def detections(file):
    return json.loads(Path(file).read_text())


# ---- images -------------------------------------------------------------------------------------


def test_one_image_into_a_file(run):
    result = run("--input images/a.png --output out/drawn.png")
    assert result.code == 0 and os.listdir("out") == ["drawn.png"]
    picture = cv2.imread("out/drawn.png")
    assert picture.shape == (480, 640, 3)  # 48x64, ten times
    assert (picture != cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)).mean() > 0.1


def test_one_image_is_logged_and_has_no_progress_bar(run, caplog):
    with caplog.at_level(logging.INFO):
        result = run("--input images/a.png --output out")
    assert re.search(r"images/a\.png: \d+ detections in \d+\.\d\d s\.", caplog.text)
    assert "image/s" not in result.err


def test_several_images_have_a_progress_bar(run, caplog):
    with caplog.at_level(logging.INFO):
        result = run("--input images --output out/")
    assert result.code == 0 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    assert "2/2" in result.err and "detections in" not in caplog.text


def test_damaged_images_are_left_out_and_reported_at_the_end(run):
    result = run("--input images/a.png damaged.png images/b.png --output out --json found.json")
    assert result.code == 1 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    assert "Left out: Image damaged.png is broken or not an image (" in result.err
    assert "Error: 1 of 3 images could not be read and were left out: damaged.png." in result.err
    assert {d["image_id"]: d["file_name"] for d in detections("found.json")} == {
        0: "images/a.png",
        2: "images/b.png",
    }


@pytest.mark.parametrize("size", [2, 5])
def test_images_in_batches(run, size):
    """A damaged one among them is left out, and the others keep their numbers."""
    line = "--input images/a.png damaged.png images/b.png --confidence-threshold 0.1"
    run(f"{line} --json one.json")
    options = f"TEST.IMS_PER_BATCH {size}"
    result = run(f"{line} --json batches.json --output out --optimize float32", options)
    assert result.code == 1 and "1 of 3 images could not be read" in result.err
    assert "3/3" in result.err and sorted(os.listdir("out")) == ["a.png", "b.png"]
    one, batches = detections("one.json"), detections("batches.json")
    assert len(one) == len(batches) > 0
    for a, b in zip(one, batches, strict=True):
        assert a["image_id"] == b["image_id"]
        assert a["score"] == pytest.approx(b["score"], abs=1e-4)


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input damaged.png --output o", "Image damaged.png is broken or not an image ("),
        ("--input gone.png --output o", "The input gone.png does not exist."),
        ("--input clip.avi --output o", "clip.avi is a video: give it to --video-input"),
        ("--input images/a.png --output images", "--output would overwrite the input images/a.png"),
        (
            "--input images/a.png --output o --json truth.json",
            "truth.json holds something else than",
        ),
        ("--video-input gone.mp4 --output o", "The video gone.mp4 does not exist."),
        ("--video-input truth.json --output o", "The video truth.json cannot be opened: damaged"),
        ("--dataset pots_val --output o", "Data set 'pots_val' is not registered."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, line, message):
    result = run(line)
    assert result.code == 1 and f"Error: {message}" in result.err
    assert result.err.count("\n") == 1 and "Traceback" not in result.err


@pytest.mark.parametrize(
    "opts, message",
    [
        ("MODEL.WEIGHT x", "Unknown config key MODEL.WEIGHT. Did you mean MODEL.WEIGHTS?"),
        ("MODEL.WEIGHTS", "the last one, 'MODEL.WEIGHTS', stands alone"),
        ("MODEL.WEIGHTS gone.pth", "The weights file gone.pth does not exist"),
        ("MODEL.FCOS.NUM_CLASSES 4", "is a detector of 3 classes, but MODEL.FCOS.NUM_CLASSES is 4"),
    ],
)
def test_configs_that_cannot_be_used(run, opts, message):
    result = run("--input images/a.png --output o", opts)
    assert result.code == 1 and message in result.err and "Traceback" not in result.err


# ---- scores and classes -------------------------------------------------------------------------


def test_the_threshold_is_the_lowest_score_written(run):
    run("--input images/a.png --json all.json --confidence-threshold 0")
    scores = [d["score"] for d in detections("all.json")]
    assert scores == sorted(scores, reverse=True)
    last = next(i for i in range(20, len(scores) - 1) if scores[i] > scores[i + 1])
    run(f"--input images/a.png --json some.json --confidence-threshold {scores[last]!r}")
    assert [d["score"] for d in detections("some.json")] == scores[: last + 1]


def test_a_low_threshold_lowers_the_one_of_the_config(run):
    for file, opts in (("f.json", ""), ("g.json", "MODEL.FCOS.SCORE_THRESH_TEST 0.99")):
        run(f"--input images/a.png --json {file} --confidence-threshold 0.5", opts)
    scores = [[d["score"] for d in detections(file)] for file in ("f.json", "g.json")]
    assert len(scores[0]) > 0 and scores[1] == pytest.approx(scores[0])


def test_without_a_data_set_category_ids_are_class_numbers(run):
    run("--input images --json found.json --confidence-threshold 0.1")
    found = detections("found.json")
    assert {d["category_id"] for d in found} == {0, 1, 2}
    assert {(d["image_id"], d["file_name"]) for d in found} == {
        (0, "images/a.png"),
        (1, "images/b.png"),
    }


def test_names_that_are_drawn(run, monkeypatch, pets, model):
    """Those of the checkpoint, else those of the data set, else numbers."""
    drawn = []

    def draw(image, instances, names):
        drawn.append(tuple(names))
        return image

    monkeypatch.setattr("fcos.predict.demo.draw_instances", draw)
    nameless, config = f"MODEL.WEIGHTS {model}/nameless.pth", model / "config.yaml"
    for arguments in (("", "pets.yaml"), (nameless, "pets.yaml"), (nameless, config)):
        assert run("--input images/a.png --output out", *arguments).code == 0
    assert drawn == [
        ("cat", "dog", "bird"),
        ("feline", "canine", "avian"),
        ("class 0", "class 1", "class 2"),
    ]


def test_category_ids_of_a_data_set_with_the_names_of_the_model(run, pets):
    """The checkpoint was trained on these classes, so their ids are meant."""
    name_classes_as_the_model_does()
    run("--input images --json found.json --confidence-threshold 0.1", config="pets.yaml")
    assert {d["category_id"] for d in detections("found.json")} == {3, 7, 9}


def test_category_ids_of_a_data_set_with_other_names(run, pets, caplog):
    run("--input images --json found.json --confidence-threshold 0.1", config="pets.yaml")
    assert "The data set has other classes than the model" in caplog.text
    assert {d["category_id"] for d in detections("found.json")} == {0, 1, 2}


# ---- data sets ----------------------------------------------------------------------------------


def test_a_data_set_is_drawn_next_to_its_ground_truth(run, pets):
    result = run(f"--dataset {pets} --output out --json found.json", config="pets.yaml")
    assert result.code == 0 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    picture = cv2.imread("out/a.png")
    assert picture.shape == (480 + 28, 2 * 640 + 8, 3)
    enlarged = cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)
    changed = (picture[28:, :640] != enlarged).any(axis=2)
    assert changed[180, 70:90].any()  # left side of the only box, x = 8 of 64


def test_results_on_a_data_set_are_coco_results(run, pets):
    name_classes_as_the_model_does()
    run(f"--dataset {pets} --json found.json --confidence-threshold 0.1", config="pets.yaml")
    loaded = COCO("truth.json").loadRes("found.json")
    assert sorted(loaded.getImgIds()) == [10, 11]
    assert {a["category_id"] for a in loaded.anns.values()} == {3, 7, 9}
    assert all(len(loaded.getAnnIds(imgIds=[i])) > 0 for i in (10, 11))


def test_the_number_of_images_of_a_data_set(run, pets):
    run(f"--dataset {pets} --num-images 1 --output out", config="pets.yaml")
    assert os.listdir("out") == ["b.png"]  # the middle one of two


def test_a_mistyped_data_set(run, pets):
    result = run(f"--dataset {pets[:-1]} --output out", config="pets.yaml")
    assert result.code == 1 and f"Did you mean {pets!r}?" in result.err


# ---- video and window ---------------------------------------------------------------------------


def test_a_video(run):
    result = run("--video-input clip.avi --output out --json found.json")
    assert result.code == 0 and os.listdir("out") == ["clip.mp4"]
    capture = cv2.VideoCapture("out/clip.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3 and capture.get(cv2.CAP_PROP_FPS) == 5
    assert capture.read()[1].shape == (480, 640, 3)
    found = detections("found.json")
    assert {(d["image_id"], d["file_name"]) for d in found} == {(i, "clip.avi") for i in range(3)}


def test_neither_display_nor_output(run, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    result = run("--input images/a.png")
    assert result.code == 1 and "Error: There is no display to open a window on: " in result.err


@pytest.fixture
def screen(monkeypatch):
    """What OpenCV shows: pictures, and "closed" at the end."""
    shown = []
    monkeypatch.setattr(sinks, "_has_display", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append("closed"))
    return shown


def test_a_window_shows_every_image(run, screen, monkeypatch):
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: ord(" "))
    assert run("--input images").code == 0
    assert len(screen) == 3 and screen[-1] == "closed"


def test_leaving_the_window_ends_the_demo(run, screen, monkeypatch):
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: ord("q"))
    assert run("--video-input clip.avi").code == 0
    assert len(screen) == 2 and screen[-1] == "closed"


def test_json_alone_opens_no_window(run, monkeypatch):
    monkeypatch.setattr(cv2, "imshow", None)
    assert run("--input images --json found.json").code == 0


def test_ctrl_c_keeps_what_is_done(run, monkeypatch):
    seen = []

    def read(path, *how):
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return cv2.imread(path)

    monkeypatch.setattr("fcos.predict.predictor.read_bgr", read)
    result = run("--input images --output out --json found.json")
    assert result.code == 130 and "Stopped." in result.err
    assert os.listdir("out") == ["a.png"]
    assert {d["image_id"] for d in detections("found.json")} == {0}


# ---- masks --------------------------------------------------------------------------------------


def test_masks_are_drawn_and_written(run, mask_model, pets):
    name_classes_as_the_model_does()
    contents = json.loads(Path("pets.yaml").read_text())
    contents["_BASE_"] = str(mask_model / "config.yaml")
    Path("pets.yaml").write_text(json.dumps(contents))
    line = f"--dataset {pets} --output out --json found.json --confidence-threshold 0.6"
    with_masks = run(line, config="pets.yaml")
    assert with_masks.code == 0, with_masks.err
    found = COCO("truth.json").loadRes("found.json")
    (first, *_), everything = found.loadAnns(found.getAnnIds(imgIds=[10])), detections("found.json")
    assert all(result["segmentation"]["size"] == [48, 64] for result in everything)
    x, y, width, height = first["bbox"]
    mask = found.annToMask(first)
    assert mask.sum() == pytest.approx(width * height, rel=0.3)  # corners are rounded
    rows, columns = mask.nonzero()
    assert x - 1 <= columns.min() and columns.max() <= x + width + 1
    assert y - 1 <= rows.min() and rows.max() <= y + height + 1

    # The left half of the picture is the ground truth: an object's inside is tinted.
    truth = cv2.imread("out/a.png")[28:, :640]
    image = cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)
    inside = np.s_[100:260, 250:360]
    assert np.abs(truth[inside].astype(int) - image[inside]).mean() > 20
    assert np.abs(truth[300:].astype(int) - image[300:]).max() < 5


def test_a_detector_of_boxes_shows_no_masks(run, pets):
    name_classes_as_the_model_does()
    assert run(f"--dataset {pets} --output out --json found.json", config="pets.yaml").code == 0
    assert all("segmentation" not in result for result in detections("found.json"))
    truth = cv2.imread("out/a.png")[28:, :640]
    image = cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)
    inside = np.s_[200:260, 250:360]
    assert np.abs(truth[inside].astype(int) - image[inside]).max() < 5
