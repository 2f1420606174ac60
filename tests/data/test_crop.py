import numpy as np
import pytest

from detectron2.data.transforms import RandomCrop
from fcos.config import get_cfg
from fcos.data.crop import Crop, crop_of
from fcos.utils.errors import UserError


def configured(kind, size):
    cfg = get_cfg()
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, kind, list(size)
    return crop_of(cfg)


def test_by_hand():
    # 0.3 of 41 rows is 12.3, and 0.5 of 99 columns 49.5, which is rounded up.
    assert configured("relative", (0.3, 0.5)).longest(41, 99) == [(12, 50), (12, 50)]
    assert configured("relative_range", (0.3, 0.5)).longest(41, 99) == [(12, 99), (41, 50)]
    assert configured("relative", (0.01, 1.0)).longest(49, 99) == [(0, 99), (0, 99)]
    assert configured("absolute", (60, 30)).longest(41, 99) == [(41, 30), (41, 30)]
    assert configured("absolute_range", (30, 60)).longest(41, 99) == [(30, 60), (41, 30)]


@pytest.mark.parametrize(
    ("kind", "size"),
    [
        ("relative", (0.031, 0.77)),
        ("relative_range", (0.031, 0.5)),
        ("absolute", (7, 300)),
        ("absolute_range", (3, 50)),
    ],
)
def test_detectron2s_crops_are_not_longer(kind, size):
    np.random.seed(0)
    crop = RandomCrop(kind, size)
    for height, width in ((41, 99), (17, 16), (2, 200)):
        drawn = np.array([crop.get_crop_size((height, width)) for _ in range(500)])
        (low, wide), (high, narrow) = Crop(kind, size).longest(height, width)
        assert (drawn >= [low, narrow]).all() and (drawn <= [high, wide]).all()
        assert (drawn.min(0) <= [low + 1, narrow + 1]).all()
        assert (drawn.max(0) >= [high - 1, wide - 1]).all()


def test_it_is_off_unless_enabled():
    assert crop_of(get_cfg()) is None


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        (
            "fixed",
            (0.9, 0.9),
            r"TYPE is 'fixed': set it to one of 'relative', 'relative_range', 'absolute', 'abs",
        ),
        (
            "relative",
            (0.9, 1.1),
            r"SIZE is \[0\.9, 1\.1\]: INPUT\.CROP\.TYPE relative needs two numbers above 0 and at "
            r"most 1\.$",
        ),
        ("relative_range", (0.0, 0.9), r"SIZE is \[0\.0, 0\.9\]: set it to two numbers, as INP"),
        (
            "relative",
            (0.9,),
            r"SIZE is \[0\.9\]: set it to two numbers, as INPUT\.CROP\.TYPE says: par",
        ),
        ("relative", ("0.9", 0.9), r"SIZE is \['0\.9', 0\.9\]: set it to two numbers, as INPUT"),
        ("absolute", (0.9, 0.9), "SIZE is .* absolute needs two whole numbers of at least 1"),
        ("absolute", (300, 0), "SIZE is .* set it to two numbers, as INPUT"),
        ("absolute_range", (600, 384), "SIZE is .* of at least 1, the smaller one f"),
    ],
)
def test_crops_that_are_none(kind, size, message):
    with pytest.raises(UserError, match=rf"^INPUT\.CROP\.{message}"):
        configured(kind, size)
