"""Every config key that FCOS adds to detectron2's, with its default.

``import fcos`` changes no default of detectron2; the keys exist in the config that
:func:`get_cfg` returns and in those that :func:`add_fcos_config` was called on.
"""

from __future__ import annotations

import detectron2.config
from fcos.config.config import CfgNode

_MODEL_FCOS = {
    # --- features -------------------------------------------------------------------------
    # Number of levels made on top of the FPN: 2 (P6, P7), 1 (P6) or 0.
    "TOP_LEVELS": 2,
    # What P6 is computed from: "p5", or "res5" for the C5 of the paper's first rows.
    "TOP_IN_FEATURE": "p5",
    # The features that the head runs on, finest first, and the pixels between two of their
    # locations (pixels of the network input).
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "FPN_STRIDES": [8, 16, 32, 64, 128],
    # Limits between the levels for max(l, t, r, b), in pixels of the network input: the first
    # level takes [0, 64], the next [64, 128], ... the last [512, infinity). Both ends belong
    # to a level, as in the paper (Sec. 3.2).
    "SIZES_OF_INTEREST": [64, 128, 256, 512],
    # --- head -----------------------------------------------------------------------------
    # Number of object classes, without background.
    "NUM_CLASSES": 80,
    # 3x3 convolutions in a tower before the two branches part, and in each branch after that.
    "NUM_SHARED_CONVS": 0,
    "NUM_STACKED_CONVS": 4,
    # Score that every class has everywhere before training (focal loss paper, Sec. 3.3).
    "PRIOR_PROB": 0.01,
    # Normalisation in the towers: "none" or "GN" (32 groups).
    "NORM": "none",
    # Deformable convolution in the last layer of the towers: not available yet.
    "USE_DEFORMABLE": False,
    # Predict centerness from the box branch instead of the class branch.
    "CTR_ON_REG": False,
    # --- targets --------------------------------------------------------------------------
    # Only locations within POS_RADIUS strides of a box's middle (and inside the box) are
    # positive. Off: every location inside the box.
    "CENTER_SAMPLE": False,
    "POS_RADIUS": 1.5,
    # Learn distances in strides of the level, with relu on the box output. Off: in pixels,
    # with exp.
    "NORMALIZE_REG_TARGETS": False,
    # Count the right and bottom pixel as part of a box (width x2 - x1 + 1), as the original
    # implementation does in the areas of ambiguous boxes, in clipping and in NMS.
    "INCLUSIVE_PIXELS": False,
    # --- losses ---------------------------------------------------------------------------
    "LOSS_ALPHA": 0.25,
    "LOSS_GAMMA": 2.0,
    # "iou" (-log IoU), "linear_iou" (1 - IoU) or "giou".
    "LOC_LOSS_TYPE": "iou",
    # --- inference ------------------------------------------------------------------------
    # A class counts at a location when its probability is above this; with THRESH_WITH_CTR,
    # when probability times centerness is.
    "SCORE_THRESH_TEST": 0.05,
    "THRESH_WITH_CTR": False,
    # IoU above which the lower-scored of two boxes of one class is dropped.
    "NMS_THRESH_TEST": 0.6,
    # Candidates per level that enter NMS; detections per image that leave it.
    "NMS_PRE_TOPK": 1000,
    "NMS_POST_TOPK": 100,
    # --- regions for ROI heads ------------------------------------------------------------
    # The same four for the detections that ROI heads, such as a mask head, are trained on
    # (MODEL.META_ARCHITECTURE "GeneralizedRCNN"). A detector that has just begun has none above
    # this threshold: its ROI heads start with the ground-truth boxes.
    "SCORE_THRESH_TRAIN": 0.05,
    "NMS_THRESH_TRAIN": 0.6,
    "NMS_PRE_TOPK_TRAIN": 1000,
    "NMS_POST_TOPK_TRAIN": 100,
    # --- weights --------------------------------------------------------------------------
    # Accept weights for another number of classes: their class-logit layer is left out and
    # starts from its initialisation.
    "REINIT_CLS_LOGITS": False,
}


def get_cfg() -> CfgNode:
    """A fresh copy of detectron2's default config with the keys of FCOS added."""
    cfg = CfgNode(detectron2.config.get_cfg())
    add_fcos_config(cfg)
    return cfg


def add_fcos_config(cfg: detectron2.config.CfgNode) -> None:
    """Add the keys of FCOS to ``cfg``, in place.

    Args:
        cfg: a config with detectron2's keys. Best is :func:`get_cfg`, whose nodes also name the
            nearest key for a mistyped one.
    """
    node = type(cfg)
    cfg.MODEL.FCOS = node(_MODEL_FCOS)

    # Data sets in COCO's format, registered before training, evaluation or the demo:
    #   CUSTOM: {my_train: {JSON: my/train.json, IMAGES: my/images}}
    # A relative path starts at the folder in the variable DETECTRON2_DATASETS ("datasets").
    cfg.DATASETS.CUSTOM = node(new_allowed=True)

    # The best checkpoint is the one with the largest value of this metric on DATASETS.TEST.
    cfg.TEST.BEST_METRIC = "bbox/AP"
