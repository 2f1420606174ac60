"""demo.py from its arguments to its files."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

import demo
from detectron2.modeling import build_model
from fcos.checkpoint import AdetCheckpointer
from fcos.utils import outputs
from tests.helpers import tiny_cfg

ROOT = os.path.dirname(demo.__file__)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder with a config and random weights that detect something in everything."""
    folder = tmp_path_factory.mktemp("model")
    cfg = tiny_cfg()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.constant_(model.proposal_generator.fcos_head.cls_logits.bias, 2.0)
    checkpointer = AdetCheckpointer(model, str(folder))
    checkpointer.class_names = ["cat", "dog", "bird"]
    checkpointer.save("model")
    checkpointer.class_names = []
    checkpointer.save("nameless")
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Working folder with two images, a damaged one, a video and a data set."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    os.mkdir("images")
    for name in ("a.png", "b.png"):
        cv2.imwrite(f"images/{name}", rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    whole = open("images/a.png", "rb").read()
    with open("damaged.png", "wb") as stream:
        stream.write(whole[: len(whole) // 2])
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (64, 48))
    for number in range(3):
        writer.write(np.full((48, 64, 3), 40 * number, np.uint8))
    writer.release()
    images = [
        {"id": 10 + i, "file_name": name, "height": 48, "width": 64}
        for i, name in enumerate(("a.png", "b.png"))
    ]
    box = {"id": 1, "image_id": 10, "category_id": 7, "bbox": [8, 8, 30, 20], "area": 600}
    categories = [{"id": i, "name": n} for i, n in ((3, "cat"), (7, "dog"), (9, "bird"))]
    contents = {"images": images, "annotations": [box | {"iscrowd": 0}], "categories": categories}
    with open("truth.json", "w") as stream:
        json.dump(contents, stream)
    return tmp_path


@pytest.fixture
def run(model, place, capsys):
    """Runs demo.py with words of a line; returns exit code, output and errors."""

    def run(line, opts=""):
        argv = ["--config-file", str(model / "config.yaml"), *line.split()]
        code = demo.main([*argv, *(["--opts", *opts.split()] if opts else [])])
        captured = capsys.readouterr()
        return SimpleNamespace(code=code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def pets(place):
    """Options that register the data set; a name of its own per test, as registering is for good."""
    name = f"{place.name}_val"
    custom = f"{{'{name}':{{'JSON':'{place}/truth.json','IMAGES':'{place}/images'}}}}"
    return name, f"DATASETS.CUSTOM {custom} DATASETS.TEST ('{name}',)"


def detections(file):
    with open(file) as stream:
        return json.load(stream)


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input a", "the following arguments are required: --config-file"),
        ("--config-file c", "one of the arguments --input --video-input --webcam --dataset"),
        ("--config-file c --input a --dataset d", "--dataset: not allowed with argument --input"),
        ("--config-file c --input a --confidence-threshold 1.5", "'1.5' is not a score between"),
        ("--config-file c --input a --confidence-threshold nan", "'nan' is not a score between"),
        ("--config-file c --input a --confidence-threshold x", "'x' is not a score between 0 and"),
        ("--config-file c --input a --num-images 3", "--num-images belongs to --dataset"),
        ("--config-file c --dataset d --num-images 0", "'0' is not a whole number of at least 1"),
        ("--config-file c --input a --opts A b --output o", "put --output before it"),
    ],
)
def test_mistakes_in_the_arguments(line, message, capsys):
    with pytest.raises(SystemExit) as error:
        demo.parse_args(line.split())
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_webcam_numbers():
    assert demo.parse_args(["--config-file", "c", "--webcam"]).webcam == 0
    assert demo.parse_args(["--config-file", "c", "--webcam", "2"]).webcam == 2


def test_arguments_are_parsed_before_anything_slow_is_imported():
    code = (
        "import sys, demo; demo.parse_args(['--config-file', 'c', '--input', 'a'])\n"
        "sys.exit(', '.join({'torch', 'numpy', 'cv2', 'fcos', 'detectron2'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_is_not_needed_is_not_imported():
    code = (
        "import sys, fcos.utils.demo\n"
        "sys.exit(', '.join({'tensorboard', 'sklearn', 'skimage', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# ---- images -------------------------------------------------------------------------------------


def test_one_image_into_a_file(run):
    result = run("--input images/a.png --output out/drawn.png")
    assert result.code == 0 and os.listdir("out") == ["drawn.png"]
    picture = cv2.imread("out/drawn.png")
    assert picture.shape == (480, 640, 3)  # 48x64, ten times
    assert (picture != cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)).mean() > 0.1


def test_one_image_is_logged_and_has_no_progress_bar(run):
    result = run("--input images/a.png --output out")
    assert "images/a.png: " in result.out and " detections in " in result.out
    assert "it/s" not in result.err and "image/s" not in result.err


def test_several_images_have_a_progress_bar(run):
    result = run("--input images --output out/")
    assert result.code == 0 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    assert "2/2" in result.err and "detections in" not in result.out


def test_damaged_images_are_left_out_and_reported_at_the_end(run):
    result = run("--input images/a.png damaged.png images/b.png --output out --json found.json")
    assert result.code == 1 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    assert "Left out: damaged.png cannot be read as an image: image file is trunc" in result.err
    assert "error: 1 of 3 images could not be read and were left out: damaged.png." in result.err
    assert {d["image_id"]: d["file_name"] for d in detections("found.json")} == {
        0: "images/a.png",
        2: "images/b.png",
    }


@pytest.mark.parametrize(
    "line, message",
    [
        ("--input damaged.png --output o", "damaged.png cannot be read as an image: image file is"),
        ("--input gone.png --output o", "The input gone.png does not exist."),
        ("--input clip.avi --output o", "clip.avi is a video: give it to --video-input"),
        ("--input images/a.png --output images", "--output would overwrite the input images/a.png"),
        ("--input images/a.png --output o --json truth.json", "holds something else than detec"),
        ("--video-input gone.mp4 --output o", "The video gone.mp4 does not exist."),
        ("--video-input truth.json --output o", "The video truth.json cannot be opened: damaged"),
        ("--dataset pots_val --output o", "No data set is registered as pots_val."),
    ],
)
def test_what_cannot_be_done_is_one_sentence(run, line, message):
    result = run(line)
    assert result.code == 1 and f"error: {message}" in result.err
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
    scores = {}
    for threshold in (0.0, 0.4, 0.6):
        run(f"--input images/a.png --json f.json --confidence-threshold {threshold}")
        scores[threshold] = [d["score"] for d in detections("f.json")]
    assert scores[0.4] == [s for s in scores[0.0] if s >= 0.4]
    assert scores[0.6] == [s for s in scores[0.0] if s >= 0.6]
    assert len(scores[0.0]) > len(scores[0.4]) > len(scores[0.6]) > 0


def test_a_low_threshold_lowers_the_one_of_the_config(run):
    opts = "MODEL.FCOS.SCORE_THRESH_TEST 0.99"
    run("--input images/a.png --json f.json --confidence-threshold 0.3", opts)
    assert detections("f.json")


def test_without_a_data_set_category_ids_are_class_numbers(run):
    run("--input images --json found.json --confidence-threshold 0.1")
    found = detections("found.json")
    assert {d["category_id"] for d in found} == {0, 1, 2}
    assert {(d["image_id"], d["file_name"]) for d in found} == {
        (0, "images/a.png"),
        (1, "images/b.png"),
    }


def test_names_of_the_drawn_classes(run, monkeypatch, pets):
    names = []

    def draw(image, instances, class_names):
        names.append(tuple(class_names))
        return image

    monkeypatch.setattr("fcos.utils.demo.draw_instances", draw)
    weights = f"MODEL.WEIGHTS {os.path.join('{}', 'nameless.pth')}"
    run("--input images/a.png --output o")
    run("--input images/a.png --output o", pets[1])
    assert names == [("cat", "dog", "bird")] * 2
    assert weights


# ---- data sets ----------------------------------------------------------------------------------


def test_a_data_set_is_drawn_next_to_its_ground_truth(run, pets):
    name, opts = pets
    result = run(f"--dataset {name} --output out --json found.json", opts)
    assert result.code == 0 and sorted(os.listdir("out")) == ["a.png", "b.png"]
    picture = cv2.imread("out/a.png")
    assert picture.shape == (480 + 28, 2 * 640 + 8, 3)
    enlarged = cv2.imread("images/a.png").repeat(10, 0).repeat(10, 1)
    changed = (picture[28:, :640] != enlarged).any(axis=2)
    assert changed[180, 70:90].any()  # left side of the only box, x = 8 of 64


def test_results_on_a_data_set_are_coco_results(run, pets):
    name, opts = pets
    run(f"--dataset {name} --json found.json --confidence-threshold 0.1", opts)
    loaded = COCO("truth.json").loadRes("found.json")
    assert sorted(loaded.getImgIds()) == [10, 11]
    assert {a["category_id"] for a in loaded.anns.values()} == {3, 7, 9}
    assert all(len(loaded.getAnnIds(imgIds=[i])) > 0 for i in (10, 11))


def test_the_number_of_images_of_a_data_set(run, pets):
    name, opts = pets
    run(f"--dataset {name} --num-images 1 --output out", opts)
    assert os.listdir("out") == ["b.png"]  # the middle one of two


def test_a_mistyped_data_set(run, pets):
    name, opts = pets
    result = run(f"--dataset {name[:-1]} --output out", opts)
    assert result.code == 1 and f"Did you mean {name}?" in result.err


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
    assert result.code == 1 and "error: There is no display to open a window on: " in result.err


@pytest.fixture
def screen(monkeypatch):
    shown = []
    monkeypatch.setattr(outputs, "_has_display", lambda: True)
    monkeypatch.setattr(cv2, "imshow", lambda title, picture: shown.append(picture))
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, which: 1.0)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
    return shown


def test_a_window_shows_every_image(run, screen, monkeypatch):
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: ord(" "))
    assert run("--input images").code == 0 and len(screen) == 2


def test_leaving_the_window_ends_the_demo(run, screen, monkeypatch):
    monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: ord("q"))
    assert run("--video-input clip.avi").code == 0 and len(screen) == 1


def test_json_alone_opens_no_window(run, monkeypatch):
    monkeypatch.setattr(cv2, "imshow", None)
    assert run("--input images --json found.json").code == 0


def test_ctrl_c_keeps_what_is_done(run, monkeypatch):
    seen = []

    def read(path):
        seen.append(path)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return cv2.imread(path)

    monkeypatch.setattr("fcos.utils.demo.read_bgr", read)
    result = run("--input images --output out --json found.json")
    assert result.code == 130 and "Stopped." in result.err
    assert os.listdir("out") == ["a.png"]
    assert {d["image_id"] for d in detections("found.json")} == {0}
