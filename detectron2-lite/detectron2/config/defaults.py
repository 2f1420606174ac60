"""Every key of the config with its default.

Keys of features that detectron2-lite leaves out are here too, so that any detectron2 YAML merges;
such a feature fails when something turns it on.  Sizes and boxes are in pixels of the network's
input unless a comment says otherwise.
"""

from __future__ import annotations

from typing import Any

_UNIT_BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
_ROI_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)

# Backbones, and what makes regions or detections of their features.
_MODEL: dict[str, Any] = {
    "META_ARCHITECTURE": "GeneralizedRCNN",  # a name in META_ARCH_REGISTRY
    "DEVICE": "cuda",
    "WEIGHTS": "",  # a .pth or .pkl file: a path, detectron2://... or https://...
    "MASK_ON": False,
    "KEYPOINT_ON": False,
    "LOAD_PROPOSALS": False,
    # Taken off and divided by, per channel in the order of INPUT.FORMAT, values 0..255. A std of
    # one belongs to the ImageNet models that were converted from Caffe2.
    "PIXEL_MEAN": [103.53, 116.28, 123.675],
    "PIXEL_STD": [1.0, 1.0, 1.0],
    "BACKBONE": {
        "NAME": "build_resnet_backbone",  # a name in BACKBONE_REGISTRY
        "FREEZE_AT": 2,  # stages that do not train: 0 none, 1 the stem, 2 stem and res2
    },
    "RESNETS": {
        "DEPTH": 50,  # 18, 34, 50, 101 or 152
        "OUT_FEATURES": ["res4"],
        "NORM": "FrozenBN",  # what detectron2.layers.get_norm takes
        "NUM_GROUPS": 1,  # more than one: ResNeXt
        "WIDTH_PER_GROUP": 64,
        "STEM_OUT_CHANNELS": 64,
        "RES2_OUT_CHANNELS": 256,
        "STRIDE_IN_1X1": True,  # of a bottleneck; False for weights from torchvision or ResNeXt
        "RES5_DILATION": 1,
        "DEFORM_ON_PER_STAGE": [False, False, False, False],  # res2..res5
        "DEFORM_MODULATED": False,
        "DEFORM_NUM_GROUPS": 1,
    },
    "FPN": {
        "IN_FEATURES": [],
        "OUT_CHANNELS": 256,
        "NORM": "",
        "FUSE_TYPE": "sum",  # or "avg"
    },
    "PROPOSAL_GENERATOR": {
        "NAME": "RPN",  # a name in PROPOSAL_GENERATOR_REGISTRY, or "PrecomputedProposals"
        "MIN_SIZE": 0,
    },
    "ANCHOR_GENERATOR": {
        "NAME": "DefaultAnchorGenerator",
        "SIZES": [[32, 64, 128, 256, 512]],  # one list for all levels, or one per level
        "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],  # height / width
        "ANGLES": [[-90, 0, 90]],  # degrees, of rotated anchors
        "OFFSET": 0.0,  # of the first anchor's centre, in strides
    },
    "RPN": {
        "HEAD_NAME": "StandardRPNHead",
        "IN_FEATURES": ["res4"],
        "CONV_DIMS": [-1],
        "BOUNDARY_THRESH": -1,  # anchors further outside than this are not used; -1 for all
        "IOU_THRESHOLDS": [0.3, 0.7],
        "IOU_LABELS": [0, -1, 1],  # below, between and above the thresholds
        "BATCH_SIZE_PER_IMAGE": 256,
        "POSITIVE_FRACTION": 0.5,
        "BBOX_REG_LOSS_TYPE": "smooth_l1",
        "BBOX_REG_LOSS_WEIGHT": 1.0,
        "BBOX_REG_WEIGHTS": _UNIT_BOX_WEIGHTS,
        "SMOOTH_L1_BETA": 0.0,  # zero: L1
        "LOSS_WEIGHT": 1.0,
        "PRE_NMS_TOPK_TRAIN": 12000,  # per level with FPN
        "PRE_NMS_TOPK_TEST": 6000,
        "POST_NMS_TOPK_TRAIN": 2000,
        "POST_NMS_TOPK_TEST": 1000,
        "NMS_THRESH": 0.7,
    },
    "RETINANET": {
        "NUM_CLASSES": 80,
        "IN_FEATURES": ["p3", "p4", "p5", "p6", "p7"],
        "NUM_CONVS": 4,
        "NORM": "",
        "PRIOR_PROB": 0.01,
        "IOU_THRESHOLDS": [0.4, 0.5],
        "IOU_LABELS": [0, -1, 1],
        "FOCAL_LOSS_ALPHA": 0.25,
        "FOCAL_LOSS_GAMMA": 2.0,
        "BBOX_REG_LOSS_TYPE": "smooth_l1",
        "BBOX_REG_WEIGHTS": _UNIT_BOX_WEIGHTS,
        "SMOOTH_L1_LOSS_BETA": 0.1,
        "SCORE_THRESH_TEST": 0.05,
        "TOPK_CANDIDATES_TEST": 1000,
        "NMS_THRESH_TEST": 0.5,
    },
}

