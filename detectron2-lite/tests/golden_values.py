"""Reads the reference values in ``golden/``, which were computed by detectron2 itself."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "golden"


def golden_json(name):
    return json.loads((GOLDEN / name).read_text())


def golden_npz(name):
    return np.load(GOLDEN / name, allow_pickle=False)


def fill(model, rules=()):
    """Give every entry of the state dict the value that its name implies.

    ``rules``: pairs of the end of a name, and a factor and a shift of such entries.
    """
    state = {}
    for name, value in model.state_dict().items():
        n = np.random.RandomState(zlib.crc32(f"shared{name}".encode())).standard_normal(value.shape)
        if name.endswith("running_mean"):
            n = 0.1 * n
        elif name.endswith("running_var"):
            n = 1 + 0.1 * np.abs(n)
        elif name.endswith("bias"):
            n = 0.01 * n
        elif value.dim() >= 2:
            n = n * np.sqrt(1 / np.prod(value.shape[1:]))
        else:
            n = 1 + 0.1 * n
        for suffix, change in rules:
            if name.endswith(suffix):
                n = n * change.get("factor", 1) + change.get("shift", 0)
        state[name] = torch.as_tensor(n, dtype=torch.float32)
    model.load_state_dict(state)
    return model
