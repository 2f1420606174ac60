"""Weights of public implementations, filled by a rule that depends on the name of each parameter.

No file is needed, and every parameter counts.
"""

from __future__ import annotations

import json
import math
import zlib

import numpy as np
import torch

from fcos.config import get_cfg
from tests.helpers import DEVICE, GOLDEN

MODELS = json.loads((GOLDEN / "models.json").read_text())
for _model in MODELS.values():
    if isinstance(_model["state_dict"], str):  # the same names as another one
        _model["state_dict"] = MODELS[_model["state_dict"]]["state_dict"]

# The config of each, and its family.
CONFIGS = {
    "adet_R_50_1x": "adelaidet/R_50_1x",
    "adet_RT_DLA_34": "adelaidet/RT_MS_DLA_34_4x_shtw_bn_head",
    "adet_dcnv2": "adelaidet/MS_X_101_32x8d_2x_dcnv2",
    "d2_R_50_1x": "detectron2/R_50_FPN_1x",
    "tianzhi_R_50_1x": "original/R_50_FPN_1x",
    "tianzhi_imprv_R_50_1x": "original/imprv_R_50_FPN_1x",
    "torchvision_R_50": "torchvision/R_50_FPN",
    "mmdet_R_50_1x": "mmdetection/R_50_caffe_1x",
}


def family_of(key):
    return CONFIGS[key].split("/")[0]


def config_of(key, device=DEVICE):
    cfg = get_cfg()
    cfg.merge_from_file(f"configs/published/{CONFIGS[key]}.yaml")
    cfg.MODEL.DEVICE = device
    cfg.MODEL.WEIGHTS = ""
    if key == "torchvision_R_50":  # all outputs of its file
        cfg.MODEL.FCOS.NUM_CLASSES = 91
    return cfg


def names_of(key):
    """Their name -> our name (None for counters), without ``module.``."""
    return {
        name.removeprefix("module."): ours[0] if ours else name
        for name, _, *ours in MODELS[key]["state_dict"]
    }


def shapes_of(key):
    """Their name -> shape, without ``module.``."""
    return {name.removeprefix("module."): s for name, s, *_ in MODELS[key]["state_dict"]}


def weights_of(key):
    """Their name -> value, as a file has them."""
    rules = MODELS[key]["fill_rules"]
    return {name: filled(name, shape, rules) for name, shape in shapes_of(key).items()}


def filled(name, shape, rules):
    """The value of a parameter that an implementation calls ``name``."""
    last = name.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    seed = zlib.crc32(f"shared{name}".encode())
    value = np.random.RandomState(seed).standard_normal(shape)
    if last == "running_mean":
        value *= 0.1
    elif last == "running_var":
        value = 1 + 0.1 * abs(value)
    elif last == "bias":
        value *= 0.01
    elif len(shape) >= 2:
        value *= math.sqrt(1 / math.prod(shape[1:]))
    else:
        value = 1 + 0.1 * value
    for suffix, rule in rules:
        if name.endswith(suffix):
            value = value * rule.get("factor", 1) + rule.get("shift", 0)
    return torch.from_numpy(np.asarray(value)).float()