# Heads that look at regions of the features.
_ROI_POOLER = {
    "POOLER_TYPE": "ROIAlignV2",
    "POOLER_RESOLUTION": 14,
    "POOLER_SAMPLING_RATIO": 0,  # samples per bin and side; zero: as many as the bin is large
}
_ROI_HEADS: dict[str, Any] = {
    "ROI_HEADS": {
        "NAME": "Res5ROIHeads",  # a name in ROI_HEADS_REGISTRY
        "NUM_CLASSES": 80,  # without background
        "IN_FEATURES": ["res4"],
        "IOU_THRESHOLDS": [0.5],
        "IOU_LABELS": [0, 1],
        "BATCH_SIZE_PER_IMAGE": 512,  # regions sampled for training
        "POSITIVE_FRACTION": 0.25,
        "PROPOSAL_APPEND_GT": True,
        "SCORE_THRESH_TEST": 0.05,
        "NMS_THRESH_TEST": 0.5,
    },
    "ROI_BOX_HEAD": {
        **_ROI_POOLER,
        "NAME": "",
        "NUM_CONV": 0,
        "CONV_DIM": 256,
        "NUM_FC": 0,
        "FC_DIM": 1024,
        "NORM": "",
        "BBOX_REG_LOSS_TYPE": "smooth_l1",
        "BBOX_REG_LOSS_WEIGHT": 1.0,
        "BBOX_REG_WEIGHTS": _ROI_BOX_WEIGHTS,
        "SMOOTH_L1_BETA": 0.0,
        "CLS_AGNOSTIC_BBOX_REG": False,
        "TRAIN_ON_PRED_BOXES": False,
        "USE_SIGMOID_CE": False,
        "USE_FED_LOSS": False,  # federated loss, for LVIS
        "FED_LOSS_NUM_CLASSES": 50,
        "FED_LOSS_FREQ_WEIGHT_POWER": 0.5,
    },
    "ROI_BOX_CASCADE_HEAD": {
        "IOUS": (0.5, 0.6, 0.7),
        "BBOX_REG_WEIGHTS": (
            _ROI_BOX_WEIGHTS,
            (20.0, 20.0, 10.0, 10.0),
            (30.0, 30.0, 15.0, 15.0),
        ),
    },
    "ROI_MASK_HEAD": {
        **_ROI_POOLER,
        "NAME": "MaskRCNNConvUpsampleHead",
        "NUM_CONV": 0,
        "CONV_DIM": 256,
        "NORM": "",
        "CLS_AGNOSTIC_MASK": False,
    },
    "ROI_KEYPOINT_HEAD": {
        **_ROI_POOLER,
        "NAME": "KRCNNConvDeconvUpsampleHead",
        "CONV_DIMS": (512,) * 8,
        "NUM_KEYPOINTS": 17,
        "MIN_KEYPOINTS_PER_IMAGE": 1,
        "NORMALIZE_LOSS_BY_VISIBLE_KEYPOINTS": True,
        "LOSS_WEIGHT": 1.0,
    },
}

# Semantic and panoptic segmentation.
_SEGMENTATION: dict[str, Any] = {
    "SEM_SEG_HEAD": {
        "NAME": "SemSegFPNHead",
        "NUM_CLASSES": 54,
        "IN_FEATURES": ["p2", "p3", "p4", "p5"],
        "CONVS_DIM": 128,
        "COMMON_STRIDE": 4,
        "NORM": "GN",
        "IGNORE_VALUE": 255,
        "LOSS_WEIGHT": 1.0,
    },
    "PANOPTIC_FPN": {
        "INSTANCE_LOSS_WEIGHT": 1.0,
        "COMBINE": {
            "ENABLED": True,
            "OVERLAP_THRESH": 0.5,
            "STUFF_AREA_LIMIT": 4096,  # square pixels
            "INSTANCES_CONFIDENCE_THRESH": 0.5,
        },
    },
}

