import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image

from fcos.config import get_cfg
from fcos.data.demo import digit_scenes, digits
from fcos.utils.errors import UserError
from fcos_cli.digits import main

pytest.importorskip("sklearn")
pytest.importorskip("skimage")

TRAIN, VAL = 30, 6


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "digits"
    assert digits.write_digits(root, train=TRAIN, val=VAL)
    return root


def contents_of(root, split="train"):
    return json.loads((root / "annotations" / f"{split}.json").read_text())


def digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def scenes(split, count, seed=0):
    (scans, labels), photographs = (
        digit_scenes.load_digits(split),
        digit_scenes.load_photographs(split),
    )
    for i in range(count):
        yield digit_scenes.make_scene(np.random.default_rng([seed, i]), scans, labels, photographs)


def test_files(root):
    for split, size in (("train", TRAIN), ("val", VAL)):
        contents = contents_of(root, split)
        assert [c["name"] for c in contents["categories"]] == list("0123456789")
        assert len(contents["images"]) == size == len(list((root / split).iterdir()))
        for image in contents["images"]:
            with Image.open(root / split / image["file_name"]) as picture:
                assert picture.size == (image["width"], image["height"])
                assert sorted(picture.size) == [256, 320]
                assert picture.mode == "RGB"


def test_both_orientations(root):
    assert {image["width"] for image in contents_of(root)["images"]} == {256, 320}


def test_annotations(root):
    contents = contents_of(root)
    sizes = {image["id"]: (image["width"], image["height"]) for image in contents["images"]}
    annotations = contents["annotations"]
    assert len({a["id"] for a in annotations}) == len(annotations) > 3 * TRAIN
    assert {a["category_id"] for a in annotations} == set(range(1, 11))
    assert {a["image_id"] for a in annotations} == set(sizes)
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        full_width, full_height = sizes[annotation["image_id"]]
        assert 0 <= x < x + width <= full_width
        assert 0 <= y < y + height <= full_height
        assert annotation["iscrowd"] == 0
        assert 0.1 * width * height < annotation["area"] <= width * height


def test_outlines_agree_with_the_strokes():
    for picture, drawn in scenes("train", 25):
        height, width = picture.shape[:2]
        for digit in drawn:
            stroke = np.zeros((height, width), bool)
            x, y, w, h = digit.box
            stroke[y : y + h, x : x + w] = digit.mask
            rles = pycocotools.mask.frPyObjects(digit.polygons, height, width)
            inside = pycocotools.mask.decode(pycocotools.mask.merge(rles)).astype(bool)
            assert (inside & stroke).sum() / (inside | stroke).sum() >= 0.9


def test_boxes_are_tight():
    for _, drawn in scenes("val", 10):
        for digit in drawn:
            assert digit.mask.shape == (digit.box[3], digit.box[2])
            for side in (digit.mask[0], digit.mask[-1], digit.mask[:, 0], digit.mask[:, -1]):
                assert side.any()


def test_strokes_do_not_touch_and_stand_out():
    for picture, drawn in scenes("val", 10):
        is_taken = np.zeros(picture.shape[:2], int)
        for digit in drawn:
            x, y, w, h = digit.box
            is_taken[y : y + h, x : x + w] += digit.mask
        assert is_taken.max() == 1
        luma = picture @ [0.299, 0.587, 0.114]
        for digit in drawn:
            x, y, w, h = digit.box
            ink = luma[y : y + h, x : x + w][digit.mask]
            assert ink.std() < 40  # one colour, nearly opaque


def test_loops_are_cut_out():
    ring = np.zeros((20, 20))
    ring[2:18, 2:18] = 1
    ring[7:13, 7:13] = 0
    (polygon,) = digit_scenes.trace_outline(ring)
    x, y = polygon.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(16 * 16 - 6 * 6, abs=2)  # corners are cut
    assert (polygon.min(), polygon.max()) == (2, 18)


def test_parts_of_a_stroke_are_polygons_of_their_own():
    bars = np.zeros((20, 20))
    bars[2:18, 3:6] = bars[2:18, 12:16] = 1
    assert sorted(len(digit_scenes.trace_outline(part)) for part in (bars, bars[:, :9])) == [1, 2]


def test_strokes_are_drawn_whole():
    """A full square, turned, slanted and stretched as far as they go, is not cut off."""

    class Extreme:
        def __init__(self, choice):
            self.choice = iter(choice)

        def uniform(self, low, high):
            return (low, high)[next(self.choice)]

    for choice in np.ndindex(2, 2, 2):
        height, width = digit_scenes.draw_digit(Extreme(choice), np.ones((8, 8)), 100).shape
        assert max(height, width) < 160  # the size that it is drawn into


def test_sides_share_neither_scans_nor_photographs():
    from sklearn.datasets import load_digits

    (train, _), (val, _) = digit_scenes.load_digits("train"), digit_scenes.load_digits("val")
    assert len(train) + len(val) == 1797
    assert not {scan.tobytes() for scan in train} & {scan.tobytes() for scan in val}
    assert not set(digit_scenes.PHOTOGRAPHS["train"]) & set(digit_scenes.PHOTOGRAPHS["val"])
    # A form begins with three times 0..9; the validation scans begin with a form.
    start = digit_scenes.FIRST_VAL_SCAN
    assert load_digits().target[start : start + 30].tolist() == list(range(10)) * 3


