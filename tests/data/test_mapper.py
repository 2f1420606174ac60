import math

import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetMapper
from detectron2.structures import BoxMode
from fcos.config import get_cfg
from fcos.data.images import image_problem, resize_of
from fcos.data.mapper import CheckedMapper, is_degenerate, usable_annotations
from fcos.utils.errors import UserError


@pytest.mark.parametrize(
    ("xyxy", "want"),
    [
        ([0, 0, 20, 10], False),  # the whole image
        ([-5, -5, 1, 1], False),  # 1 px of it inside
        ([3, 3, 3.5, 3.5], False),
        ([3, 3, 3, 8], True),  # no width
        ([3, 3, 8, 3], True),  # no height
        ([8, 3, 3, 8], True),  # negative width
        ([20, 0, 25, 5], True),  # touches the right side from outside
        ([-5, 0, 0, 5], True),
        ([0, 10, 5, 15], True),
        ([0, -5, 5, 0], True),
        ([math.nan, 0, 5, 5], True),
        ([0, 0, 5, math.nan], True),
    ],
)
def test_degenerate(xyxy, want):
    assert is_degenerate(xyxy, width=20, height=10) is want


def test_usable_annotations_know_both_forms_of_boxes():
    # The same numbers: as x, y, width, height inside, as x1, y1, x2, y2 without width.
    box = [5, 2, 5, 6]
    annotations = [
        {"bbox": box, "bbox_mode": BoxMode.XYWH_ABS},
        {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS},
    ]
    entry = {"width": 20, "height": 10, "annotations": annotations}
    assert usable_annotations(entry) == annotations[:1]
    assert usable_annotations({"annotations": annotations}) == annotations[:1]
    assert usable_annotations({"width": 20, "height": 10}) == []
    assert entry["annotations"] == annotations


@pytest.fixture
def entry(tmp_path):
    path = tmp_path / "picture.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return {"file_name": str(path), "width": 40, "height": 30}


def test_sound_image(entry):
    before = dict(entry)
    assert image_problem(entry) is None
    assert image_problem({"file_name": entry["file_name"]}) is None
    assert entry == before


def test_image_problems(entry, tmp_path):
    name = entry["file_name"]
    assert image_problem({**entry, "file_name": "gone.jpg"}) == "Image gone.jpg does not exist."
    assert image_problem({**entry, "width": 30, "height": 40}) == (
        f"Image {name} is 40x30 pixels, but the annotations say 30x40."
    )
    data = (tmp_path / "picture.jpg").read_bytes()
    (tmp_path / "picture.jpg").write_bytes(data[:-40])
    problem = image_problem(entry)
    assert problem.startswith(f"Image {name} is broken or not an image (image file is truncated")
    (tmp_path / "picture.jpg").write_text("hello")
    assert image_problem(entry) == (
        f"Image {name} is broken or not an image (cannot identify image file)."
    )


def read(entry):
    with open(entry["file_name"], "rb") as file:
        return len(file.read())


def test_mapper_names_the_image_to_blame(entry):
    assert CheckedMapper(read)(entry) > 0
    with pytest.raises(UserError, match=r"^Image gone\.jpg does not exist\. Replace") as caught:
        CheckedMapper(read)({**entry, "file_name": "gone.jpg"})
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_mapper_leaves_other_errors_alone(entry):
    def fail(_entry):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        CheckedMapper(fail)(entry)


@pytest.mark.parametrize("size", [(3, 8000), (8000, 3)])
def test_images_of_which_nothing_is_left(size, tmp_path):
    """1333 / 8000 of 3 pixels is 0.4998, and 1334 / 8000 of them 0.50025."""
    path = tmp_path / "thread.png"
    Image.new("RGB", size).save(path)
    cfg, entry = get_cfg(), {"file_name": str(path)}
    assert image_problem(entry) is None
    problem = image_problem(entry, resize_of(cfg, "TEST"))
    assert problem == (
        f"Image {path} is {size[0]}x{size[1]} pixels, and INPUT.MAX_SIZE_TEST 1333 leaves nothing "
        "of its shorter side: raise it if the image is to stay."
    )
    cfg.INPUT.MAX_SIZE_TEST = 1334
    assert image_problem(entry, resize_of(cfg, "TEST")) is None
    assert "INPUT.MAX_SIZE_TRAIN 1333" in image_problem(entry, resize_of(cfg, "TRAIN"))
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    assert resize_of(cfg, "TRAIN") is None


@pytest.mark.parametrize(
    ("crop", "shortest"),
    [
        ([0.01, 1.0], 800),  # 0.3 of 30 rows
        ([0.05, 1.0], 2),  # 2 rows of 40 columns, resized to at most 9 columns
    ],
)
def test_crops_of_which_nothing_is_left(entry, crop, shortest):
    cfg = get_cfg()
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "relative", crop
    cfg.INPUT.MIN_SIZE_TRAIN = (shortest,)
    cfg.INPUT.MAX_SIZE_TRAIN = 9 if shortest == 2 else 1333
    mapper = CheckedMapper(DatasetMapper(cfg, is_train=True), resize_of(cfg, "TRAIN"))
    with pytest.raises(
        UserError,
        match=rf"picture\.jpg is 40x30 pixels, and INPUT\.CROP\.SIZE \[{crop[0]}, 1\.0\] leaves "
        r"nothing of its shorter side: raise it if the image is to stay\.",
    ):
        mapper({**entry, "annotations": []})
    assert image_problem(entry, resize_of(cfg, "TEST")) is None
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)  # as they are cut out
    assert (image_problem(entry, resize_of(cfg, "TRAIN")) is None) == (shortest == 2)
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MAX_SIZE_TRAIN = [0.5, 0.5], 1333
    assert image_problem(entry, resize_of(cfg, "TRAIN")) is None
