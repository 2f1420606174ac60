"""Every config key that FCOS adds to detectron2's, with its default.

``import fcos`` changes no default of detectron2; the keys exist in the config that
:func:`get_cfg` returns and in those that :func:`add_fcos_config` was called on.
"""

from __future__ import annotations

from collections.abc import Sequence

import detectron2.config
from fcos.config.config import CfgNode

# "AP a -> b" is AP on COCO minival without and with a switch, as published in Table 3 of the paper
# (arXiv:1904.01355), where each switch joins the ones before it, or by the implementation named.
_MODEL_FCOS = {
    # --- features -------------------------------------------------------------------------
    # Number of levels made on top of the FPN: 2 (P6, P7), 1 (P6) or 0.
    "TOP_LEVELS": 2,
    # What P6 is computed from: "p5" (AP 36.3 -> 36.4), or "res5" for the paper's first rows.
    "TOP_IN_FEATURE": "p5",
    # The features that the head runs on, finest first, and the pixels between two of their
    # locations (pixels of the network input).
    "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
    "FPN_STRIDES": [8, 16, 32, 64, 128],
    # Limits between the levels for max(l, t, r, b), in pixels of the network input: the first
    # level takes [0, 64], the next [64, 128], ... the last [512, infinity). Both ends belong
    # to a level, as in the paper (Sec. 3.2). Empty: 8 strides of the finer of two levels, which is
    # the paper's for its strides and [32, 64, 128, 256] for P2..P6.
    "SIZES_OF_INTEREST": [64, 128, 256, 512],
    # --- head -----------------------------------------------------------------------------
    # Number of object classes, without background.
    "NUM_CLASSES": 80,
    # 3x3 convolutions in a tower before the two branches part, and in each branch after that.
    "NUM_SHARED_CONVS": 0,
    "NUM_STACKED_CONVS": 4,
    # Score that every class has everywhere before training (focal loss paper, Sec. 3.3).
    "PRIOR_PROB": 0.01,
    # Distance to all four sides that every location has before training, in strides, with
    # NORMALIZE_REG_TARGETS. 0, as published: boxes start without a size, where the loss has no
    # gradient. From far above most targets, steps that are too large take them there.
    "PRIOR_DISTANCE": 1.0,
    # Normalisation in the towers: "none", "GN" (32 groups), "BN" or "SyncBN" (each level has its
    # own statistics and factors; SyncBN takes them over all processes and trains on GPUs only).
    # GN: AP 36.5 -> 37.1.
    "NORM": "none",
    # Deformable convolution in the last layer of each of the two branches: v2 (modulated) or v1.
    # The backbone has keys of its own: MODEL.RESNETS.DEFORM_ON_PER_STAGE and DEFORM_MODULATED.
    # v2 in both: AP 38.7 -> 42.3 (tianzhi0549/FCOS).
    "USE_DEFORMABLE": False,
    "DEFORM_MODULATED": True,
    # A learnable factor for each level on the box output (Sec. 3.2).
    "USE_SCALE": True,
    # Predict centerness (or IoU) from the box branch instead of the class branch. AP 37.1 -> 37.4.
    "CTR_ON_REG": False,
    # --- targets --------------------------------------------------------------------------
    # Only locations within POS_RADIUS strides of a box's middle (and inside the box) are
    # positive. Off: every location inside the box. AP 37.4 -> 38.1.
    "CENTER_SAMPLE": False,
    "POS_RADIUS": 1.5,
    # Learn distances in strides of the level, with relu on the box output. Off: in pixels,
    # with exp. AP 38.3 -> 38.6.
    "NORMALIZE_REG_TARGETS": False,
    # Where the locations of a level with stride s lie: "middle", at floor(s/2) + k*s, or "corner",
    # at k*step, as in torchvision, whose step is the padded side divided by the number of cells.
    "LOCATION": "middle",
    # Count the right and bottom pixel as part of a box (width x2 - x1 + 1), as the original
    # implementation does in the areas of ambiguous boxes, in clipping and in NMS.
    "INCLUSIVE_PIXELS": False,
    # --- losses ---------------------------------------------------------------------------
    # Focal loss (arXiv:1708.02002, Eq. 5): the weight of a location's own class (all others have
    # 1 - alpha), and how much locations that are classified well are played down (0: not at all).
    "LOSS_ALPHA": 0.25,
    "LOSS_GAMMA": 2.0,
    # "iou" (-log IoU), "linear_iou" (1 - IoU) or "giou" (AP 38.1 -> 38.3).
    "LOC_LOSS_TYPE": "iou",
    # What the third output learns, and with it the weights of the box loss: "ctrness" (each
    # location weighted by its centerness target), or "iou", the IoU of the box that its location
    # predicts (all weighted equally). AP 38.7 -> 39.4 on val2017 (AdelaiDet).
    "BOX_QUALITY": "ctrness",
    # What the class loss is divided by: "fg", the number of positive locations of the batch,
    # "moving_fg", a moving average of it, or "all", the number of all locations.
    "LOSS_NORMALIZER": "fg",
    # --- inference ------------------------------------------------------------------------
    # A class counts at a location when its probability is above this; with THRESH_WITH_CTR,
    # when probability times centerness is.
    "SCORE_THRESH_TEST": 0.05,
    "THRESH_WITH_CTR": False,
    # Which candidates of a level enter NMS is decided by class probability alone, not by the
    # product (mmdetection).
    "RANK_BY_CLASS": False,
    # Clip boxes to the image before NMS, not after it (torchvision, mmdetection).
    "CLIP_BEFORE_NMS": False,
    # Boxes without width or height are left out "after" NMS, as by every detector of detectron2,
    # or "before" it (mmdetection), or "never" (the original, torchvision).
    "DROP_EMPTY": "after",
    # The score is the square root of probability times centerness, or the product (mmdetection).
    "SQRT_SCORE": True,
    # IoU above which the lower-scored of two boxes of one class is dropped.
    "NMS_THRESH_TEST": 0.6,
    # Candidates per level that enter NMS; detections per image that leave it (detectron2's
    # TEST.DETECTIONS_PER_IMAGE is not read).
    "NMS_PRE_TOPK": 1000,
    "NMS_POST_TOPK": 100,
    # --- regions for ROI heads ------------------------------------------------------------
    # The two thresholds and two numbers above, for the detections that ROI heads, such as a mask
    # head, are trained on (MODEL.META_ARCHITECTURE "GeneralizedRCNN"). A detector that has just
    # begun has none above this threshold: its ROI heads start with the ground-truth boxes.
    "SCORE_THRESH_TRAIN": 0.05,
    "NMS_THRESH_TRAIN": 0.6,
    "NMS_PRE_TOPK_TRAIN": 1000,
    "NMS_POST_TOPK_TRAIN": 100,
    # --- weights --------------------------------------------------------------------------
    # Accept weights for another number of classes: their class-logit layer is left out and
    # starts from its initialisation.
    "REINIT_CLS_LOGITS": False,
}

