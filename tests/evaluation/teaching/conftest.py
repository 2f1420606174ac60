"""A scene that can be worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fcos.modeling.fcos import FCOSTargets
from tests.helpers import ground_truth


@pytest.fixture
def scene():
    """Six locations, (4, 4) to (20, 12), and two boxes that both lie around (12, 4)."""
    boxes = torch.tensor([[0.0, 0, 16, 16], [8, 0, 24, 8]])  # of 256 and of 128 square pixels
    return SimpleNamespace(
        image=np.full((16, 24, 3), 128, np.uint8),
        boxes=boxes,
        truth=ground_truth(boxes, [2, 1]),
        targets=FCOSTargets(strides=(8,), sizes_of_interest=(), num_classes=3),
        sizes=[(2, 3)],
    )
