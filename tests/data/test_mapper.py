import copy

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_api

from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.structures import BoxMode
from fcos.config import get_cfg
from fcos.data.image_checks import image_problem
from fcos.data.mapper import CheckedMapper, ImageMapper
from fcos.data.resize import resize_of
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


def test_a_size_before_it_is_turned_upright(record, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.open(record["file_name"]).save(tmp_path / "turned.jpg", exif=exif)
    turned = {**record, "file_name": str(tmp_path / "turned.jpg")}
    assert image_problem({**turned, "width": 30, "height": 40}) is None
    assert image_problem(turned) == (
        f"Image {tmp_path}/turned.jpg is 30x40 pixels when turned upright by its EXIF orientation "
        "(6), but the annotations say 40x30, as it is stored: annotate the upright image, or "
        "remove the orientation from the file."
    )
    assert image_problem({**turned, "height": 31}) == (
        f"Image {tmp_path}/turned.jpg is 30x40 pixels, but the annotations say 40x31."
    )


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
        f"Image {name} is broken or not an image (it is in no format that Pillow knows)."
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
        ([0.05, 1.0], 8),  # 2 rows of 40 columns, resized to at most 9 columns
    ],
)
def test_crops_of_which_nothing_is_left(record, crop, shortest):
    cfg = get_cfg()
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "relative", crop
    cfg.INPUT.MIN_SIZE_TRAIN = (shortest,)
    cfg.INPUT.MAX_SIZE_TRAIN = 9 if shortest == 8 else 1333
    mapper = CheckedMapper(ImageMapper(cfg, is_train=True), resize_of(cfg, "TRAIN"))
    with pytest.raises(
        UserError,
        match=rf"picture\.jpg is 40x30 pixels, and INPUT\.CROP\.SIZE \[{crop[0]}, 1\.0\] leaves "
        r"nothing of its shorter side: raise it if the image is to stay\.",
    ):
        mapper({**record, "annotations": []})
    assert image_problem(record, resize_of(cfg, "TEST")) is None
    cfg.INPUT.MIN_SIZE_TRAIN = (0,)  # as they are cut out
    assert (image_problem(record, resize_of(cfg, "TRAIN")) is None) == (shortest == 8)
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MAX_SIZE_TRAIN = [0.5, 0.5], 1333
    assert image_problem(record, resize_of(cfg, "TRAIN")) is None


def test_a_single_pixel_is_mirrored(record):
    """NumPy calls an array of one column continuous, whatever its steps are; torch does not."""
    mapper = ImageMapper(get_cfg(), is_train=True)
    mapper.augmentations = T.AugmentationList([T.ResizeShortestEdge([1, 1], 1), T.RandomFlip(1.0)])
    assert mapper({**record, "annotations": []})["image"].shape == (3, 1, 1)


# ---- the mapper itself ---------------------------------------------------------------------------

POLYGON = [4.0, 5.0, 24.0, 5.0, 24.0, 25.0, 6.0, 25.0]


def annotated(record):
    """Two objects with masks, and a crowd."""
    common = {"bbox_mode": BoxMode.XYXY_ABS, "segmentation": [POLYGON]}
    boxes = [[4.0, 5.0, 24.0, 25.0], [1.5, 2.0, 30.0, 9.0], [0.0, 0.0, 9.0, 9.0]]
    annotations = [
        {**common, "bbox": box, "category_id": number, "iscrowd": int(number == 2)}
        for number, box in enumerate(boxes)
    ]
    return {**record, "image_id": 7, "annotations": annotations}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("is_train", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"INPUT.FORMAT": "RGB"},
        {"MODEL.MASK_ON": True},
        {"INPUT.CROP.ENABLED": True},
        {"MODEL.MASK_ON": True, "INPUT.CROP.ENABLED": True, "INPUT.MASK_FORMAT": "bitmask"},
    ],
)
def test_samples_are_those_of_detectron2(record, tmp_path, suffix, is_train, options):
    """Bit by bit, and with the same random numbers; images of the usual kinds are read as ever."""
    path = tmp_path / f"image{suffix}"
    Image.open(record["file_name"]).save(path)
    cfg = get_cfg()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MIN_SIZE_TEST = (20, 31, 45), 33
    cfg.merge_from_list([part for item in options.items() for part in item])
    given = annotated({**record, "file_name": str(path)})
    if cfg.INPUT.CROP.ENABLED:  # cropping polygons needs a package
        for annotation in given["annotations"]:
            annotation["segmentation"] = mask_api.encode(
                np.asfortranarray(np.eye(30, 40, dtype="u1"))
            )
    before = copy.deepcopy(given)
    theirs, ours = (kind(cfg, is_train) for kind in (DatasetMapper, ImageMapper))
    for seed in range(4):
        np.random.seed(seed)
        want, drawn = theirs(given), np.random.rand()
        np.random.seed(seed)
        sample = ours(given)
        assert np.random.rand() == drawn
        assert given == before
        assert sample.keys() == want.keys()
        assert sample["image"].equal(want["image"]) and sample["image"].is_contiguous()
        others = sample.keys() - {"image", "instances"}
        assert {k: sample[k] for k in others} == {k: want[k] for k in others}
        if is_train:
            same_instances(sample["instances"], want["instances"])


