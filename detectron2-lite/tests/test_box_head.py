"""The box head of Faster R-CNN: its layers and what they give."""

import pytest
import torch
from torch import nn

import detectron2
from detectron2.config import get_cfg
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_box_head
from detectron2.modeling.roi_heads import FastRCNNConvFCHead

lite_only = pytest.mark.skipif(
    not detectron2.__version__.endswith("+lite"), reason="a message of detectron2-lite's own"
)
REGION = ShapeSpec(channels=3, height=4, width=5)


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def test_convolutions_and_connected_layers():
    head = FastRCNNConvFCHead(REGION, conv_dims=[6, 2], fc_dims=[7, 8])
    assert shapes(head) == {
        "conv1.weight": (6, 3, 3, 3),
        "conv1.bias": (6,),
        "conv2.weight": (2, 6, 3, 3),
        "conv2.bias": (2,),
        "fc1.weight": (7, 2 * 4 * 5),
        "fc1.bias": (7,),
        "fc2.weight": (8, 7),
        "fc2.bias": (8,),
    }
    out = head(torch.randn(9, 3, 4, 5))
    assert out.shape == (9, 8) and (out >= 0).all()
    assert head.output_shape == ShapeSpec(channels=8)
    assert head(torch.zeros(0, 3, 4, 5)).shape == (0, 8)


def test_convolutions_alone():
    head = FastRCNNConvFCHead(REGION, conv_dims=[6], fc_dims=[], conv_norm="BN")
    assert "conv1.bias" not in shapes(head) and shapes(head)["conv1.norm.weight"] == (6,)
    assert head.output_shape == ShapeSpec(channels=6, height=4, width=5)
    assert head(torch.zeros(2, 3, 4, 5)).shape == (2, 6, 4, 5)


def test_what_it_computes():
    torch.manual_seed(0)
    head, x = FastRCNNConvFCHead(REGION, conv_dims=[2], fc_dims=[3]), torch.randn(2, 3, 4, 5)
    features = nn.functional.conv2d(x, head.conv1.weight, head.conv1.bias, padding=1).relu()
    expected = nn.functional.linear(features.flatten(1), head.fc1.weight, head.fc1.bias).relu()
    torch.testing.assert_close(head(x), expected)


def test_by_config():
    cfg = get_cfg()
    cfg.merge_from_list("MODEL.ROI_BOX_HEAD.NAME FastRCNNConvFCHead".split())
    cfg.merge_from_list("MODEL.ROI_BOX_HEAD.NUM_FC 2 MODEL.ROI_BOX_HEAD.FC_DIM 6".split())
    cfg.merge_from_list("MODEL.ROI_BOX_HEAD.NUM_CONV 1 MODEL.ROI_BOX_HEAD.CONV_DIM 5".split())
    cfg.MODEL.ROI_BOX_HEAD.NORM = "GN"
    cfg.MODEL.ROI_BOX_HEAD.CONV_DIM = 32
    head = build_box_head(cfg, REGION)
    assert isinstance(head, FastRCNNConvFCHead)
    assert shapes(head)["conv1.norm.weight"] == (32,)
    assert shapes(head)["fc2.weight"] == (6, 6)


@lite_only
def test_no_layer_at_all():
    with pytest.raises(ValueError, match="NUM_CONV and NUM_FC are 0"):
        FastRCNNConvFCHead(REGION, conv_dims=[], fc_dims=[])