def positives_per_level(shape, boxes, limits):
    """How many locations of each level have a box to learn, by the rules of the paper, Sec. 3.2."""
    counts, lower = [], 0
    for level, upper in enumerate([*limits, float("inf")]):
        stride = 8 << level
        found = 0
        for y in range(stride // 2, shape[0], stride):
            for x in range(stride // 2, shape[1], stride):
                ltrb = ((x - l, y - t, l + w - x, t + h - y) for l, t, w, h in boxes)
                found += any(min(d) > 0 and lower <= max(d) <= upper for d in ltrb)
        counts.append(found)
        lower = upper
    return counts


def test_every_level_has_something_to_learn_in_the_demo():
    cfg = get_cfg()
    cfg.merge_from_file(str(Path(__file__).parents[3] / "configs" / "digits.yaml"))
    assert cfg.INPUT.MIN_SIZE_TRAIN == (128,)  # pictures enter the network at half their size
    limits = cfg.MODEL.FCOS.SIZES_OF_INTEREST
    total = np.zeros(5, dtype=int)
    for picture, drawn in scenes("train", 120):
        height, width = picture.shape[0] // 2, picture.shape[1] // 2
        boxes = [[side / 2 for side in digit.box] for digit in drawn]
        total += positives_per_level((height, width), boxes, limits)
    assert (total >= [2000, 1000, 100, 20, 5]).all(), total


def test_same_arguments_same_bytes(root, tmp_path):
    digits.write_digits(tmp_path / "again", train=TRAIN, val=VAL)
    assert digests(tmp_path / "again") == digests(root)


def test_first_pictures_do_not_depend_on_the_number(root, tmp_path):
    digits.write_digits(tmp_path / "fewer", train=3, val=1)
    fewer, more = digests(tmp_path / "fewer"), digests(root)
    pictures = [name for name in fewer if name.endswith(".jpg")]
    assert len(pictures) == 4
    assert all(fewer[name] == more[name] for name in pictures)


def test_another_seed_other_pictures(root, tmp_path):
    digits.write_digits(tmp_path / "other", seed=1, train=3, val=1)
    first, other = digests(root), digests(tmp_path / "other")
    assert all(first[name] != digest for name, digest in other.items())


def test_train_and_val_differ(root):
    files = digests(root)
    assert files["train/00000.jpg"] != files["val/00000.jpg"]


def test_written_again_only_with_another_recipe(tmp_path):
    root = tmp_path / "digits"
    assert digits.write_digits(root, train=1, val=1)
    before = (root / "annotations" / "train.json").stat().st_mtime_ns
    assert not digits.write_digits(root, train=1, val=1)
    assert (root / "annotations" / "train.json").stat().st_mtime_ns == before
    assert digits.write_digits(root, train=2, val=1)
    assert len(list((root / "train").iterdir())) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["digits"]


def test_remains_of_a_killed_run_do_no_harm(tmp_path):
    (tmp_path / "digits.unfinished" / "train").mkdir(parents=True)
    (tmp_path / "digits.unfinished" / "train" / "junk").touch()
    digits.write_digits(tmp_path / "digits", train=1, val=1)
    assert [p.name for p in (tmp_path / "digits" / "train").iterdir()] == ["00000.jpg"]
    assert not (tmp_path / "digits.unfinished").exists()


def test_empty_folder_is_used(tmp_path):
    assert digits.write_digits(tmp_path, train=1, val=1)


@pytest.mark.parametrize("content", ["notes.txt", "annotations/val.json", "digits"])
def test_folder_of_something_else_is_refused(tmp_path, content):
    root = tmp_path / "digits"
    (root / content).parent.mkdir(parents=True)
    (root / content).write_text('{"info": {}}')
    with pytest.raises(UserError, match=rf"{root} exists and is not a demo data set .*--root"):
        digits.write_digits(root, train=1, val=1)
    assert (root / content).read_text() == '{"info": {}}'


def test_foreign_file_beside_ours_is_not_deleted(tmp_path):
    root = tmp_path / "digits"
    digits.write_digits(root, train=1, val=1)
    (root / "mine.txt").touch()
    with pytest.raises(UserError, match="is not a demo data set"):
        digits.write_digits(root, train=2, val=1)
    assert (root / "mine.txt").exists()


def test_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "digits").touch()
    with pytest.raises(UserError, match="is not a demo data set"):
        digits.write_digits(tmp_path / "digits")


@pytest.mark.parametrize(
    ("missing", "names"),
    [({"sklearn"}, "scikit-learn"), ({"sklearn", "skimage"}, "scikit-learn and")],
)
def test_missing_packages_are_named(tmp_path, monkeypatch, missing, names):
    find = digits.importlib.util.find_spec
    monkeypatch.setattr(
        digits.importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    with pytest.raises(UserError, match=rf"made from {names}.*pip install -e '\.\[demo\]'"):
        digits.write_digits(tmp_path / "digits")
    assert not (tmp_path / "digits").exists()


def test_impossible_numbers(tmp_path):
    with pytest.raises(ValueError, match="expected train, val >= 1 and seed >= 0, got 0, 1, 0"):
        digits.write_digits(tmp_path / "digits", train=0, val=1)


def test_command(tmp_path, capsys):
    arguments = ["--root", str(tmp_path / "digits"), "--train", "1", "--val", "1"]
    main(arguments)
    assert capsys.readouterr().out == f"{tmp_path}/digits: written\n"
    main(arguments)
    assert "already there" in capsys.readouterr().out
    (tmp_path / "digits" / "mine.txt").touch()
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("Error: ") and "is not a demo data set" in error


def test_command_line(tmp_path):
    command = [
        sys.executable,
        "-m",
        "fcos.data.digits",
        "--root",
        "d",
        "--train",
        "1",
        "--val",
        "1",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "d: written\n"
    assert "Warning" not in done.stderr


def test_ctrl_c_needs_no_traceback(tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(digits, "make_scene", interrupt)
    assert main(["--root", str(tmp_path / "digits"), "--train", "1", "--val", "1"]) == 130
    assert "Stopped." in capsys.readouterr().err
    assert not (tmp_path / "digits").exists()