_MODEL_TIMM = {
    # With MODEL.BACKBONE.NAME build_fcos_timm_fpn_backbone: the model of timm below the FPN, such
    # as "convnext_tiny", also with the tag of its weights ("convnext_tiny.fb_in22k"). The feature
    # of stride 8 is called res3, that of 16 res4, ...; MODEL.FPN.IN_FEATURES chooses among them,
    # and those that MODEL.BACKBONE.FREEZE_AT counts are not trained.
    "NAME": "",
    # Start from timm's weights, downloaded once. MODEL.WEIGHTS, if given, takes their place.
    "PRETRAINED": False,
    # Batch normalisation in it: "FrozenBN" keeps the pretrained statistics and scales, as
    # MODEL.RESNETS.NORM does, because a GPU has too few images for statistics; "BN" and "SyncBN"
    # train them, which random weights need. Other kinds of normalisation are left alone.
    "NORM": "FrozenBN",
}


def get_cfg() -> CfgNode:
    """Return a fresh copy of detectron2's default config with the keys of FCOS added."""
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
    cfg.MODEL.TIMM = node(_MODEL_TIMM)

    # Keep images, features and weights in memory with the channels of a location side by side, in
    # which order convolutions are faster. Weights files stay the same; results, up to rounding.
    cfg.MODEL.CHANNELS_LAST = True
    # Train the backbone and the head as torch.compile makes them: compiled once, which takes
    # minutes, for images of all sizes. Needs Triton on a GPU, and a C++ compiler on the CPU, where
    # it makes a ResNet slower.
    cfg.MODEL.COMPILE = False
    # Forget what the stages of the backbone and the towers of the head computed, and compute it
    # again in the backward pass: the same bits, half of the memory, a third more time.
    cfg.MODEL.ACTIVATION_CHECKPOINTING = False

    _add_data_keys(cfg)
    _add_solver_keys(cfg)
    _add_test_keys(cfg)

    # Where scalars and pictures of a training (detectron2's VIS_PERIOD) go, beside metrics.json and
    # TensorBoard: "wandb" (Weights & Biases), "mlflow". The environment variables of their packages
    # say to which project and server (docs/TRAINING.md).
    cfg.LOGGERS = []


