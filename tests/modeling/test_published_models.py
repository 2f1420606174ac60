"""Whole models of public implementations: from their weights to their detections on a picture."""

import numpy as np
import pytest
import torch

from detectron2.modeling import build_model
from fcos.checkpoint.importers import FAMILIES
from tests.helpers import DEVICE, LEVELS, STRIDES, golden
from tests.published import MODELS, config_of, family_of, names_of, weights_of

VALUES = golden("models.npz")


def model_of(key, device=DEVICE, **options):
    cfg = config_of(key, device)
    if "DLA" in key:
        pytest.importorskip("timm", reason="timm is not installed")
    for name, value in options.items():
        cfg.MODEL.FCOS[name] = value
    return build_model(cfg).eval()


@pytest.mark.parametrize("key", MODELS)
def test_names_and_shapes(key):
    # On the device "meta" a model has shapes and no values: nothing is drawn at random.
    with torch.device("meta"):
        model = model_of(key, device="meta")
    got = {name: list(value.shape) for name, value in model.state_dict().items()}
    ours = names_of(key)
    want = {ours[name.removeprefix("module.")]: s for name, s, *_ in MODELS[key]["state_dict"]}
    want.pop(None, None)  # counters
    if key.startswith("mmdet"):  # no biases in its towers; scales without dimensions
        for name in set(got) - set(want):
            assert "_tower." in name and name.endswith(".bias")
            want[name] = [256]
        want |= {name: [1] for name in want if name.endswith(".scale")}
    assert got == want


def photo(is_rgb):
    rgb = VALUES["photo/rgb"]
    pixels = rgb if is_rgb else rgb[:, :, ::-1]
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    return {"image": image, "height": rgb.shape[0], "width": rgb.shape[1]}


def head_and_detections(model, is_rgb):
    """Head outputs on the picture, and its detections in the order of classes and scores."""
    seen = []
    hook = model.proposal_generator.fcos_head.register_forward_hook(
        lambda _, features, outputs: seen.append(outputs)
    )
    (result,) = model([photo(is_rgb)])
    hook.remove()
    return seen[0], result["instances"]


def in_one_order(boxes, scores, classes):
    order = np.lexsort((boxes[:, 0], -scores.round(4), classes))
    return boxes[order], scores[order], classes[order]


def check(key, model):
    """Compare with the reference values, within the tolerances that they come with."""
    with torch.no_grad():
        outputs, result = head_and_detections(model, is_rgb=key.startswith("torchvision"))
    in_pixels = key.startswith(("tianzhi", "mmdet"))
    for name, levels, atol in zip(("cls", "reg", "ctr"), outputs, (1e-4, 1e-3, 1e-4), strict=True):
        for level, stride, got in zip(LEVELS, STRIDES, levels, strict=False):
            if f"{key}/head/{name}/p{level}" not in VALUES:
                continue
            want = torch.tensor(VALUES[f"{key}/head/{name}/p{level}"])
            if name == "reg" and key.startswith("d2"):
                want = want.relu()
            unit = stride if name == "reg" and in_pixels else 1
            if unit != 1 and model.proposal_generator.normalize_reg_targets:
                got = got * stride
            torch.testing.assert_close(got, want, atol=atol * unit, rtol=0)
    boxes = result.pred_boxes.tensor
    got = in_one_order(*(x.cpu().numpy() for x in (boxes, result.scores, result.pred_classes)))
    want = in_one_order(*(VALUES[f"{key}/det/{name}"] for name in ("boxes", "scores", "classes")))
    np.testing.assert_array_equal(got[2], want[2])
    np.testing.assert_allclose(got[1], want[1], atol=1e-5, rtol=0)
    np.testing.assert_allclose(got[0], want[0], atol=0.01, rtol=0)


@pytest.mark.parametrize("key", MODELS)
def test_head_and_detections_equal_the_reference(key):
    model = model_of(key)
    weights = FAMILIES[family_of(key)].to_ours(weights_of(key)).weights
    model.load_state_dict(weights)
    check(key, model)
    if key == "adet_R_50_1x":  # AdelaiDet's R_50_1x_iou computes the same at inference
        iou = model_of(key, BOX_QUALITY="iou")
        iou.load_state_dict(weights)
        check(key, iou)