DEFAULTS: dict[str, Any] = {
    "VERSION": 2,
    "MODEL": {**_MODEL, **_ROI_HEADS, **_SEGMENTATION},
    "INPUT": {
        "FORMAT": "BGR",  # the order of the image's channels
        "MIN_SIZE_TRAIN": (800,),  # the short side; drawn from these, or between two of them
        "MIN_SIZE_TRAIN_SAMPLING": "choice",  # or "range"
        "MAX_SIZE_TRAIN": 1333,  # the long side; it lowers the short one where necessary
        "MIN_SIZE_TEST": 800,  # zero: images keep their size
        "MAX_SIZE_TEST": 1333,
        "RANDOM_FLIP": "horizontal",  # or "vertical", "none"
        "CROP": {
            "ENABLED": False,
            # "relative", "relative_range" (fractions of the sides), "absolute",
            # "absolute_range" (pixels)
            "TYPE": "relative_range",
            "SIZE": [0.9, 0.9],  # height, width
        },
        "MASK_FORMAT": "polygon",  # or "bitmask"
    },
    # Names in the DatasetCatalog; proposal files belong to them one by one.
    "DATASETS": {
        "TRAIN": (),
        "TEST": (),
        "PROPOSAL_FILES_TRAIN": (),
        "PROPOSAL_FILES_TEST": (),
        "PRECOMPUTED_PROPOSAL_TOPK_TRAIN": 2000,
        "PRECOMPUTED_PROPOSAL_TOPK_TEST": 1000,
    },
    "DATALOADER": {
        "NUM_WORKERS": 4,  # per process; zero loads in the process itself
        "ASPECT_RATIO_GROUPING": True,  # a batch holds only wide or only tall images
        "SAMPLER_TRAIN": "TrainingSampler",  # or "RepeatFactorTrainingSampler"
        "REPEAT_THRESHOLD": 0.0,  # classes in a smaller fraction of the images are repeated
        "REPEAT_SQRT": True,
        "FILTER_EMPTY_ANNOTATIONS": True,  # images without objects are not trained on
    },
    "SOLVER": {
        "MAX_ITER": 40000,
        "IMS_PER_BATCH": 16,  # over all processes
        "REFERENCE_WORLD_SIZE": 0,  # number of processes the schedule is meant for; zero: any
        "BASE_LR": 0.001,
        "BASE_LR_END": 0.0,  # where the cosine schedule ends
        "LR_SCHEDULER_NAME": "WarmupMultiStepLR",
        "STEPS": (30000,),  # iterations at which the rate is multiplied by GAMMA
        "GAMMA": 0.1,
        "NUM_DECAYS": 3,  # of WarmupStepWithFixedGammaLR
        "WARMUP_METHOD": "linear",  # or "constant"
        "WARMUP_ITERS": 1000,
        "WARMUP_FACTOR": 0.001,
        "RESCALE_INTERVAL": False,
        "MOMENTUM": 0.9,
        "NESTEROV": False,
        "WEIGHT_DECAY": 0.0001,
        "WEIGHT_DECAY_NORM": 0.0,
        "WEIGHT_DECAY_BIAS": None,  # None: as the weights
        "BIAS_LR_FACTOR": 1.0,
        "CLIP_GRADIENTS": {
            "ENABLED": False,
            "CLIP_TYPE": "value",  # per element; "norm" per parameter
            "CLIP_VALUE": 1.0,
            "NORM_TYPE": 2.0,
        },
        "AMP": {"ENABLED": False},
        "CHECKPOINT_PERIOD": 5000,  # iterations
    },
    "TEST": {
        "DETECTIONS_PER_IMAGE": 100,
        "EVAL_PERIOD": 0,  # iterations; zero: only after training
        # [dataset, task, metric, value, tolerance] each: checked after the evaluation
        "EXPECTED_RESULTS": [],
        "KEYPOINT_OKS_SIGMAS": [],
        "AUG": {
            "ENABLED": False,
            "MIN_SIZES": (400, 500, 600, 700, 800, 900, 1000, 1100, 1200),
            "MAX_SIZE": 4000,
            "FLIP": True,
        },
        "PRECISE_BN": {"ENABLED": False, "NUM_ITER": 200},
    },
    "OUTPUT_DIR": "./output",
    "SEED": -1,  # negative: another one each time
    "CUDNN_BENCHMARK": False,
    "FLOAT32_PRECISION": "",  # of matrix products: "highest", "high", "medium"; "": torch's own
    "VIS_PERIOD": 0,  # iterations between two pictures in the event log; zero: none
    "GLOBAL": {"HACK": 1.0},  # for experiments; nothing reads it
}
