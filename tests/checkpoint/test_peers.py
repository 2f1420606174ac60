"""Exported weights in the implementation whose layout they have: the same detections there.

torchvision's is in test_main.py.
"""

import numpy as np
import pytest
import torch

from detectron2.modeling import build_model
from fcos_cli.checkpoint import main
from tests.helpers import golden, tiny_cfg
from tests.published import filled

RULES = [
    ["cls_logits.weight", {"factor": 2.0}],
    ["cls_logits.bias", {"shift": -5.0}],
    ["bbox_pred.weight", {"factor": 2.5}],
    ["bbox_pred.bias", {"shift": 1.5}],
]


@pytest.fixture(scope="module")
def detectron2_fcos():
    try:
        from detectron2.modeling.meta_arch import fcos
    except NotImplementedError as error:  # by the pure-Python part of it
        pytest.skip(str(error))
    return fcos


def our_detector():
    """One whose architecture and rules of inference are those of configs/published/detectron2."""
    cfg = tiny_cfg()
    cfg.merge_from_list(
        "MODEL.RESNETS.NORM FrozenBN MODEL.FCOS.NUM_STACKED_CONVS 2 MODEL.FCOS.NORM GN "
        "MODEL.FCOS.USE_SCALE False MODEL.FCOS.THRESH_WITH_CTR True "
        "MODEL.FCOS.SCORE_THRESH_TEST 0.04 MODEL.FCOS.NORMALIZE_REG_TARGETS True "
        "MODEL.FCOS.CTR_ON_REG True MODEL.FCOS.CENTER_SAMPLE True".split()
    )
    model = build_model(cfg).eval()
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict({name: filled(name, shape, RULES) for name, shape in shapes.items()})
    return cfg, model


def their_detector(fcos, cfg):
    from detectron2.modeling import FPN, ResNet
    from detectron2.modeling.backbone import BasicStem
    from detectron2.modeling.backbone.fpn import LastLevelP6P7

    channels, names = cfg.MODEL.FPN.OUT_CHANNELS, ["res3", "res4", "res5"]
    stages = ResNet.make_default_stages(depth=18, norm="FrozenBN")
    backbone = FPN(
        ResNet(BasicStem(norm="FrozenBN"), stages, out_features=names),
        names,
        channels,
        top_block=LastLevelP6P7(channels, channels, "p5"),
    )
    shape = backbone.output_shape()["p3"]
    head = fcos.FCOSHead(
        input_shape=[shape] * 5, num_classes=3, conv_dims=[channels] * 2, norm="GN"
    )
    return fcos.FCOS(
        backbone=backbone,
        head=head,
        head_in_features=["p3", "p4", "p5", "p6", "p7"],
        num_classes=3,
        pixel_mean=cfg.MODEL.PIXEL_MEAN,
        pixel_std=cfg.MODEL.PIXEL_STD,
        test_score_thresh=0.2,
        test_nms_thresh=0.6,
    ).eval()


def test_detectron2_finds_the_same_with_exported_weights(detectron2_fcos, tmp_path):
    cfg, ours = our_detector()
    torch.save(ours.state_dict(), tmp_path / "a.pth")
    arguments = [str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "--to", "detectron2"]
    assert main(["convert", *arguments]) == 0
    theirs = their_detector(detectron2_fcos, cfg)
    theirs.load_state_dict(torch.load(tmp_path / "b.pth", weights_only=True)["model"], strict=True)
    rgb = golden("models.npz")["photo/rgb"]
    image = torch.from_numpy(np.ascontiguousarray(rgb[:, :, ::-1].transpose(2, 0, 1)))
    given = [{"image": image, "height": 100, "width": 141}]
    with torch.no_grad():
        found, wanted = (model(given)[0]["instances"] for model in (ours, theirs))
    assert 20 < len(wanted) < 100
    assert found.pred_classes.equal(wanted.pred_classes)
    torch.testing.assert_close(found.scores, wanted.scores, atol=1e-5, rtol=0)
    boxes = found.pred_boxes.tensor, wanted.pred_boxes.tensor
    torch.testing.assert_close(*boxes, atol=1e-3, rtol=0)
