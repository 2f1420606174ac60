"""The keys of MODEL.FCOS for features, head, targets and losses."""

from __future__ import annotations

from fcos.config.keys.key import Group, Key, group
from fcos.config.keys.kinds import Choice, Number, Several, Switch, Text, Whole

__all__ = ["GROUPS"]

# "AP a -> b" is AP on COCO minival without and with a switch, as published in Table 3 of the paper
# (arXiv:1904.01355), where each switch joins the ones before it, or by the implementation named.

_CONVS = Whole(0, 100)

_FEATURES = group(
    "MODEL.FCOS",
    "features",
    Key(
        "TOP_LEVELS",
        Choice(0, 1, 2),
        "Number of levels made on top of the FPN: 2 (P6, P7), 1 (P6) or 0.",
        default=2,
    ),
    Key(
        "TOP_IN_FEATURE",
        Choice("p5", "res5"),
        'What P6 is computed from: "p5" (AP 36.3 -> 36.4), or "res5" for the first rows of the '
        "paper's Table 3.",
        default="p5",
    ),
    Key(
        "IN_FEATURES",
        Several(Text("a name of a feature"), 1, 20, "without repetition"),
        "The features that the head runs on, finest first.",
        default=["p3", "p4", "p5", "p6", "p7"],
    ),
    Key(
        "FPN_STRIDES",
        Several(Whole(1, 4096), 1, 20),
        "For each of IN_FEATURES the pixels of the network input between two of its locations.",
        default=[8, 16, 32, 64, 128],
    ),
    Key(
        "SIZES_OF_INTEREST",
        Several(Number(1, 100_000), 0, 19, "increasing"),
        "Limits between the levels for max(l, t, r, b), in pixels of the network input: the first "
        "level takes [0, 64], the next [64, 128], ... the last [512, infinity). Both ends belong "
        "to a level, as in the paper (Sec. 3.2). Empty: 8 strides of the finer of two levels, "
        "which is the paper's for its strides and [32, 64, 128, 256] for P2 to P6.",
        default=[64, 128, 256, 512],
    ),
)

_HEAD = group(
    "MODEL.FCOS",
    "head",
    Key(
        "NUM_CLASSES",
        Whole(1, 100_000),
        "Number of object classes, without background.",
        default=80,
    ),
    Key(
        "NUM_SHARED_CONVS",
        _CONVS,
        "3x3 convolutions in a tower before the two branches part.",
        default=0,
    ),
    Key("NUM_STACKED_CONVS", _CONVS, "3x3 convolutions in each branch after that.", default=4),
    Key(
        "PRIOR_PROB",
        Number(0.000_001, 0.9),
        "Score that every class has everywhere before training (focal loss paper, Sec. 3.3).",
        default=0.01,
    ),
    Key(
        "PRIOR_DISTANCE",
        Number(0, 1000),
        "Distance to all four sides that every location has before training, in strides, with "
        "NORMALIZE_REG_TARGETS. 0, as published: boxes start without a size, where the loss has "
        "no gradient. From far above most targets, steps that are too large take them there.",
        default=1.0,
    ),
    Key(
        "NORM",
        Choice("none", "GN", "BN", "SyncBN"),
        'Normalisation in the towers: "none", "GN" (32 groups), "BN" or "SyncBN" (each level has '
        "its own statistics and factors; SyncBN takes them over all processes and trains on GPUs "
        "only). GN: AP 36.5 -> 37.1.",
        default="none",
    ),
    Key(
        "USE_DEFORMABLE",
        Switch(),
        "Deformable convolution in the last layer of each of the two branches. The backbone has "
        "keys of its own: MODEL.RESNETS.DEFORM_ON_PER_STAGE and DEFORM_MODULATED. v2 in both: AP "
        "38.7 -> 42.3 (tianzhi0549/FCOS).",
        default=False,
    ),
    Key("DEFORM_MODULATED", Switch(), "That convolution is v2 (modulated), or v1.", default=True),
    Key(
        "USE_SCALE",
        Switch(),
        "A learnable factor for each level on the box output (Sec. 3.2).",
        default=True,
    ),
    Key(
        "CTR_ON_REG",
        Switch(),
        "Predict centerness (or IoU) from the box branch instead of the class branch. AP 37.1 -> "
        "37.4.",
        default=False,
    ),
)

_TARGETS = group(
    "MODEL.FCOS",
    "targets",
    Key(
        "CENTER_SAMPLE",
        Switch(),
        "Only locations within POS_RADIUS strides of a box's middle (and inside the box) are "
        "positive. Off: every location inside the box. AP 37.4 -> 38.1.",
        default=False,
    ),
    Key(
        "POS_RADIUS",
        Number(0.1, 1000),
        "See CENTER_SAMPLE; in strides.",
        default=1.5,
        read_with="CENTER_SAMPLE",
    ),
    Key(
        "NORMALIZE_REG_TARGETS",
        Switch(),
        "Learn distances in strides of the level, with relu on the box output. Off: in pixels, "
        "with exp. AP 38.3 -> 38.6.",
        default=False,
    ),
    Key(
        "LOCATION",
        Choice("middle", "corner"),
        'Where the locations of a level with stride s lie: "middle", at floor(s/2) + k*s, or '
        '"corner", at k*step, as in torchvision, whose step is the padded side divided by the '
        "number of cells.",
        default="middle",
    ),
    Key(
        "INCLUSIVE_PIXELS",
        Switch(),
        "Count the right and bottom pixel as part of a box (width x2 - x1 + 1), as the original "
        "implementation does in the areas of ambiguous boxes, in clipping and in NMS.",
        default=False,
    ),
)

_LOSSES = group(
    "MODEL.FCOS",
    "losses",
    Key(
        "LOSS_ALPHA",
        Number(0.001, 0.999),
        "Focal loss (arXiv:1708.02002, Eq. 5): the weight of a location's own class; all others "
        "have 1 - alpha.",
        default=0.25,
    ),
    Key(
        "LOSS_GAMMA",
        Number(0, 10),
        "Focal loss: how much locations that are classified well are played down (0: not at all).",
        default=2.0,
    ),
    Key(
        "LOC_LOSS_TYPE",
        Choice("iou", "linear_iou", "giou"),
        '"iou" (-log IoU), "linear_iou" (1 - IoU) or "giou" (AP 38.1 -> 38.3).',
        default="iou",
    ),
    Key(
        "BOX_QUALITY",
        Choice("ctrness", "iou"),
        'What the third output learns, and with it the weights of the box loss: "ctrness" (each '
        'location weighted by its centerness target), or "iou", the IoU of the box that its '
        "location predicts (all weighted equally). AP 38.7 -> 39.4 on val2017 (AdelaiDet).",
        default="ctrness",
    ),
    Key(
        "LOSS_NORMALIZER",
        Choice("fg", "moving_fg", "all"),
        'What the class loss is divided by: "fg", the number of positive locations of the batch, '
        '"moving_fg", a moving average of it, or "all", the number of all locations.',
        default="fg",
    ),
)

GROUPS: tuple[Group, ...] = (_FEATURES, _HEAD, _TARGETS, _LOSSES)
