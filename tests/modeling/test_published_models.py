"""Whole models of public implementations: the same names, and the same detections on a picture.

Their weights are filled by a rule that depends on the name of each parameter, so that no file is
needed and every parameter counts.
"""

import json
import math
import zlib

import numpy as np
import pytest
import torch

from detectron2.modeling import build_model
from fcos.config import get_cfg
from tests.helpers import GOLDEN, LEVELS, STRIDES, golden

MODELS = json.loads((GOLDEN / "models.json").read_text())
VALUES = golden("models.npz")

# The config of each, and what a public implementation does otherwise than our default.
PLUS_ONE = {"MODEL.FCOS.INCLUSIVE_PIXELS": True}
SETTINGS = {
    "adet_R_50_1x": ("R_50_1x_improve.yaml", {}),
    "adet_dcnv2": ("MS_X_101_32x8d_2x_dcnv2.yaml", {}),
    # It has no learnable scales, and its threshold of 0.2 is on the square root of the product.
    "d2_R_50_1x": (
        "R_50_1x_improve.yaml",
        {
            "MODEL.FCOS.USE_SCALE": False,
            "MODEL.FCOS.THRESH_WITH_CTR": True,
            "MODEL.FCOS.SCORE_THRESH_TEST": 0.04,
        },
    ),
    "tianzhi_R_50_1x": ("table3/4_gn.yaml", PLUS_ONE),
    "tianzhi_imprv_R_50_1x": ("table3/8_normalization.yaml", PLUS_ONE),
}


def model_of(key, device="cpu", **options):
    path, overrides = SETTINGS[key]
    cfg = get_cfg()
    cfg.merge_from_file(f"configs/{path}")
    cfg.MODEL.PIXEL_MEAN = MODELS[key]["pixel_mean"]
    cfg.MODEL.DEVICE = device
    overrides = overrides | {f"MODEL.FCOS.{name}": value for name, value in options.items()}
    cfg.merge_from_list([x for pair in overrides.items() for x in pair])
    return build_model(cfg).eval()


def filled(name, shape, rules):
    """The value of a parameter that an implementation calls ``name``."""
    seed = zlib.crc32(f"shared{name}".encode())
    value = np.random.RandomState(seed).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
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
    return torch.from_numpy(value).float()


@pytest.mark.parametrize("key", MODELS)
def test_names_and_shapes(key):
    # On the device "meta" a model has shapes and no values: nothing is drawn at random.
    with torch.device("meta"):
        model = model_of(key, device="meta")
    got = {name: list(value.shape) for name, value in model.state_dict().items()}
    assert got == {name: shape for name, shape, *_ in MODELS[key]["state_dict"]}


def photo():
    rgb = VALUES["photo/rgb"]
    image = torch.from_numpy(np.ascontiguousarray(rgb[:, :, ::-1].transpose(2, 0, 1)))
    return {"image": image, "height": rgb.shape[0], "width": rgb.shape[1]}


def head_and_detections(model):
    """Head outputs on the picture, and its detections in the order of classes and scores."""
    images = model.preprocess_image([photo()])
    features = model.backbone(images.tensor)
    fcos = model.proposal_generator
    outputs = fcos.fcos_head([features[name] for name in fcos.in_features])
    (result,), _ = fcos(images, features)
    return outputs, result


def in_one_order(boxes, scores, classes):
    order = np.lexsort((boxes[:, 0], -scores.round(4), classes))
    return boxes[order], scores[order], classes[order]


def check(key, model):
    # Tolerances of the reference values. tianzhi's frozen batch normalisation has no epsilon.
    slack = 3.0 if key.startswith("tianzhi") else 1.0
    with torch.no_grad():
        outputs, result = head_and_detections(model)
    for name, levels, atol in zip(("cls", "reg", "ctr"), outputs, (1e-4, 1e-3, 1e-4), strict=True):
        for level, stride, got in zip(LEVELS, STRIDES, levels, strict=True):
            if f"{key}/head/{name}/p{level}" not in VALUES:
                continue
            want = torch.tensor(VALUES[f"{key}/head/{name}/p{level}"])
            if name == "reg" and key.startswith("d2"):
                want = want.relu()
            in_pixels = name == "reg" and key.startswith("tianzhi")
            if in_pixels and model.proposal_generator.normalize_reg_targets:
                got = got * stride
            torch.testing.assert_close(
                got, want, atol=slack * atol * (stride if in_pixels else 1), rtol=0
            )
    boxes = result.pred_boxes
    if not key.startswith("tianzhi"):  # which has clipped its own way already
        boxes.clip(VALUES["photo/rgb"].shape[:2])
    got = in_one_order(boxes.tensor.numpy(), result.scores.numpy(), result.pred_classes.numpy())
    want = in_one_order(*(VALUES[f"{key}/det/{name}"] for name in ("boxes", "scores", "classes")))
    np.testing.assert_array_equal(got[2], want[2])
    np.testing.assert_allclose(got[1], want[1], atol=slack * 1e-5, rtol=0)
    np.testing.assert_allclose(got[0], want[0], atol=slack * 0.01, rtol=0)


@pytest.mark.parametrize("key", MODELS)
def test_head_and_detections_equal_the_reference(key):
    model, rules = model_of(key), MODELS[key]["fill_rules"]
    weights = {
        name: filled(peer[0] if peer else name, shape, rules)
        for name, shape, *peer in MODELS[key]["state_dict"]
    }
    model.load_state_dict(weights)
    check(key, model)
    if key == "adet_R_50_1x":  # AdelaiDet's R_50_1x_iou computes the same at inference
        iou = model_of(key, BOX_QUALITY="iou")
        iou.load_state_dict(weights)
        check(key, iou)
