"""Values that would fail late are sentences early."""

import pytest

from fcos.config import get_cfg
from fcos.config.checks import (
    FCOS_CHOICES,
    check_batch,
    check_displays,
    check_expected_results,
    check_fcos,
    check_pixels,
    check_training_keys,
)
from fcos.layers.iou_loss import LOC_LOSS_TYPES
from fcos.modeling.fcos import fcos_assignment, fcos_head, fcos_losses
from fcos.utils.errors import UserError


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("INPUT.FORMAT", "YUV-BT.601", r"INPUT\.FORMAT is YUV-BT\.601, but only BGR and RGB are"),
        (
            "MODEL.PIXEL_MEAN",
            [1.0] * 4,
            r"PIXEL_MEAN is \[1.0, .*\]: expected three numbers, .* BGR",
        ),
        ("MODEL.PIXEL_MEAN", ["a", 1.0, 1.0], r"PIXEL_MEAN is \['a', 1.0, 1.0\]: expected three"),
        ("MODEL.PIXEL_STD", [1.0], r"PIXEL_STD is \[1.0\]: expected three numbers"),
        ("MODEL.PIXEL_STD", [1.0, 1.0, float("nan")], r"PIXEL_STD is .*nan\]: expected three"),
        (
            "MODEL.PIXEL_STD",
            [1.0, 0.0, 1.0],
            r"PIXEL_STD is \[1.0, 0.0, 1.0\], by which .* above 0",
        ),
    ],
)
def test_pixels(key, value, message):
    cfg = get_cfg()
    check_pixels(cfg)
    cfg.merge_from_list(["INPUT.FORMAT", "RGB"])
    check_pixels(cfg)
    cfg.merge_from_list(["INPUT.FORMAT", "BGR", key, value])
    with pytest.raises(UserError, match=message):
        check_pixels(cfg)


@pytest.mark.parametrize(
    "row",
    [["bbox", "AP", 38.5, 0.2], ["segm", "AP50", 38, 1], ["bbox_TTA", "AP", 40.0, 0.2]],
)
def test_expectations_that_can_be_compared(row):
    cfg = get_cfg()
    check_expected_results(cfg)
    cfg.DATASETS.TEST = ("pets",)
    cfg.MODEL.MASK_ON = cfg.TEST.AUG.ENABLED = True
    cfg.TEST.EXPECTED_RESULTS = [row]
    check_expected_results(cfg)


@pytest.mark.parametrize(
    "row, message",
    [
        (["bbox", "AP", 38.5], r"has \['bbox', 'AP', 38.5\]: expected lists of task, metric"),
        ("bbox", "has 'bbox': expected lists"),
        (38.5, r"has 38\.5: expected lists"),
        (["bbox", "AP", "38.5", 0.2], "has .*: expected lists"),
        (["bbox", "AP", 38.5, float("nan")], "has .*: expected lists"),
        (["bbox", 50, 38.5, 0.2], "has .*: expected lists"),
        (["box", "AP", 38.5, 0.2], "the task 'box', but this evaluation gives bbox only"),
        (["bbox_TTA", "AP", 38.5, 0.2], "the task 'bbox_TTA', but this evaluation gives bbox only"),
    ],
)
def test_expectations_that_cannot(row, message):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("pets",)
    cfg.TEST.EXPECTED_RESULTS = [row]
    with pytest.raises(
        UserError, match=r"TEST\.EXPECTED_RESULTS has .*" + message.removeprefix("has ")
    ):
        check_expected_results(cfg)


@pytest.mark.parametrize("number", [0, 2])
def test_expectations_are_for_one_data_set(number):
    cfg = get_cfg()
    cfg.DATASETS.TEST = ("pets",) * number
    cfg.TEST.EXPECTED_RESULTS = [["bbox", "AP", 38.5, 0.2]]
    with pytest.raises(UserError, match=rf"of one data set, but DATASETS\.TEST has {number}: set"):
        check_expected_results(cfg)


def test_the_choices_are_those_of_the_steps():
    assert FCOS_CHOICES == {
        "NORM": fcos_head.NORMS,
        "LOCATION": fcos_assignment.LOCATIONS,
        "LOC_LOSS_TYPE": LOC_LOSS_TYPES,
        "BOX_QUALITY": fcos_losses.BOX_QUALITIES,
        "LOSS_NORMALIZER": fcos_losses.LOSS_NORMALIZERS,
        "DROP_EMPTY": ("before", "after", "never"),
    }


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("PRIOR_PROB", 1.0, r"PRIOR_PROB is 1\.0: set it to a number within \(0, 1\)"),
        ("PRIOR_DISTANCE", -1.0, r"PRIOR_DISTANCE is -1\.0: set it to 0 strides or more"),
        ("NUM_SHARED_CONVS", -1, "NUM_SHARED_CONVS is -1: set it to 0 or more"),
        ("LOSS_GAMMA", float("inf"), "LOSS_GAMMA is inf: set it to 0 or more"),
        (
            "SIZES_OF_INTEREST",
            [0, 64, 128, 256],
            r"is \[0, .*: set it to increasing limits above 0",
        ),
    ],
)
def test_values_that_no_detector_can_have(key, value, message):
    cfg = get_cfg()
    check_fcos(cfg)
    cfg.MODEL.FCOS[key] = value
    with pytest.raises(UserError, match=rf"^MODEL\.FCOS\..*{message}"):
        check_fcos(cfg)


def test_a_batch_is_a_multiple_of_the_processes():
    check_batch(6, 3)
    for images in (4, 0, -3):
        with pytest.raises(
            UserError, match=rf"IMS_PER_BATCH is {images}, which 3 processes cannot share equally"
        ):
            check_batch(images, processes=3)


def test_a_training_that_can_be():
    cfg = get_cfg()
    cfg.DATASETS.TRAIN = ("pets",)
    check_training_keys(cfg, processes=2)
    with pytest.raises(UserError, match=r"DATASETS\.TRAIN is empty"):
        check_training_keys(get_cfg(), processes=2)


@pytest.mark.parametrize("kind", ["value", "norm", "full_model"])
def test_types_of_clipping(kind):
    cfg = get_cfg()
    cfg.merge_from_list(["DATASETS.TRAIN", ("a",), "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", kind])
    check_training_keys(cfg, 1)  # gradients are not clipped
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    if kind != "full_model":
        check_training_keys(cfg, 1)
        return
    with pytest.raises(UserError, match=r"CLIP_TYPE is 'full_model': set it to one of 'value', 'n"):
        check_training_keys(cfg, 1)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("VIS_PERIOD", -1, r"VIS_PERIOD is -1: set it to 0 \(no pictures\) or more"),
        ("LOGGERS", ["comet"], r"LOGGERS is \['comet'\]: set it to a list .* 'wandb', 'mlflow'"),
        ("LOGGERS", ["wandb", "wandb"], r"LOGGERS is .*: set it to a list without repetition of"),
        ("LOGGERS", [7], r"LOGGERS is \[7\]: set it to a list"),
    ],
)
def test_what_a_training_shows(key, value, message):
    cfg = get_cfg()
    check_displays(cfg)
    cfg.LOGGERS, cfg.VIS_PERIOD = ["mlflow", "wandb"], 100
    check_displays(cfg)
    cfg[key] = value
    with pytest.raises(UserError, match=message):
        check_displays(cfg)
    cfg.DATASETS.TRAIN = ("a",)
    with pytest.raises(UserError, match=message):  # before the first iteration
        check_training_keys(cfg, 1)
