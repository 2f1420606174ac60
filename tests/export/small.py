"""A detector so small that an exporter takes seconds, and that finds many things in noise."""

from __future__ import annotations

import torch
from torch import nn

from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_model
from fcos.config import get_cfg
from fcos.modeling.backbone.fpn import add_fpn

OPTIONS = """
MODEL.DEVICE cpu
MODEL.META_ARCHITECTURE OneStageDetector
MODEL.PROPOSAL_GENERATOR.NAME FCOS
MODEL.BACKBONE.NAME build_small_backbone
MODEL.PIXEL_STD [57.375,57.12,58.395]
MODEL.FPN.IN_FEATURES ['res3','res4']
MODEL.FPN.OUT_CHANNELS 64
MODEL.FCOS.TOP_LEVELS 0
MODEL.FCOS.IN_FEATURES ['p3','p4']
MODEL.FCOS.FPN_STRIDES [8,16]
MODEL.FCOS.SIZES_OF_INTEREST []
MODEL.FCOS.NUM_CLASSES 3
MODEL.FCOS.NUM_STACKED_CONVS 1
MODEL.FCOS.NORM GN
MODEL.FCOS.NORMALIZE_REG_TARGETS True
MODEL.FCOS.NMS_PRE_TOPK 60
MODEL.FCOS.NMS_POST_TOPK 40
INPUT.MIN_SIZE_TEST 96
INPUT.MAX_SIZE_TEST 160
"""

MASKS = """
MODEL.META_ARCHITECTURE GeneralizedRCNN
MODEL.MASK_ON True
MODEL.ROI_HEADS.NAME FCOSMaskROIHeads
MODEL.ROI_HEADS.NUM_CLASSES 3
MODEL.ROI_HEADS.IN_FEATURES ['p3','p4']
MODEL.ROI_MASK_HEAD.NUM_CONV 1
MODEL.ROI_MASK_HEAD.CONV_DIM 8
MODEL.ROI_MASK_HEAD.POOLER_RESOLUTION 7
"""


class SmallNetwork(Backbone):
    """Two features, by a strided convolution each."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 7, stride=4, padding=3, bias=False)
        self.res3 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.res4 = nn.Conv2d(16, 16, 3, stride=2, padding=1, bias=False)

    def forward(self, x):
        fine = self.res3(self.stem(x).relu()).relu()
        return {"res3": fine, "res4": self.res4(fine).relu()}

    def output_shape(self):
        return {f"res{i}": ShapeSpec(channels=16, stride=2**i) for i in (3, 4)}


if "build_small_backbone" not in BACKBONE_REGISTRY:

    @BACKBONE_REGISTRY.register()
    def build_small_backbone(cfg, input_shape):
        return add_fpn(cfg, SmallNetwork())


def small_cfg(*options):
    cfg = get_cfg()
    cfg.merge_from_list(OPTIONS.split())
    if "masks" in options:
        cfg.merge_from_list(MASKS.split())
    cfg.merge_from_list([option for option in options if option != "masks"])
    return cfg


def small_model(cfg, seed=2):
    """A model with weights under which noise has detections, and an image of mean pixels none."""
    cfg = cfg.clone()
    cfg.MODEL.CHANNELS_LAST = False  # as the command sets it, for torch.export
    torch.manual_seed(seed)
    model = build_model(cfg).eval()
    head = model.proposal_generator.fcos_head
    with torch.no_grad():
        head.cls_logits.weight.normal_(std=0.15)
        head.cls_logits.bias.fill_(-3.5)  # a probability of 0.03
        head.ctrness.weight.normal_(std=0.1)
        head.bbox_pred.weight.normal_(std=0.1)
        head.bbox_pred.bias.fill_(2.0)
        for norm in head.modules():
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_var.uniform_(1e-4, 1e-2)
        if cfg.MODEL.MASK_ON:
            model.roi_heads.mask_head.predictor.weight.normal_(std=1.0)
            # Between the sizes of its boxes, so that both levels have some.
            model.roi_heads.mask_pooler.canonical_box_size = 30
    return model


def noise(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