def same_instances(ours, theirs):
    assert ours.get_fields().keys() == theirs.get_fields().keys()
    assert ours.image_size == theirs.image_size and len(ours) == 2
    assert ours.gt_boxes.tensor.equal(theirs.gt_boxes.tensor)
    assert ours.gt_classes.equal(theirs.gt_classes)
    if ours.has("gt_masks"):
        ours, theirs = ours.gt_masks, theirs.gt_masks
        if hasattr(ours, "tensor"):
            assert ours.tensor.equal(theirs.tensor)
        else:
            polygons = zip(ours.polygons, theirs.polygons, strict=True)
            assert all((a[0] == b[0]).all() for a, b in polygons)


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_whole_numbers_keep_their_fractions(record, kind):
    """(4, 5), (14, 15) at 0.6; detectron2 itself makes (2, 3), (8, 9) of it."""
    cfg = get_cfg()
    cfg.MODEL.MASK_ON, cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.RANDOM_FLIP = True, (18,), "none"
    thing = {"bbox": kind([4, 5, 10, 10]), "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    thing["segmentation"] = [[4, 5, 14, 5, 14, 15]]
    objects = ImageMapper(cfg, True)({**record, "annotations": [thing]})["instances"]
    assert objects.gt_boxes.tensor[0].tolist() == pytest.approx([2.4, 3.0, 8.4, 9.0])
    assert objects.gt_masks.polygons[0][0].tolist() == pytest.approx([2.4, 3, 8.4, 3, 8.4, 9])


def test_an_image_without_objects(record):
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = cfg.INPUT.CROP.ENABLED = True
    assert len(ImageMapper(cfg, True)({**record, "annotations": []})["instances"]) == 0
    assert "instances" not in ImageMapper(cfg, True)(record)


@pytest.mark.parametrize(("stretch_range", "brightest"), [(False, 15), (True, 255)])
def test_16_bits_in_training(record, tmp_path, stretch_range, brightest):
    path = tmp_path / "deep.png"
    Image.fromarray(np.full((30, 40), 4095, np.uint16) - np.eye(30, 40, dtype=np.uint16)).save(path)
    cfg = get_cfg()
    cfg.INPUT.STRETCH_RANGE, cfg.INPUT.MIN_SIZE_TRAIN = stretch_range, (0,)
    image = ImageMapper(cfg, True)({**record, "file_name": str(path)})["image"]
    assert (int(image.max()), int(image.min())) == (brightest, 0 if stretch_range else 15)


def test_masks_that_cannot_be_used_are_named_with_their_image(record):
    cfg = get_cfg()
    cfg.MODEL.MASK_ON = True
    broken = annotated(record)
    broken["annotations"][0]["segmentation"] = "mask.png"
    with pytest.raises(ValueError, match=r"^Image .*picture\.jpg: .*segmentation"):
        ImageMapper(cfg, True)(broken)


def test_semantic_segmentation_is_left_to_detectron2(record, monkeypatch):
    monkeypatch.setattr(DatasetMapper, "__call__", lambda self, given: given["sem_seg_file_name"])
    assert ImageMapper(get_cfg(), True)({**record, "sem_seg_file_name": "a.png"}) == "a.png"
