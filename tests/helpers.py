"""What several test modules share."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

# What the tests of the method run on (tests/on_device.py).
DEVICE = os.environ.get("FCOS_TEST_DEVICE", "cpu")
not_imagined = pytest.mark.skipif(DEVICE == "imagined", reason="torch needs a real GPU for it")
GOLDEN = Path(__file__).parent / "golden"
STRIDES = (8, 16, 32, 64, 128)
LEVELS = range(3, 8)


def golden(name: str):
    return np.load(GOLDEN / name, allow_pickle=False)


def ground_truth(boxes, classes):
    """An object with the two fields that target assignment reads."""
    return SimpleNamespace(
        gt_boxes=SimpleNamespace(tensor=torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4)),
        gt_classes=torch.as_tensor(classes, dtype=torch.int64),
    )


def flatten(levels):
    """Per level (N, X, H, W) to (N, L, X)."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in levels], dim=1)


def strides_of_locations(feature_sizes):
    return torch.cat(
        [torch.full((h * w, 1), float(s)) for (h, w), s in zip(feature_sizes, STRIDES, strict=True)]
    )


def raw_outputs(values, prefix=""):
    """The head outputs of a reference file: three lists over levels."""
    return [
        [torch.tensor(values[f"{prefix}{name}/p{level}"]) for level in LEVELS]
        for name in ("cls", "reg", "ctr")
    ]


TINY = """
MODEL.DEVICE {DEVICE}
MODEL.META_ARCHITECTURE OneStageDetector
MODEL.PROPOSAL_GENERATOR.NAME FCOS
MODEL.BACKBONE.NAME build_fcos_resnet_fpn_backbone
MODEL.BACKBONE.FREEZE_AT 0
MODEL.RESNETS.DEPTH 18
MODEL.RESNETS.RES2_OUT_CHANNELS 64
MODEL.RESNETS.NORM BN
MODEL.RESNETS.OUT_FEATURES ['res3','res4','res5']
MODEL.FPN.IN_FEATURES ['res3','res4','res5']
MODEL.FPN.OUT_CHANNELS 32
MODEL.FCOS.NUM_CLASSES 3
MODEL.FCOS.NUM_STACKED_CONVS 1
"""


def tiny_cfg():
    """The smallest detector that is a whole one: ResNet-18 with BN, 32 channels, 3 classes."""
    from fcos.config import get_cfg

    cfg = get_cfg()
    cfg.merge_from_list(TINY.format(DEVICE=DEVICE).split())
    return cfg


MASKS = """
MODEL.META_ARCHITECTURE GeneralizedRCNN
MODEL.MASK_ON True
MODEL.ROI_HEADS.NAME FCOSMaskROIHeads
MODEL.ROI_HEADS.NUM_CLASSES 3
MODEL.ROI_HEADS.IN_FEATURES ['p3','p4','p5']
MODEL.ROI_MASK_HEAD.NUM_CONV 1
MODEL.ROI_MASK_HEAD.CONV_DIM 16
MODEL.FCOS.SCORE_THRESH_TRAIN 0.0
"""


def tiny_mask_cfg():
    """The same with a mask head, which is trained on whatever the detector says."""
    cfg = tiny_cfg()
    cfg.merge_from_list(MASKS.split())
    return cfg


def write_model(folder, cfg):
    """Config and random weights that detect something in everything; returns ``folder``."""
    from detectron2.modeling import build_model
    from fcos.checkpoint import AdetCheckpointer

    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 64, 128
    cfg.MODEL.WEIGHTS = str(folder / "model.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    torch.manual_seed(0)
    model = build_model(cfg)
    logits = model.proposal_generator.fcos_head.cls_logits
    torch.nn.init.normal_(logits.weight, std=0.3)  # low and high scores
    torch.nn.init.zeros_(logits.bias)
    if cfg.MODEL.MASK_ON:
        torch.nn.init.normal_(model.proposal_generator.fcos_head.bbox_pred.bias, mean=2, std=0.1)
        torch.nn.init.normal_(model.roi_heads.mask_head.predictor.bias, mean=5, std=0.1)
    checkpointer = AdetCheckpointer(model, str(folder))
    checkpointer.class_names = ["cat", "dog", "bird"]
    checkpointer.save("model")
    checkpointer.class_names = []
    checkpointer.save("nameless")
    return folder
