"""``locate``: an object by its dotted path."""

import pytest
import torch

from detectron2.structures import Boxes, BoxMode
from detectron2.utils.registry import locate


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("torch.optim.SGD", torch.optim.SGD),
        ("torch.optim", torch.optim),
        ("detectron2.structures.Boxes", Boxes),
        ("detectron2.structures.boxes.Boxes", Boxes),
        ("detectron2.structures.Boxes.area", Boxes.area),
        ("detectron2.structures.BoxMode.XYXY_ABS", BoxMode.XYXY_ABS),
        ("builtins.len", len),
    ],
)
def test_found(name, expected):
    assert locate(name) is expected or locate(name) == expected


@pytest.mark.parametrize("name", ["asdf", "torch.optim.NoSuch", "no_such_package.thing"])
def test_not_found(name):
    with pytest.raises(ImportError):
        locate(name)
