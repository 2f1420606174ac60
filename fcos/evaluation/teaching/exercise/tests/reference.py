"""Values that other implementations of FCOS computed; README.md says which."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

VALUES = np.load(Path(__file__).parent / "values.npz", allow_pickle=False)


def value(name: str) -> Tensor:
    """Return one of the stored arrays."""
    return torch.from_numpy(VALUES[name])


def sizes(name: str) -> list[tuple[int, int]]:
    """Return stored rows and columns of each level."""
    return [(int(rows), int(columns)) for rows, columns in VALUES[name]]


def ground_truth(boxes: Any, classes: Any) -> Any:
    """Make an object with the fields of detectron2's Instances that training reads."""
    return SimpleNamespace(
        gt_boxes=SimpleNamespace(tensor=torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.as_tensor(classes, dtype=torch.int64),
    )
