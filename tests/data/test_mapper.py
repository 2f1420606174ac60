import numpy as np
import pytest
from PIL import Image

from detectron2.data import DatasetMapper
from fcos.config import get_cfg
from fcos.data.images import image_problem, resize_of
from fcos.data.mapper import CheckedMapper
from fcos.utils.errors import UserError


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "picture.jpg"
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return {"file_name": str(path), "width": 40, "height": 30}


def test_sound_image(record):
    before = dict(record)
    assert image_problem(record) is None
    assert image_problem({"file_name": record["file_name"]}) is None
    assert record == before


def test_image_problems(record, tmp_path):
    name = record["file_name"]
    assert image_problem({**record, "file_name": "gone.jpg"}) == "Image gone.jpg does not exist."
    assert image_problem({**record, "width": 30, "height": 40}) == (
        f"Image {name} is 40x30 pixels, but the annotations say 30x40."
    )
    data = (tmp_path / "picture.jpg").read_bytes()
    (tmp_path / "picture.jpg").write_bytes(data[:-40])
    problem = image_problem(record)
    assert problem.startswith(f"Image {name} is broken or not an image (image file is truncated")
    (tmp_path / "picture.jpg").write_text("hello")
    assert image_problem(record) == (
        f"Image {name} is broken or not an image (cannot identify image file)."
    )


def read(record):
    with open(record["file_name"], "rb") as file:
        return len(file.read())


def test_mapper_names_the_image_to_blame(record):
    assert CheckedMapper(read)(record) > 0
    with pytest.raises(UserError, match=r"^Image gone\.jpg does not exist\. Replace") as caught:
        CheckedMapper(read)({**record, "file_name": "gone.jpg"})
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_mapper_leaves_other_errors_alone(record):
    def fail(_record):
        raise KeyError("bug")

    with pytest.raises(KeyError, match="bug"):
        CheckedMapper(fail)(record)


@pytest.mark.parametrize("size", [(3, 8000), (8000, 3)])
def test_images_of_which_nothing_is_left(size, tmp_path):
    """1333 / 8000 of 3 pixels is 0.4998, and 1334 / 8000 of them 0.50025."""
    path = tmp_path / "thread.png"
    Image.new("RGB", size).save(path)
    cfg, record = get_cfg(), {"file_name": str(path)}
    assert image_problem(record) is None
    problem = image_problem(record, resize_of(cfg, "TEST"))
    assert problem == (
        f"Image {path} is {size[0]}x{size[1]} pixels, and INPUT.MAX_SIZE_TEST 1333 leaves nothing "
        "of its shorter side: raise it if the image is to stay."
    )
    cfg.INPUT.MAX_SIZE_TEST = 1334
    assert image_problem(record, resize_of(cfg, "TEST")) is None
    assert "INPUT.MAX_SIZE_TRAIN 1333" in image_problem(record, resize_of(cfg, "TRAIN"))
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)
    assert resize_of(cfg, "TRAIN") is None


@pytest.mark.parametrize(
    ("crop", "shortest"),
    [
        ([0.01, 1.0], 800),  # 0.3 of 30 rows
        ([0.05, 1.0], 2),  # 2 rows of 40 columns, resized to at most 9 columns
    ],
)
def test_crops_of_which_nothing_is_left(record, crop, shortest):
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
        mapper({**record, "annotations": []})
    assert image_problem(record, resize_of(cfg, "TEST")) is None
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)  # as they are cut out
    assert (image_problem(record, resize_of(cfg, "TRAIN")) is None) == (shortest == 2)
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MAX_SIZE_TRAIN = [0.5, 0.5], 1333
    assert image_problem(record, resize_of(cfg, "TRAIN")) is None
