"""The config that an import writes: it is read, its numbers follow from the data."""

import json
import os

import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from fcos.config import read_cfg
from fcos.data import register_custom_datasets
from fcos.data.checks import check_datasets
from fcos.data.importing.config_file import find_published, licence_of
from fcos.data.importing.measures import Sizes, image_size, schedule
from fcos.utils.errors import UserError
from tests.data.importing.making import make_image, make_voc, run, voc_xml, write


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Imports to my_data, and returns the config as it is read in another folder."""
    known = set(DatasetCatalog.list())

    def import_it(source, output="my_data", **fields):
        run(source, tmp_path / output, overwrite=True, **fields)
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / "elsewhere")
        cfg = read_cfg(str(tmp_path / output / "config.yaml"))
        register_custom_datasets(cfg)
        return cfg

    yield import_it
    for name in set(DatasetCatalog.list()) - known:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_it_passes_the_checks_of_a_training(read, tmp_path):
    cfg = read(make_voc(tmp_path / "source", 10))
    train, val = check_datasets(cfg, all_images=True)
    assert (train.name, train.num_images, train.class_names) == ("my_data_train", 8, ("cat",))
    assert (val.name, val.num_images, val.num_objects) == ("my_data_val", 2, 2)
    assert cfg.MODEL.FCOS.NUM_CLASSES == 1
    assert cfg.OUTPUT_DIR == "output/my_data"


def test_images_are_referred_to(read, tmp_path):
    source = make_voc(tmp_path / "source")
    cfg = read(source)
    entry = cfg.DATASETS.CUSTOM.my_data_train
    assert str(source / "JPEGImages") == entry.IMAGES
    assert str(tmp_path / "my_data" / "annotations" / "train.json") == entry.JSON
    assert not (tmp_path / "my_data" / "images").exists()


def test_or_copied(read, tmp_path):
    source = make_voc(tmp_path / "source")
    cfg = read(source, copy_images=True)
    assert str(tmp_path / "my_data" / "images") == cfg.DATASETS.CUSTOM.my_data_train.IMAGES
    for i in range(4):
        copy = tmp_path / "my_data" / "images" / f"{i}.png"
        assert copy.read_bytes() == (source / "JPEGImages" / f"{i}.png").read_bytes()
    check_datasets(cfg, all_images=True)


def test_names_that_are_taken(read, tmp_path):
    source = make_voc(tmp_path / "source")
    assert read(source, "coco_2017").DATASETS.TRAIN == ("my_coco_2017_train",)
    assert read(source, "3 cats!").DATASETS.TRAIN == ("my_3_cats_train",)


@pytest.mark.parametrize(
    "label, flip",
    [
        ("cat", "horizontal"),
        ("left_hand", "none"),
        ("Arrow-Right", "none"),
        ("leftover", "horizontal"),
    ],
)
def test_what_must_not_be_mirrored(read, tmp_path, label, flip):
    cfg = read(make_voc(tmp_path / "source", label=label))
    assert flip == cfg.INPUT.RANDOM_FLIP


def test_letters_are_not_mirrored(read, tmp_path):
    source = make_voc(tmp_path / "source", label="b")
    write(source / "Annotations" / "0.xml", voc_xml("0.png", ("d", 1, 2, 30, 40)))
    assert read(source).INPUT.RANDOM_FLIP == "none"


@pytest.mark.parametrize(
    "images, batch, is_tuned, want",
    [
        # 12 epochs of 4000 images are 6000 batches of 8.
        (4000, 0, False, {"IMS_PER_BATCH": 8, "BASE_LR": 0.02, "MAX_ITER": 6000}),
        (4000, 16, False, {"IMS_PER_BATCH": 16, "BASE_LR": 0.04, "MAX_ITER": 3000}),
        (4000, 0, True, {"IMS_PER_BATCH": 4, "BASE_LR": 0.0025, "MAX_ITER": 12000}),
        (50, 0, False, {"IMS_PER_BATCH": 8, "MAX_ITER": 1000, "WARMUP_ITERS": 100}),
        (50, 0, True, {"MAX_ITER": 500, "STEPS": [400, 475], "CHECKPOINT_PERIOD": 50}),
        (3, 0, False, {"IMS_PER_BATCH": 3, "BASE_LR": 0.0075}),
        (118000, 0, False, {"MAX_ITER": 177000, "WARMUP_ITERS": 500}),
    ],
)
def test_the_schedule_follows_from_the_number_of_images(images, batch, is_tuned, want):
    keys, _ = schedule(images, batch, is_tuned)
    assert want.items() <= keys["SOLVER"].items()
    assert keys["TEST"]["EVAL_PERIOD"] == keys["SOLVER"]["MAX_ITER"] // 10


@pytest.mark.parametrize(
    "sizes, short, longest",
    [
        # Small objects of 80 pixels need 40: half of the image's size.
        (Sizes(short=480, aspect=4 / 3, small=80, thin=60), 240, 320),
        (Sizes(short=480, aspect=4 / 3, small=400, thin=300), 160, 224),  # not less than 160
        (Sizes(short=64, aspect=1, small=10, thin=8), 64, 64),  # never enlarged
        (Sizes(short=1000, aspect=1.5, small=50, thin=40), 320, 480),  # the cap
        (Sizes(short=1000, aspect=1.5, small=20, thin=15), 608, 912),  # 12 pixels are needed
        (Sizes(short=4000, aspect=1.5, small=20, thin=15), 640, 960),  # twice the cap at most
    ],
)
def test_the_image_size_follows_from_small_objects(sizes, short, longest):
    keys, _ = image_size(sizes, cap=320)
    assert keys["INPUT"]["MIN_SIZE_TRAIN"] == [short] == [keys["INPUT"]["MIN_SIZE_TEST"]]
    assert keys["INPUT"]["MAX_SIZE_TRAIN"] == longest


def test_small_objects_get_finer_levels(read, tmp_path):
    for i in range(4):
        make_image(tmp_path / "source" / f"{i}.png")
        write(tmp_path / "source" / f"{i}.xml", voc_xml("", ("cat", 10, 20, 17, 40)))
    fcos = read(tmp_path / "source").MODEL.FCOS
    assert fcos.IN_FEATURES == ["p2", "p3", "p4", "p5", "p6"]
    write(tmp_path / "source" / "0.xml", voc_xml("", ("cat", 10, 20, 18, 40)))
    for i in range(4):
        write(tmp_path / "source" / f"{i}.xml", voc_xml("", ("cat", 10, 20, 18, 40)))
    assert read(tmp_path / "source").MODEL.FCOS.IN_FEATURES == ["p3", "p4", "p5", "p6", "p7"]


def polygons(source, number=4):
    for i in range(number):
        make_image(source / "images" / f"{i}.png")
        write(source / "labels" / f"{i}.txt", "0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n")
    return source


def test_masks_only_when_asked(read, tmp_path):
    source = polygons(tmp_path / "source")
    assert not read(source).MODEL.MASK_ON
    cfg = read(source, masks=True)
    assert cfg.MODEL.MASK_ON and cfg.MODEL.ROI_HEADS.NUM_CLASSES == 1
    assert cfg.TEST.BEST_METRIC == "segm/AP"
    check_datasets(cfg)


def test_published_weights(read, tmp_path):
    source = make_voc(tmp_path / "source", 10)
    said = run(source, tmp_path / "my_data", start_from="torchvision/R_50_FPN")
    licence = "Licence: torchvision states none for the weights; its code is BSD-3-Clause."
    assert f"Starts from torchvision/R_50_FPN. {licence}" in said
    assert licence in (tmp_path / "my_data" / "config.yaml").read_text()
    cfg = read(source, start_from="torchvision/R_50_FPN")
    published = read_cfg(str(find_published("torchvision/R_50_FPN")))
    assert cfg.MODEL.WEIGHTS == published.MODEL.WEIGHTS
    assert cfg.MODEL.FCOS.NUM_CLASSES == 1 and cfg.MODEL.FCOS.REINIT_CLS_LOGITS
    assert cfg.MODEL.FCOS.LOCATION == "corner"
    assert list(cfg.MODEL.PIXEL_MEAN) == list(published.MODEL.PIXEL_MEAN)
    assert cfg.INPUT.MIN_SIZE_TEST == 160  # twice the size of these images


@pytest.mark.parametrize(
    "name, message",
    [
        ("torchvison/R_50_FPN", "has no such config. Did you mean torchvision/R_50_FPN? There are"),
        ("original/R_50_FPN_1x", "its weights have no address. Those with one are adelaidet/MS_R"),
    ],
)
def test_weights_that_cannot_be_had(tmp_path, name, message):
    with pytest.raises(UserError, match="--start-from") as error:
        run(make_voc(tmp_path / "source"), tmp_path / "my_data", start_from=name)
    assert message in str(error.value)
    assert not (tmp_path / "my_data").exists()


def test_all_published_weights_with_an_address_state_their_licence():
    names = ["adelaidet/R_50_1x", "configs/published/mmdetection/R_50_caffe_1x.yaml"]
    assert [licence_of(find_published(name)) for name in names] == [
        "Licence of the weights: non-commercial use only (AdelaiDet).",
        "Licence of mmdetection: Apache-2.0.",
    ]


def test_the_same_import_writes_the_same_files(tmp_path):
    source = make_voc(tmp_path / "source", 10)
    for output in ("one", "two"):
        run(source, tmp_path / output, seed=4)
    for name in ("annotations/train.json", "annotations/val.json"):
        first, second = ((tmp_path / output / name).read_text() for output in ("one", "two"))
        assert first == second
        assert json.loads(first)
    assert not [f for _, _, files in os.walk(tmp_path) for f in files if "unfinished" in f]