def _add_solver_keys(cfg: detectron2.config.CfgNode) -> None:
    # What SOLVER.AMP.ENABLED computes the forward pass in: "float16", with a gradient scaler, on
    # GPUs only; or "bfloat16", which has the range of float32 and needs no scaler. Losses are
    # computed, and weights kept, in float32.
    cfg.SOLVER.AMP.PRECISION = "float16"

    # "SGD", with MOMENTUM and NESTEROV, or "AdamW", as for transformers: usual are a BASE_LR of
    # 0.0001 for 16 images and a WEIGHT_DECAY of 0.05. AdamW does not decay norms and biases (unless
    # WEIGHT_DECAY_NORM, WEIGHT_DECAY_BIAS say so), other parameters of one dimension, and those
    # that timm names, such as the positions of a transformer.
    cfg.SOLVER.OPTIMIZER = "SGD"

    # Compute the gradients of the IMS_PER_BATCH images of an iteration in so many passes, for large
    # batches in little memory. Losses and gradients are those of one pass, up to rounding, but for
    # batch normalisation with statistics of the batch and the loss of a mask head.
    cfg.SOLVER.ACCUMULATION_STEPS = 1

    # Average the weights over the training, too, and evaluate and save the average beside them: how
    # much of it each iteration keeps, such as 0.999. Less in the first iterations, so that short
    # trainings have a good average. 0: no average.
    cfg.SOLVER.EMA_DECAY = 0.0


def _add_test_keys(cfg: detectron2.config.CfgNode) -> None:
    # The best checkpoint is the one with the best value of this metric on DATASETS.TEST: the
    # largest or, of a loss, the smallest.
    cfg.TEST.BEST_METRIC = "bbox/AP"

    # Compute the losses of DATASETS.TEST too at every evaluation, which takes about as long again.
    # They are logged as validation/total_loss, validation/loss_fcos_cls, ...
    cfg.TEST.VALIDATION_LOSS = False

    # End the training when so many evaluations in a row have been no better than the best one by
    # BEST_METRIC (with SOLVER.EMA_DECAY, neither those of the weights nor those of the average).
    # 0: go on up to SOLVER.MAX_ITER.
    cfg.TEST.PATIENCE = 0

    # Images that each process detects in at once, in evaluation and in the demo. They are padded to
    # one size, on which results depend a little, by group normalization for instance. Published
    # results are of 1.
    cfg.TEST.IMS_PER_BATCH = 1


def _add_data_keys(cfg: detectron2.config.CfgNode) -> None:
    # Data sets in COCO's format, registered before training, evaluation or the demo:
    #   CUSTOM: {my_train: {JSON: my/train.json, IMAGES: my/images}}
    # or in one of those that `fcos data import` reads, by its name in capitals:
    #   CUSTOM: {my_train: {VOC: my, SPLIT: train}}
    # with IMAGES where the images are elsewhere, and CLASSES, names in their order.
    # A relative path starts at the folder in the variable DETECTRON2_DATASETS ("datasets").
    cfg.DATASETS.CUSTOM = type(cfg)(new_allowed=True)

    # Stretch the range from the lowest to the highest value of each image of 16 bits, as cameras of
    # 10 or 12 bits need it. Off: 65,535 is white. Images of 8 bits stay as they are.
    cfg.INPUT.STRETCH_RANGE = False

    # Leave images out of training and evaluation that are missing, broken, of a kind that cannot be
    # read or of another size than annotated. All images are decoded first to find them. Off: the
    # first one ends the program.
    cfg.DATALOADER.SKIP_UNREADABLE = False

    # What is done to the images of a training before INPUT.CROP, resizing and INPUT.RANDOM_FLIP:
    # names of transforms of torchvision.transforms.v2, or Mosaic, alone or with their arguments:
    #   AUGMENTATIONS: [Mosaic, {RandomZoomOut: {p: 0.3}}, {ColorJitter: {brightness: 0.2}}]
    # docs/TRAINING.md lists them. After one that chooses the size of images (ScaleJitter, Resize,
    # ...), INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN do nothing.
    cfg.INPUT.AUGMENTATIONS = []


def read_cfg(config_file: str, options: Sequence[str] = ()) -> CfgNode:
    """Read a config file and change some of its keys.

    Args:
        config_file: path of the YAML file.
        options: ``KEY, VALUE, KEY, VALUE, ...``.

    Returns:
        The config, not frozen.

    Raises:
        UserError: there is no such file, or something in it or in ``options`` is wrong.
    """
    cfg = get_cfg()
    cfg.merge_from_file(config_file)
    cfg.merge_from_list(list(options))
    return cfg
