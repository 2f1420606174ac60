"""Values that would fail late are sentences early."""

import pytest

from fcos.config import get_cfg
from fcos.config.checks import check_expected_results, check_pixels
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
